//! Tenant pools.

use std::time::Duration;

use super::source::Reader;

/// How connections to tenants' databases are pooled.
#[derive(Clone, Copy, Debug)]
pub struct TenancyConfig {
    /// The most connections that one replica holds to one tenant's database.
    pub pool_size: u32,
    /// A connection that nobody used for this long is closed.
    pub idle: Duration,
    /// Of how many tenants this replica keeps the sealed secrets in memory: those it can serve for the first time
    /// while the control database is away.
    pub secrets_kept: u32,
}

impl TenancyConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            pool_size: reader.number("tenant_pool_size", 4, 1..=100),
            idle: Duration::from_secs(reader.number("tenant_pool_idle_seconds", 60, 1..=3_600).into()),
            secrets_kept: reader.number("tenant_secrets_kept", 1_000_000, 0..=10_000_000),
        }
    }
}
