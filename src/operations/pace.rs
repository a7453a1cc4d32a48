//! The timing of the engine and the janitor: leases, intervals, pauses between attempts, and limits.
//!
//! All of it is one value, so that tests can use shorter times than a server in production.

use std::time::Duration;

use crate::types::Random;

/// How often the pause is doubled at most.
const DOUBLINGS: u32 = 5;
/// The longest pause, as a multiple of the first one.
const LONGEST: u32 = 30;

/// The times and limits of the engine and the janitor.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a claim lasts (promises.md §2).
    pub lease: Duration,
    /// How often it is renewed.
    pub renewal: Duration,
    /// How often a worker looks for due operations, in case a notification was lost.
    pub poll: Duration,
    /// The pause between the first two attempts. It doubles with each attempt, up to [`LONGEST`] times the first one.
    pub pause: Duration,
    /// After this time a replica looks again for an operation whose next step it did not know.
    pub unknown: Duration,
    /// How often the janitor looks for what is due.
    pub sweep: Duration,
    /// How often a follower of an operation reads it again, in case a notification was lost.
    pub follow: Duration,
    /// How long the control database may take to answer a claim.
    pub claim: Duration,
    /// How long an attempt waits for the tenant's lock. Another replica's session may still be running a statement.
    pub tenant_lock: Duration,
    /// After how many permanent errors an operation stops going forward.
    pub failures: i32,
    /// After how many leases lost in a row at one step no replica tries that step again.
    pub lost_leases: i32,
    /// After how many failed attempts an operation that can be undone is undone, even if all errors were transient. If
    /// each attempt fails at once, that takes two to three minutes.
    pub patience: i32,
    /// After this time at one step, the next failure there counts as if `patience` were used up. Without it an
    /// operation could take `patience` attempts of an hour each.
    pub longest_patience: Duration,
    /// After this time a tenant of a rollout that cannot be migrated at the moment counts as failed.
    pub rollout_patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            renewal: Duration::from_secs(3),
            poll: Duration::from_secs(1),
            pause: Duration::from_secs(1),
            unknown: Duration::from_secs(5),
            sweep: Duration::from_secs(5),
            follow: Duration::from_millis(500),
            claim: Duration::from_secs(5),
            tenant_lock: Duration::from_secs(5),
            failures: 5,
            lost_leases: 10,
            patience: 10,
            longest_patience: Duration::from_mins(15),
            rollout_patience: Duration::from_mins(15),
        }
    }
}

impl Pace {
    /// The pace of tests, with `pause` as the first pause. Leases and patience last as long as in production, because a
    /// busy machine may stall.
    #[cfg(feature = "crash-points")]
    #[must_use]
    pub fn quick(pause: Duration) -> Self {
        Self { renewal: 10 * pause, poll: 5 * pause, pause, sweep: 20 * pause, ..Self::default() }
    }

    /// The pause before the next attempt, plus a random share of up to a quarter. The random share spreads the attempts
    /// of operations that failed at the same time.
    pub(crate) fn pause_after(&self, attempts: i32, random: Random) -> Duration {
        let doublings = u32::try_from(attempts - 1).unwrap_or_default().min(DOUBLINGS);
        let pause = self.pause * (1 << doublings).min(LONGEST);
        let [chance] = random.bytes::<1>();
        pause + pause * u32::from(chance) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        for (attempts, seconds) in [(0, 1), (1, 1), (2, 2), (3, 4), (6, 30), (100, 30)] {
            let least = Duration::from_secs(seconds);
            let pause = Pace::default().pause_after(attempts, Random);
            assert!((least..least * 5 / 4).contains(&pause), "{attempts}: {pause:?}");
        }
    }
}
