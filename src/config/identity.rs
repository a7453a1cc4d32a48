//! Passwords and tokens.

use std::time::Duration;

use super::source::Reader;

/// Passwords and tokens.
#[derive(Clone, Copy, Debug)]
pub struct IdentityConfig {
    /// How many passwords are hashed at once. Each takes a core for some 50 ms and 19 MiB.
    pub hash_concurrency: u32,
    /// How long a session lives without use.
    pub session_idle: Duration,
    /// How long an invitation can be accepted.
    pub invitation: Duration,
    /// How old audit events of tenants become, in days; none: they are kept for ever.
    pub audit_days: Option<i32>,
    /// How long a tenant's signing key signs before another one takes its place; none leaves that to operators.
    pub signing_key_age: Option<Duration>,
}

impl IdentityConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, |cores| u32::try_from(cores.get()).unwrap_or(2));
        let audit_days = reader.number("audit_retention_days", 400, 0..=36_500);
        if (1..30).contains(&audit_days) {
            reader.problem("audit_retention_days", "must be at least 30, or 0 to keep events for ever");
        }
        let hours = |n: u32| Duration::from_secs(u64::from(n) * 3_600);
        Self {
            hash_concurrency: reader.number("password_hash_concurrency", cores, 1..=256),
            session_idle: hours(reader.number("session_idle_hours", 24 * 14, 1..=24 * 90)),
            audit_days: i32::try_from(audit_days).ok().filter(|days| *days > 0),
            signing_key_age: Some(hours(24 * reader.number("signing_key_age_days", 90, 0..=3_650)))
                .filter(|age| !age.is_zero()),
            invitation: hours(reader.number("invitation_hours", 24 * 7, 1..=24 * 30)),
        }
    }
}
