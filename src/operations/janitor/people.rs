//! Goes round all tenants, and takes away what is due of their people: those who were deleted long ago, and what has ended.
//!
//! How far a round is stands in the control database's table of checks, so that whoever goes on begins there. A tenant that
//! cannot be reached is left for the next round, and holds up no other.

use std::time::Duration;

use crate::{
    control::{
        bounded,
        checks::{self, Checkpoint, Claimed, Counts},
        tenants,
    },
    error::{Error, Result},
    identity::purge::{self, Purged},
    jobs::schedule::{Next, Schedule},
    operations::Context,
    types::TenantId,
};

/// The schedule, and the row of the table.
const NAME: &str = "people.purge";
/// Between the ends of two rounds.
const ROUND: Duration = Duration::from_hours(24);
/// Between two looks whether a round is due.
const LOOK: u32 = 12;
/// How many tenants are visited at a time: each may cost a connection.
const PAGE: usize = 20;
/// How long the control database may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Looks about once a minute whether a round is due.
pub(super) fn schedule(ctx: &Context) -> Schedule {
    let (going, every) = (ctx.clone(), LOOK * ctx.settings.pace.sweep);
    Schedule::new(NAME, every, move |_| look(going.clone())).eager()
}

/// Visits a page of tenants, if a round is due.
async fn look(ctx: Context) -> Result<Next> {
    let claiming = async { checks::claim(&mut *ctx.db.acquire().await?, NAME, Some(ROUND)).await };
    let Some(claimed) = bounded(ANSWER, claiming).await? else { return Ok(Next::Usual) };
    let at = claimed.at;
    let (checkpoint, next, failed) = match visit(&ctx, claimed).await {
        Ok((checkpoint, next)) => (checkpoint, next, None),
        Err(error) => (Checkpoint::Unchanged, Next::Usual, Some(error)),
    };
    let given = async { checks::give_back(&mut *ctx.db.acquire().await?, NAME, at, checkpoint).await };
    bounded(ANSWER, given).await?;
    failed.map_or(Ok(next), Err)
}

async fn visit(ctx: &Context, claimed: Claimed) -> Result<(Checkpoint, Next)> {
    let tenants = {
        let mut connection = ctx.db.acquire().await?;
        // One more tells whether there are more.
        let limit = i64::try_from(PAGE).map_err(Error::internal)? + 1;
        tenants::open_after(&mut connection, claimed.after, limit).await?
    };
    let mut counts = claimed.so_far;
    for tenant in tenants.iter().take(PAGE) {
        match purge::purge(&ctx.identity, tenant.id).await {
            Ok(purged) => note(tenant.id, purged, &mut counts),
            Err(error) => {
                tracing::debug!(tenant.id = %tenant.id, error = error.chain(), "nothing was taken away of a tenant's people");
                *counts.entry("unreached".to_owned()).or_default() += 1;
            }
        }
    }
    let last = tenants.get(PAGE - 1).filter(|_| tenants.len() > PAGE);
    Ok(match last {
        Some(last) => (Checkpoint::At(last.id, counts), Next::After(ctx.settings.pace.pause)),
        None => (Checkpoint::Finished(counts), Next::Usual),
    })
}

fn note(tenant: TenantId, purged: Purged, counts: &mut Counts) {
    let Purged { users, kept, ended } = purged;
    if users + kept > 0 {
        tracing::info!(tenant.id = %tenant, users, kept, "deleted people were erased");
    }
    for (what, count) in [("users", users), ("kept", kept), ("ended", ended)] {
        metrics::counter!("freehold_people_purged_total", "kind" => what).increment(count);
        *counts.entry(what.to_owned()).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
    }
}
