//! What the process tests stand on: the real program, its real servers, and real faults.
//!
//! A [`Dev`] is one `freehold dev` in a folder of its own; [`Replica`]s are further `freehold serve` over the same
//! servers. Everything runs below that folder, and an undertaker outside of this process ends all of it when the
//! test ends, however it ends. Tests look through the front doors (HTTP, the command line) and, as a second
//! witness, into the databases. They never reach into the program's memory.

mod api;
mod dev;
mod faults;
mod ledger;
mod program;
mod undertaker;

use std::time::Duration;

use freehold::types::Random;
use tokio::time::{Instant, sleep};

pub(crate) use api::Api;
#[cfg(feature = "crash-points")]
pub(crate) use dev::free_addresses;
pub(crate) use dev::{Dev, Replica, connect};
pub(crate) use faults::{processes_in, send_signal, start_postgres, start_redis, stop_postgres};
pub(crate) use ledger::{Ledger, assert_clean, claimed};
pub(crate) use program::{Program, Variables, run, run_as};

/// A slug that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    let nonce: String = Random.token().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{name}-{}", nonce.to_ascii_lowercase())
}

/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Looks again and again until `look` has an answer; fails the test, saying `what` was waited for, after `within`.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", within.as_secs());
        sleep(POLL).await;
    }
}
