//! One tenant of a rollout: its lock, another look at it, its migration or the way back, and the proof.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    crew::{Crew, login_name},
    outcome::{blank, not_done},
};
use crate::{
    control::{
        rollout_claims::{Claimed, Record},
        rollout_tenants::MemberState,
        rollouts,
        tenants::{self, TenantState},
    },
    error::{Error, Result},
    faults::crash_point,
    migrations::{Limits, WaitingRequests},
    operations::{
        Context,
        schema::migrate::{self, Arrived, Site},
    },
    servers::LockKey,
    types::SchemaVersions,
};

/// How long to wait for the tenant's lock: an operation on the tenant takes longer than is worth waiting here.
const LOCK: Duration = Duration::from_millis(300);

/// How an attempt ended well.
enum Done {
    /// The database has its versions.
    Migrated(Arrived),
    /// It has not, for this reason. Its versions, where they were seen: some files may have been done.
    Stuck(Error, Option<SchemaVersions>),
    /// There is no open database to migrate any more, for this reason.
    Gone(TenantState),
}

/// Migrates a tenant, and says what is to be recorded.
pub(super) async fn attempt(crew: &Crew, claimed: &Claimed) -> Record {
    let span = tracing::info_span!("rollout", rollout.id = %crew.rollout.id, tenant.id = %claimed.tenant_id);
    async {
        let started = Instant::now();
        let outcome = guarded(crew, claimed).await;
        let record = judge(&crew.ctx, claimed, outcome, started.elapsed());
        let name = record.state.as_str();
        metrics::counter!("freehold_rollout_attempts_total", "outcome" => name).increment(1);
        metrics::histogram!("freehold_rollout_attempt_duration_seconds").record(started.elapsed());
        record
    }
    .instrument(span)
    .await
}

fn judge(ctx: &Context, claimed: &Claimed, outcome: Result<Done>, took: Duration) -> Record {
    let record = blank(claimed, took);
    match outcome {
        Ok(Done::Migrated(Arrived { versions, adopted, proof })) => {
            let record = Record { versions: Some(versions), adopted, ..record };
            match proof {
                Ok(()) => record,
                Err(drift) => {
                    tracing::warn!(error = drift.chain(), "a tenant was migrated, and its schema is another one");
                    let why = (drift.code().to_owned(), drift.to_string());
                    Record { state: MemberState::Failed, error: Some(why), ..record }
                }
            }
        }
        Ok(Done::Gone(state)) => {
            let why = format!("the tenant is {state} by now; one that is woken is migrated then");
            Record { state: MemberState::Skipped, error: Some(("tenant_state_conflict".into(), why)), ..record }
        }
        Ok(Done::Stuck(error, versions)) => Record { versions, ..not_done(ctx, claimed, &error, took) },
        Err(error) => not_done(ctx, claimed, &error, took),
    }
}

/// Holds the tenant's lock meanwhile.
async fn guarded(crew: &Crew, claimed: &Claimed) -> Result<Done> {
    let (key, id) = (LockKey::Tenant(claimed.tenant_id), crew.rollout.id);
    if let Some(former) = &claimed.former {
        // Its lease has run out. Where it was stopped, its sessions are there still.
        crew.admin.end_rollout_sessions(claimed.tenant_id.db_name(), &login_name(id, former)).await?;
        crew.admin.end_idle_holder(&key, &format!(":{id}")).await?;
    }
    if !crew.admin.lock(&key, LOCK).await? {
        return Err(Error::unavailable("tenant_locked", "an operation on the tenant is under way", None));
    }
    let done = AssertUnwindSafe(locked(crew, claimed)).catch_unwind().await;
    let done = done.unwrap_or_else(|_| Err(Error::defect("the migration of a tenant panicked")));
    crew.admin.give_back(&key).await;
    done
}

/// The version of the product's stream to which the rollout that is undone took its tenants. A database that is beyond it
/// has files that are not its own.
async fn reached_by_undone(crew: &Crew) -> Result<i32> {
    let Some(undone) = crew.rollout.undoes else { return Ok(crew.rollout.target.product) };
    let found = rollouts::get(&mut *crew.ctx.db.acquire().await?, undone).await?;
    found.map(|rollout| rollout.target.product).ok_or_else(|| Error::defect("the rollout that is undone is gone"))
}

async fn locked(crew: &Crew, claimed: &Claimed) -> Result<Done> {
    let (ctx, id) = (&crew.ctx, claimed.tenant_id);
    // What it was when it was claimed may be otherwise by now. With its lock it stays as it is.
    let found = tenants::get(&mut *ctx.db.acquire().await?, id).await?;
    let tenant = found.ok_or_else(|| Error::defect("a tenant of a rollout is gone"))?;
    if !matches!(tenant.state, TenantState::Active | TenantState::Suspended) {
        return Ok(Done::Gone(tenant.state));
    }
    if tenant.server_id != crew.server.id {
        return Err(Error::conflict("tenant_moved", "the tenant is on another server by now"));
    }
    let goal = crew.goal(claimed.to).await?;
    let from_at_most = reached_by_undone(crew).await?;
    let site = Site {
        address: &crew.access.address,
        database: id.db_name(),
        login: &crew.login,
        name: crew.admin.application_name(),
    };
    crash_point!("rollout.migrate.before_effect", id);
    let mut session = site.enter(ctx).await?;
    let arrived = match crew.rollout.undoes {
        None => {
            let tenancy = ctx.tenancy.clone();
            let crowd = WaitingRequests::told_by(move || tenancy.has_waiting(id));
            migrate::migrate(&mut session, &goal, &Limits { crowd, ..Limits::default() }).await
        }
        Some(_) => migrate::undo(&mut session, &goal, from_at_most).await,
    };
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(error) => return Ok(Done::Stuck(error, migrate::versions(&session).await)),
    };
    crash_point!("rollout.migrate.after_effect", id);
    // Nothing is left to be said: it need not be waited for.
    drop(session);
    Ok(Done::Migrated(arrived))
}
