//! Durable operations, and how long what they take away can be had back.

use std::time::Duration;

use super::source::Reader;

/// A year, in seconds.
const YEAR: u32 = 31_536_000;
/// A day, in seconds.
const DAY: u32 = 86_400;

/// How much work this replica does at once, and the times and bounds of a tenant's life.
#[derive(Clone, Copy, Debug)]
pub struct OperationsConfig {
    /// How many operations run at once in this replica. PostgreSQL copies databases one after another, so a
    /// few suffice; 0 makes a replica that serves requests and leaves operations to others.
    pub concurrency: u32,
    /// Whether this replica starts a rollout of what is published when it starts and tenants are behind.
    pub rollout_on_start: bool,
    /// Whether this replica does what is due by itself: erasures, mends of what leaked, forgetting. Off while people
    /// look at what a restored control database lacks.
    pub janitor: bool,
    /// How long a deleted tenant can be had back.
    pub deletion_grace: Duration,
    /// How long a renamed tenant's former slug leads to the new one.
    pub slug_redirect: Duration,
    /// How long an erased tenant's slug is kept from others; zero frees it at once.
    pub slug_reservation: Duration,
    /// How many tenants may be deleted within an hour, over the whole fleet.
    pub deletions_per_hour: u32,
    /// How many databases are kept ready on each server that follows demand: at least.
    pub warm_min: u32,
    /// At most.
    pub warm_max: u32,
    /// Between two rounds of `fsck`; none goes round without.
    pub fsck_interval: Option<Duration>,
    /// Between two rounds of `verify isolation`; none goes round without.
    pub isolation_interval: Option<Duration>,
    /// Between two rounds of the drift sweep; none goes round without.
    pub drift_interval: Option<Duration>,
    /// What tests set the pauses of the engine and the janitor to. A release build has no such setting.
    #[cfg(feature = "crash-points")]
    pub test_pace: Option<Duration>,
}

impl OperationsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut seconds = |name, default, least| Duration::from_secs(reader.number(name, default, least..=YEAR).into());
        let deletion_grace = seconds("deletion_grace_seconds", 7 * DAY, 1);
        let mut interval = |name, default| Some(seconds(name, default, 0)).filter(|interval| !interval.is_zero());
        let fsck_interval = interval("fsck_interval_seconds", 300);
        let isolation_interval = interval("isolation_interval_seconds", DAY);
        let drift_interval = interval("drift_interval_seconds", DAY);
        let slug_redirect = seconds("slug_redirect_seconds", 30 * DAY, 0);
        let slug_reservation = seconds("slug_reservation_seconds", 30 * DAY, 0);
        let warm_min = reader.number("warm_min", 2, 0..=1_000);
        let warm_max = reader.number("warm_max", 20, 0..=1_000);
        if warm_min > warm_max {
            reader.problem("warm_min", "must not be above FREEHOLD_WARM_MAX");
        }
        Self {
            concurrency: reader.number("operation_concurrency", 4, 0..=64),
            rollout_on_start: reader.boolean("rollout_on_start", false),
            janitor: reader.boolean("janitor", true),
            deletion_grace,
            slug_redirect,
            slug_reservation,
            deletions_per_hour: reader.number("deletions_per_hour", 20, 1..=1_000_000),
            warm_min,
            warm_max,
            fsck_interval,
            isolation_interval,
            drift_interval,
            #[cfg(feature = "crash-points")]
            test_pace: Some(reader.number("test_pace_millis", 0, 0..=1_000))
                .filter(|millis| *millis > 0)
                .map(|millis| Duration::from_millis(millis.into())),
        }
    }
}
