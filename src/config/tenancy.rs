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
}

impl TenancyConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            pool_size: reader.number("tenant_pool_size", 4, 1..=100),
            idle: Duration::from_secs(reader.number("tenant_pool_idle_seconds", 60, 1..=3_600).into()),
        }
    }
}
