//! What a tenant's database keeps of people who are gone, and of what has ended, is taken away in time.
//!
//! A deleted user is erased once the tenant's grace time has passed. Sessions, refresh tokens, steps, devices, mailed links,
//! counted attempts and invitations go some time after their end; nobody could use them any more. Whoever calls goes round the tenants
//! (`operations/janitor/people.rs`). Each statement is bounded, and what is left is taken away by the next visit.
//!
//! # What must never happen
//! * Somebody is erased who was brought back, or whose grace time has not passed.
//! * Something goes that still lets somebody in, or that an active session needs to find a thief out.

use std::time::Duration;

use serde_json::json;

use super::{
    Identity,
    audit::{self, Event},
    credentials, guesses, invitations, links, people, require_people_schema,
    roles::lock_roster_in_txn,
    sessions,
    settings::Decisions,
    steps,
};
use crate::{
    control::tenants::{Tenant, TenantState},
    error::Result,
    tenancy::Statements,
    types::{TenantId, UserId},
};

/// How long after their end sessions and invitations can be looked at by operators.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// How many rows one statement takes away at most.
const BATCH: i64 = 1_000;
/// How many statements one visit makes for each table at most.
const MOST_BATCHES: usize = 20;

/// What was taken away of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// People who were erased.
    pub users: u64,
    /// People whose time has passed, and whom rows of the product's keep from being erased.
    pub kept: u64,
    /// Rows of what has ended.
    pub ended: u64,
}

/// Takes away what is due of a tenant that is active. Does nothing where no rollout has brought what it needs.
///
/// # Errors
/// The tenant's database cannot be reached. What was taken away before stays so.
pub async fn purge(ctx: &Identity, id: TenantId) -> Result<Purged> {
    ctx.tenancy.visit(id, purge_active(ctx, id)).await
}

async fn purge_active(ctx: &Identity, id: TenantId) -> Result<Purged> {
    let tenant = ctx.tenancy.by_id(id).await?.filter(|tenant| matches!(tenant.state, TenantState::Active));
    let Some(tenant) = tenant.filter(|tenant| require_people_schema(tenant).is_ok()) else {
        return Ok(Purged::default());
    };
    let (users, kept) = erase_due(ctx, &tenant).await?;
    Ok(Purged { users, kept, ended: purge_ended(ctx, &tenant).await? })
}

/// Erases those who are due, one after the other: rows of the product's may keep one of them.
async fn erase_due(ctx: &Identity, tenant: &Tenant) -> Result<(u64, u64)> {
    let (due, days) = {
        let connection = ctx.tenancy.connect(tenant.id).await?;
        let (decisions, _) = Decisions::read(&connection).await?;
        let days = decisions.deleted_user_days;
        (people::due(&connection, days.into(), BATCH).await?, days)
    };
    let (mut erased, mut kept) = (0, 0);
    for user in due {
        if erase(ctx, tenant, user, days).await? {
            erased += 1;
        } else {
            kept += 1;
        }
    }
    Ok((erased, kept))
}

/// Erases one of them, unless they were brought back meanwhile. Whether they are gone.
async fn erase(ctx: &Identity, tenant: &Tenant, user: UserId, days: u16) -> Result<bool> {
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    if !people::erase_due(&txn, user, days.into()).await? {
        return Ok(false);
    }
    let details = json!({ "after_days": days });
    let event = Event { actor: "system", action: "user.erased", target: Some(user.to_string()), details };
    audit::write_own(ctx, &txn, &event).await?;
    txn.commit().await?;
    Ok(true)
}

/// What no rollout may have brought the tables of.
async fn purge_newer(connection: &impl Statements, tenant: &Tenant) -> Result<u64> {
    let mut gone = 0;
    if links::require_links(tenant).is_ok() {
        gone += links::purge(connection, BATCH).await?;
    }
    if guesses::are_counted(tenant) {
        gone += guesses::purge(connection, BATCH).await?;
    }
    Ok(gone)
}

async fn purge_ended(ctx: &Identity, tenant: &Tenant) -> Result<u64> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let mut gone = 0;
    for _ in 0..MOST_BATCHES {
        let taken = sessions::purge(&connection, KEPT, BATCH).await?
            + steps::purge(&connection, BATCH).await?
            + credentials::purge_devices(&connection, BATCH).await?
            + invitations::purge(&connection, KEPT, BATCH).await?
            + purge_newer(&connection, tenant).await?;
        gone += taken;
        if taken == 0 {
            break;
        }
    }
    Ok(gone)
}
