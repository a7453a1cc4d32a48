//! The warm pool: databases made ahead of demand, so that a new tenant costs one transaction.
//!
//! `warm.make` creates a database with the id, role and password of a future tenant. `warm.retire` drops a database
//! that has an old template or is surplus. `tenant.provision` gives one to a tenant. The [`reconciler`] decides how
//! many to keep ready. A warm database has no data, so losing one does no harm.

mod plan;
mod reconciler;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

pub use plan::Bounds;
pub use reconciler::schedule;

use super::{
    provisioning_steps::{
        build_template, create_database, create_role, discard_role, discard_unused, drop_database, drop_role,
        grant_access, make_keys_in_txn, refuse_used,
    },
    tenant_login,
};
use crate::{
    control::{
        data_keys,
        warm_databases::{self, WarmState},
    },
    error::{Error, Result},
    operations::{
        Context,
        engine::{
            kind::{Kind, kind},
            queue,
            run::Run,
        },
        schema::Newest,
    },
    types::{OperationId, SchemaVersions, ServerId, TenantId},
};

pub(in crate::operations) const MAKE: Kind = kind!("warm.make", Unwind, {
    record => forget,
    build_template => nothing,
    create_role => discard_role,
    create_database => discard_database,
    grant_access => nothing,
    check_login => nothing,
    mark_ready => unmark_ready,
}, formerly {
    restrict_database => grant_access,
    open_database => grant_access,
});

pub(in crate::operations) const RETIRE: Kind = kind!("warm.retire", Block, {
    record => mark_ready,
    deny_login => allow_login,
    drop_database => never,
    drop_role => nothing,
    forget => nothing,
});

/// The input of both kinds: the server of the database, and its template.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    server_id: ServerId,
    versions: Option<SchemaVersions>,
}

/// Queues `warm.make` on the server.
pub async fn make_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    server: ServerId,
    newest: &Newest,
) -> Result<OperationId> {
    let id = TenantId::generate(&ctx.clock, ctx.random);
    let versions = newest.schema.versions();
    warm_databases::insert_in_txn(txn, (id, server), &newest.template, versions).await?;
    make_keys_in_txn(ctx, txn, id).await?;
    let input = Input { server_id: server, versions: Some(versions) };
    queue::queue_in_txn(ctx, txn, id, (&MAKE, &input), &ctx.origin()).await
}

/// Queues `warm.retire` for a database, unless a tenant has claimed it in the meantime.
pub async fn retire_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    id: TenantId,
    server: ServerId,
) -> Result<Option<OperationId>> {
    if !warm_databases::retire_in_txn(txn, id).await? {
        return Ok(None);
    }
    let input = Input { server_id: server, versions: None };
    queue::queue_in_txn(ctx, txn, id, (&RETIRE, &input), &ctx.origin()).await.map(Some)
}

/// Counts a new tenant in the metrics, with a warm database or without, and how long its transaction took.
pub(in crate::operations) fn count(is_warm: bool, took: Duration) {
    if is_warm {
        metrics::counter!("freehold_warm_claims_total").increment(1);
        metrics::histogram!("freehold_warm_claim_duration_seconds").record(took);
    } else {
        metrics::counter!("freehold_warm_misses_total").increment(1);
    }
}

/// Logs in once as the tenant: a database is ready when its tenant can log in. The first session is slower than later
/// ones, because PostgreSQL builds the relation cache file in it. So no tenant has to wait for that.
async fn check_login(run: &Run) -> Result<()> {
    tenant_login::credentials(&run.ctx, &run.access.address, run.tenant_id()).await.map(drop)
}

async fn discard_database(run: &Run) -> Result<()> {
    discard_unused(run, None).await
}

/// Denies the login. First checks that nobody uses the database: after this, the check cannot log in.
async fn deny_login(run: &Run) -> Result<()> {
    refuse_used(run, None).await?;
    run.admin.deny_login(run.database()).await
}

async fn allow_login(run: &Run) -> Result<()> {
    run.admin.allow_login(run.database()).await
}

async fn mark_ready(run: &Run) -> Result<()> {
    set_state(run, WarmState::Ready).await
}

async fn unmark_ready(run: &Run) -> Result<()> {
    set_state(run, WarmState::Making).await
}

async fn set_state(run: &Run, state: WarmState) -> Result<()> {
    let mut txn = run.begin().await?;
    warm_databases::set_state(&mut txn, run.tenant_id(), state).await?;
    Ok(txn.commit().await?)
}

/// Deletes the row and the keys, once the server has nothing left of the database.
async fn forget(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    warm_databases::forget_in_txn(&mut txn, run.tenant_id()).await?;
    data_keys::destroy_in_txn(&mut txn, run.tenant_id().uuid()).await?;
    Ok(txn.commit().await?)
}

/// Sets the metrics of how many databases are ready.
pub async fn record_gauges(ctx: &Context) {
    let counted = async { warm_databases::count_ready(&mut *ctx.db.acquire().await?).await };
    match Result::<_, Error>::from(counted.await) {
        Ok(counts) => {
            for (server, ready) in counts {
                let ready = f64::from(i32::try_from(ready).unwrap_or(i32::MAX));
                metrics::gauge!("freehold_warm_databases", "server" => server).set(ready);
            }
        }
        Err(error) => tracing::debug!(error = error.chain(), "warm databases could not be counted"),
    }
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("freehold_warm_databases", "databases that are ready for the next tenants, by server");
    describe_counter!("freehold_warm_claims_total", "tenants that got a warm database");
    describe_counter!("freehold_warm_misses_total", "tenants for whom no warm database was ready");
    let claim = "freehold_warm_claim_duration_seconds";
    describe_histogram!(claim, Unit::Seconds, "how long the transaction took that gave a tenant its warm database");
}
