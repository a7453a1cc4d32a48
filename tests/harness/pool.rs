//! Fleets that a test has for itself, and gives back.
//!
//! There are a few of each [`Sort`], so that tests which need one do not all wait for the same one: they are started as
//! they are asked for. What earlier tests did in one stays done. A test that fails takes its fleet along: what it left
//! half done would fail the next one.

use std::{
    env,
    fs::File,
    io::Write,
    ops::Deref,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::fleet::{self, Fleet};

/// Shorter waits are not worth telling.
const NOTED: Duration = Duration::from_millis(100);

/// Fleets that are alike, and what is different about them.
pub(crate) struct Sort {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    room: Semaphore,
    free: Mutex<Vec<Fleet>>,
}

/// A fleet that nobody else uses while this lives.
pub(crate) struct Own {
    sort: &'static Sort,
    fleet: Option<Fleet>,
    _room: SemaphorePermit<'static>,
}

impl Sort {
    /// At most `most` fleets with these settings.
    pub(crate) const fn new(
        name: &'static str,
        most: usize,
        settings: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, settings, room: Semaphore::const_new(most), free: Mutex::new(Vec::new()) }
    }

    /// One that is free, or a new one; waits for its turn.
    pub(crate) async fn own(&'static self) -> Own {
        let asked = Instant::now();
        let room = self.room.acquire().await.unwrap();
        note_wait(self.name, asked.elapsed());
        let free = self.free.lock().unwrap().pop();
        let fleet = match free {
            Some(fleet) => fleet,
            None => fleet::start(self.name, self.settings).await,
        };
        Own { sort: self, fleet: Some(fleet), _room: room }
    }
}

impl Deref for Own {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        self.fleet.as_ref().unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.sort.free.lock().unwrap_or_else(PoisonError::into_inner).extend(self.fleet.take());
        }
    }
}

/// Tells `ops/test`, in the file that it names, how long this test has waited for others.
pub(crate) fn note_wait(what: &str, waited: Duration) {
    if let (Some(path), true) = (env::var_os("FREEHOLD_TEST_WAITS"), waited > NOTED) {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        let test = thread::current().name().unwrap_or("?").to_owned();
        writeln!(file, "waited {test} {:.1} {what}", waited.as_secs_f64()).unwrap();
    }
}
