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
        match &mut self.0 {
            Kind::Terminal(bar) => bar.set_message(message.to_owned()),
            Kind::Lines { last, at } => {
                let due = at.is_none_or(|at| at.elapsed() >= PACE);
                if due && last != message {
                    output::note(message);
                    message.clone_into(last);
                    *at = Some(Instant::now());
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Kind::Terminal(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
