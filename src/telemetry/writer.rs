//! Log lines on their way out: written by a thread of their own, so that no request waits for standard error.
//!
//! Lines wait in a bounded buffer and go out together, some milliseconds after the first of them. When whatever reads
//! them does not keep up, new ones are lost and counted. An error, and with it everything before it, is out before the
//! program goes on: what a program says before it dies is what matters most. The same holds at an orderly end
//! ([`Lines::flush`]). No wait is longer than a second, and none follows upon another in vain. A warning waits for
//! nobody: strangers can cause warnings, and the thread that waited would be one that serves requests.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may wait: some ten thousand lines.
const CAPACITY: usize = 4 * 1024 * 1024;
/// How long the first line waits for others to go with.
const GATHER: Duration = Duration::from_millis(5);
/// How long a flush waits at most.
const FLUSH: Duration = Duration::from_secs(1);

const LOST: &str = "freehold_log_lines_lost_total";

/// Says what the metrics of this module mean.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(LOST, "log lines that were not written because nobody read them fast enough");
}

/// Where lines are put. Clones share everything.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is there to be written.
    filled: Condvar,
    /// Somebody waits for it to be written.
    hurried: Condvar,
    /// Something has been written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// How many lines were put here, and how many of them have gone out or were lost on the way.
    put: u64,
    done: u64,
    is_hurried: bool,
    /// The last flush was in vain, and nothing has been written since.
    is_stuck: bool,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_to(out))?;
        Ok(Self(shared))
    }

    /// Waits until everything that was put here has been written, a second at most.
    pub(super) fn flush(&self) {
        self.0.flush();
    }
}

impl Shared {
    fn put(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > CAPACITY {
            drop(state);
            metrics::counter!(LOST).increment(1);
            return;
        }
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        state.put += 1;
        drop(state);
        if is_first {
            self.filled.notify_one();
        }
    }

    fn flush(&self) {
        let mut state = self.lock();
        let last = state.put;
        if state.is_stuck || state.done >= last {
            return;
        }
        state.is_hurried = true;
        self.hurried.notify_one();
        let waited = self.written.wait_timeout_while(state, FLUSH, |state| state.done < last);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stuck |= waited.timed_out();
    }

    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let last = self.take(&mut batch);
            let lines = last - self.lock().done;
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                metrics::counter!(LOST).increment(lines);
            }
            batch.clear();
            let mut state = self.lock();
            state.done = last;
            state.is_stuck = false;
            drop(state);
            self.written.notify_all();
        }
    }

    /// Waits for lines and takes them; answers with the number of the last one.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let state = self.filled.wait_while(self.lock(), |state| state.waiting.is_empty());
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let state = self.hurried.wait_timeout_while(state, GATHER, |state| !state.is_hurried);
        let (mut state, _) = state.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(batch, &mut state.waiting);
        state.is_hurried = false;
        state.put
    }

    // Nothing in here panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one event is written: all of it in one call.
pub(super) struct Line<'a> {
    shared: &'a Shared,
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.put(line);
        if self.is_urgent {
            self.shared.flush();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { shared: &self.0, is_urgent: true }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line { shared: &self.0, is_urgent: *event.level() == Level::ERROR }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, Sender, channel},
        time::Instant,
    };

    use super::*;

    type Written = Arc<Mutex<Vec<Vec<u8>>>>;

    /// Takes what is written; each write waits for leave when there is somebody who gives it.
    struct Sink {
        written: Written,
        leave: Option<Receiver<()>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(leave) = &self.leave {
                leave.recv().map_err(io::Error::other)?;
            }
            self.written.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(leave: Option<Receiver<()>>) -> (Lines, Written) {
        let written = Arc::default();
        let sink = Sink { written: Arc::clone(&written), leave };
        (Lines::to(sink).unwrap(), written)
    }

    fn slow() -> (Lines, Written, Sender<()>) {
        let (sender, receiver) = channel();
        let (lines, written) = lines(Some(receiver));
        (lines, written, sender)
    }

    #[test]
    fn all_lines_go_out_in_their_order_and_many_together() {
        let (lines, written) = lines(None);
        let expected = (0..10_000).map(|number: u32| number.to_string() + "\n").collect::<String>();
        for line in expected.split_inclusive('\n') {
            lines.0.put(line.as_bytes());
        }
        lines.flush();
        let written = written.lock().unwrap();
        assert_eq!(String::from_utf8(written.concat()).unwrap(), expected);
        assert!(written.len() < 1_000, "{} writes", written.len());
    }

    #[test]
    fn an_error_is_out_before_the_program_goes_on() {
        let (lines, written) = lines(None);
        lines.0.put(b"one\n");
        lines.make_writer().write_all(b"two\n").unwrap();
        assert_eq!(written.lock().unwrap().concat(), b"one\ntwo\n");
    }

    #[test]
    fn what_nobody_reads_is_lost_and_holds_nobody_up() {
        let (lines, written, leave) = slow();
        lines.0.put(b"stuck\n");
        while !lines.0.lock().waiting.is_empty() {
            thread::yield_now();
        }
        let line = [b'x'; 1024];
        for _ in 0..3 * CAPACITY / line.len() {
            lines.0.put(&line);
        }
        assert_eq!(lines.0.lock().waiting.len(), CAPACITY);
        let begun = Instant::now();
        for _ in 0..10 {
            lines.make_writer().write_all(b"urgent\n").unwrap();
        }
        assert!(begun.elapsed() < 2 * FLUSH, "only the first one waits");
        // It goes on once somebody reads again.
        leave.send(()).unwrap();
        leave.send(()).unwrap();
        let is_done = || {
            let state = lines.0.lock();
            state.done == state.put
        };
        while !is_done() {
            thread::yield_now();
        }
        assert_eq!(written.lock().unwrap().concat().len(), b"stuck\n".len() + CAPACITY);
        // Nobody ever reads again: nobody waits for that either.
        drop(leave);
        lines.make_writer().write_all(b"to nobody\n").unwrap();
    }
}
