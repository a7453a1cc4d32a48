//! The timing of jobs and schedules. One value, so that tests can use shorter times than a server in production.

use std::time::Duration;

use crate::types::Random;

/// The times and limits of jobs and schedules.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a claim lasts.
    pub lease: Duration,
    /// How often it is renewed.
    pub renewal: Duration,
    /// How often a replica looks for due jobs, in case a notification was lost; and how long it waits at least until it
    /// looks at a schedule again that another one runs.
    pub poll: Duration,
    /// The pause after the first failure. It doubles with each failure, up to `longest_pause`.
    pub pause: Duration,
    /// The longest pause after a failure.
    pub longest_pause: Duration,
    /// The longest pause of a job for which it is too early.
    pub longest_wait: Duration,
    /// How long an attempt may take.
    pub attempt: Duration,
    /// After so many failures a job is dead: with the other times, after a day.
    pub failures: i32,
    /// After so many holders in a row that were gone before they recorded anything, a job is dead: they may die of it.
    pub abandoned: i32,
    /// How long the control database may take to answer.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            renewal: Duration::from_secs(3),
            poll: Duration::from_secs(1),
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_hours(1),
            longest_wait: Duration::from_mins(1),
            attempt: Duration::from_mins(1),
            failures: 34,
            abandoned: 10,
            answer: Duration::from_secs(5),
        }
    }
}

impl Pace {
    /// The pace of tests, with `pause` as the first pause. Leases last as long as in production, because a busy machine
    /// may stall.
    #[cfg(feature = "crash-points")]
    #[must_use]
    pub fn quick(pause: Duration) -> Self {
        Self {
            renewal: 10 * pause,
            poll: 5 * pause,
            pause,
            longest_pause: 10 * pause,
            longest_wait: 5 * pause,
            attempt: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// The pause after so many failures.
    pub(super) fn after_failure(&self, failures: i32, random: Random) -> Duration {
        self.grown(failures, self.longest_pause, random)
    }

    /// The pause of a job that is claimed too early, after so many attempts.
    pub(super) fn after_wait(&self, attempts: i32, random: Random) -> Duration {
        self.grown(attempts, self.longest_wait, random)
    }

    /// Doubled each time, and up to a quarter longer at random: what failed together does not come back together.
    fn grown(&self, times: i32, longest: Duration, random: Random) -> Duration {
        let doublings = u32::try_from(times - 1).unwrap_or_default().min(20);
        let pause = self.pause.saturating_mul(1 << doublings).min(longest);
        let [chance] = random.bytes::<1>();
        pause + pause * u32::from(chance) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pace = Pace::default();
        for (failures, seconds) in [(0, 2), (1, 2), (2, 4), (5, 32), (12, 3_600), (i32::MAX, 3_600)] {
            let least = Duration::from_secs(seconds);
            let pause = pace.after_failure(failures, Random);
            assert!((least..least * 5 / 4).contains(&pause), "{failures}: {pause:?}");
        }
        assert!(pace.after_wait(100, Random) < pace.longest_wait * 5 / 4);
    }

    #[test]
    fn a_job_is_given_up_after_a_day_and_not_before() {
        let pace = Pace::default();
        let pauses = (1..pace.failures).map(|failures| pace.after_failure(failures, Random));
        let longest: Duration = pauses.sum();
        assert!(longest > Duration::from_hours(23) && longest < Duration::from_hours(31), "{longest:?}");
    }
}
