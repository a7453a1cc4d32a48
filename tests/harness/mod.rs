//! What the tests share: real PostgreSQL clusters, a real Redis, a whole Freehold in this process, and the people
//! who use it.
//!
//! [`fleet::shared`] is one Freehold for all tests: each makes tenants of its own there and never looks at what
//! others do. [`fleet::alone`] is one of a few more ([`pool`]) for tests that count what is left behind or that change
//! what all tenants share: one test at a time holds it. They start when they are first asked for and run on a runtime
//! of their own, since a test's runtime ends with the test. Their servers begin with copies of the same [`clusters`],
//! and end with their [`folder`]s when this process ends.

pub(crate) mod actors;
pub(crate) mod answer;
pub(crate) mod clusters;
pub(crate) mod earlier;
pub(crate) mod fleet;
pub(crate) mod folder;
pub(crate) mod pool;
pub(crate) mod postgres;
pub(crate) mod programs;
pub(crate) mod replica;
#[cfg(feature = "crash-points")]
pub(crate) mod smtp;
pub(crate) mod sql;
pub(crate) mod tenant;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use freehold::types::Random;
use tokio::time::{Instant, sleep};

/// Good enough for the policy, and of no account in particular.
pub(crate) const PASSWORD: &str = "nine green kettles sing slowly";

/// Whether this is a long run: `./ops/test --soak`.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("FREEHOLD_TEST_SOAK").is_some()
}

/// A name that no other test has: `prefix` with a number and chance, 3 to 40 of `a-z 0-9 -`.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (number, chance) = (NEXT.fetch_add(1, Ordering::Relaxed), u32::from_be_bytes(Random.bytes()));
    format!("{prefix}-{number}-{chance:08x}")
}

/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `look` answers with something, for ten seconds at most; `what` names it in the failure.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(what, Duration::from_secs(10), look).await
}

/// The same for as long as `within`.
pub(crate) async fn eventually_within<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", within.as_secs());
        sleep(POLL).await;
    }
}
