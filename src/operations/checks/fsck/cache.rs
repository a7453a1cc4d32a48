//! Compares the keys in Redis with the existing tenants.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use super::{Finding, finding};
use crate::{
    control::tenants::{Tenant, TenantState},
    error::Result,
    limits::traces,
    operations::Context,
};

/// How long looking through the keys may take: about a million keys.
const BUDGET: Duration = Duration::from_secs(4);

/// Whose keys there are, read before the tenants are: one that is erased meanwhile is erased by an operation, which
/// explains it. Empty without a Redis.
pub(super) async fn owners(ctx: &Context) -> Result<BTreeSet<String>> {
    match &ctx.redis {
        None => Ok(BTreeSet::new()),
        Some(redis) => traces::owners(redis, BUDGET).await,
    }
}

/// Owners that are no tenants any more. A Redis that does not answer is a finding too, and says nothing about them.
pub(super) fn findings(owners: Result<BTreeSet<String>>, tenants: &[Tenant]) -> Vec<Finding> {
    let owners = match owners {
        Ok(owners) => owners,
        Err(error) => {
            tracing::warn!(error = error.chain(), "Redis cannot be checked");
            let detail = "Redis cannot be checked; the log has the reason";
            return vec![finding("unreachable_redis", "", "redis".to_owned(), detail)];
        }
    };
    let living: HashSet<_> = tenants
        .iter()
        .filter(|tenant| tenant.state != TenantState::Deleted)
        .map(|tenant| tenant.id.to_string())
        .collect();
    let stale = owners.into_iter().filter(|owner| !living.contains(owner));
    stale.map(|owner| finding("stale_redis_key", "", owner, "Redis has keys of a tenant that is gone")).collect()
}
