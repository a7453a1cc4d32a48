//! How fast an engine goes about its work: how long it waits, holds and tries again.
//!
//! All of it is one value, so that tests need not wait as long as people would want a server to.

use std::time::Duration;

use crate::types::Random;

/// How often pauses are doubled before they are as long as they get.
const DOUBLINGS: u32 = 5;
/// The longest pause, in first pauses.
const LONGEST: u32 = 30;

/// The times that an engine keeps.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a claim lasts (promises.md §2).
    pub lease: Duration,
    /// How often it is renewed.
    pub renewal: Duration,
    /// Behind the notifications: how often due work is looked for.
    pub poll: Duration,
    /// Between the first two attempts; doubled from one to the next, up to [`LONGEST`] times as much.
    pub pause: Duration,
    /// After this time a replica looks again for an operation whose next step it did not know.
    pub unknown: Duration,
    /// Between two looks of the janitor for what is due.
    pub sweep: Duration,
    /// Behind the notifications: how often somebody who follows an operation looks at it.
    pub follow: Duration,
    /// How long the control database may take to answer a claim.
    pub claim: Duration,
    /// How long a tenant's lock is waited for: another replica's backend may still be at work under it.
    pub tenant_lock: Duration,
    /// How many failures for a reason that stays end an operation's way forward.
    pub failures: i32,
    /// How often in a row the lease may be lost over one step before nobody else tries it.
    pub lost_leases: i32,
    /// After how many attempts an operation that can be undone no longer waits for what is away. If each fails at once
    /// that is two to three minutes.
    pub patience: i32,
    /// After this time at one step its next failure is the last, however few there were: each may have taken an hour.
    pub longest_patience: Duration,
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
        }
    }
}

impl Pace {
    /// The pace of tests, whose first pause is `pause`. A claim lasts as long as ever: busy machines stand still too.
    #[cfg(feature = "crash-points")]
    #[must_use]
    pub fn quick(pause: Duration) -> Self {
        Self { renewal: 10 * pause, poll: 5 * pause, pause, sweep: 20 * pause, ..Self::default() }
    }

    /// The pause before the next attempt, and up to a quarter more by chance, so that what failed together is not
    /// repeated together.
    pub(super) fn pause_after(&self, attempts: i32, random: Random) -> Duration {
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
