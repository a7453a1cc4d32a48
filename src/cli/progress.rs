//! What is going on, on standard error: one line that changes at a terminal, few lines anywhere else.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Between two lines where there is no terminal.
const PACE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// Tells what is going on. Dropped, it leaves nothing behind at a terminal.
pub(super) struct Progress(Kind);

enum Kind {
    Terminal(ProgressBar),
    Lines { last: String, at: Option<Instant> },
}

impl Progress {
    /// Begins with `message`.
    pub(super) fn begin(message: &str) -> Self {
        let mut progress = if io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(TICK);
            Self(Kind::Terminal(bar))
        } else {
            Self(Kind::Lines { last: String::new(), at: None })
        };
        progress.tell(message);
        progress
    }

    /// Tells the present state.
    pub(super) fn tell(&mut self, message: &str) {
        self.0.tell(message);
    }
}

impl Kind {
    fn tell(&mut self, message: &str) {
        match self {
            Self::Terminal(bar) => bar.set_message(message.to_owned()),
            Self::Lines { last, at } => {
                let due = at.is_none_or(|at| at.elapsed() >= PACE);
                if due && last != message {
                    output::note(message);
                    message.clone_into(last);
                    *at = Some(Instant::now());
                }
            }
        }
    }

    fn clear(&self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// How much is done, as a bar at a terminal. Dropped, it leaves nothing behind there.
pub(super) struct Bar(Kind);

impl Bar {
    /// Nothing is done yet.
    pub(super) fn begin() -> Self {
        if !io::stderr().is_terminal() {
            return Self(Kind::Lines { last: String::new(), at: None });
        }
        let bar = ProgressBar::new(0);
        // The template is a constant, and a bar without it is one all the same.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self(Kind::Terminal(bar))
    }

    /// So much of it is done, and `message`.
    pub(super) fn tell(&mut self, done: u64, of: u64, message: &str) {
        match &mut self.0 {
            Kind::Terminal(bar) => {
                bar.set_length(of);
                bar.set_position(done);
                bar.set_message(message.to_owned());
            }
            kind @ Kind::Lines { .. } => kind.tell(&format!("{done} of {of}: {message}")),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.clear();
    }
}
