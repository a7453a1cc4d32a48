//! Tables `operations` and `operation_steps`: durable changes to tenants.
//!
//! A replica claims an operation for a lease on the database's clock and raises its generation; what it writes
//! under an older generation touches no row, so a replica that lost its lease cannot record anything.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::errors::constraint;
use crate::{
    error::{Error, Result},
    types::{OperationId, TenantId},
};

/// A durable change to one tenant.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What it does: `tenant.provision`.
    pub kind: String,
    /// The tenant that it changes.
    pub tenant_id: TenantId,
    /// `queued`, `running`, `blocked`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// Typed by its kind.
    pub input: serde_json::Value,
    /// Who asked for it.
    pub requested_by: String,
    /// How often it was claimed.
    pub attempts: i32,
    /// Rises with every claim.
    pub generation: i64,
    /// What went wrong last, for operators.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl Operation {
    /// Whether it has ended, well or not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished_at.is_some()
    }
}

/// One step of an operation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its place, from 0.
    pub position: i32,
    /// Its name.
    pub name: String,
    /// `pending`, `running`, `succeeded` or `failed`.
    pub state: String,
    /// How often it was begun.
    pub attempts: i32,
    /// When it was begun last.
    pub started_at: Option<DateTime<Utc>>,
    /// When it succeeded.
    pub finished_at: Option<DateTime<Utc>>,
    /// What went wrong last, for operators.
    pub error: Option<String>,
}

/// An operation that is about to be.
#[derive(Debug)]
pub struct NewOperation<'a> {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: &'a str,
    /// The tenant that it changes.
    pub tenant_id: TenantId,
    /// Typed by its kind; never secret.
    pub input: serde_json::Value,
    /// Who asks for it.
    pub requested_by: &'a str,
    /// The names of its steps, in order.
    pub steps: &'a [&'a str],
}

/// A claim: who may write about an operation, and under which generation.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The operation.
    pub id: OperationId,
    /// Under which its holder writes.
    pub generation: i64,
}

struct Row {
    id: uuid::Uuid,
    kind: String,
    tenant_id: uuid::Uuid,
    state: String,
    input: serde_json::Value,
    requested_by: String,
    attempts: i32,
    generation: i64,
    error: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Row> for Operation {
    fn from(row: Row) -> Self {
        Self {
            id: OperationId::from_uuid(row.id),
            kind: row.kind,
            tenant_id: TenantId::from_uuid(row.tenant_id),
            state: row.state,
            input: row.input,
            requested_by: row.requested_by,
            attempts: row.attempts,
            generation: row.generation,
            error: row.error,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

/// Queues an operation with its steps. A second live operation on the same tenant is a conflict.
pub async fn insert_in_txn(txn: &mut PgConnection, new: &NewOperation<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO operations (id, kind, tenant_id, input, requested_by) VALUES ($1, $2, $3, $4, $5)",
        new.id.uuid(),
        new.kind,
        new.tenant_id.uuid(),
        new.input,
        new.requested_by
    )
    .execute(&mut *txn)
    .await
    .map_err(|error| match constraint(&error) {
        Some("operations_live_key") => {
            Error::conflict("operation_in_progress", "another operation on this tenant is under way")
        }
        _ => error.into(),
    })?;
    let names: Vec<String> = new.steps.iter().map(|&name| name.to_owned()).collect();
    sqlx::query!(
        "INSERT INTO operation_steps (operation_id, position, name)
         SELECT $1, ordinality - 1, name FROM unnest($2::text[]) WITH ORDINALITY AS steps (name, ordinality)",
        new.id.uuid(),
        &names
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Claims the operation that is due longest: a queued one, or a running one whose lease ran out.
pub async fn claim(connection: &mut PgConnection, replica: &str, lease: Duration) -> Result<Option<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "UPDATE operations
         SET state = 'running', attempts = attempts + 1, generation = generation + 1, lease_owner = $1,
             lease_expires_at = now() + make_interval(secs => $2), started_at = coalesce(started_at, now())
         WHERE id = (SELECT id FROM operations
                     WHERE (state = 'queued' AND run_after <= now())
                        OR (state = 'running' AND lease_expires_at < now())
                     ORDER BY run_after LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, tenant_id, state, input, requested_by, attempts, generation, error, created_at,
                   started_at, finished_at",
        replica,
        lease.as_secs_f64()
    );
    Ok(query.fetch_optional(connection).await?.map(Operation::from))
}

/// Prolongs the lease. False when the claim is no longer held.
pub async fn renew(connection: &mut PgConnection, claim: Claim, lease: Duration) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET lease_expires_at = now() + make_interval(secs => $3)
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records that a step has begun. False when the claim is no longer held.
pub async fn begin_step(connection: &mut PgConnection, claim: Claim, position: i32) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operation_steps SET state = 'running', attempts = attempts + 1, started_at = now(), error = NULL
         WHERE operation_id = $1 AND position = $3
           AND EXISTS (SELECT FROM operations WHERE id = $1 AND generation = $2 AND state = 'running')",
        claim.id.uuid(),
        claim.generation,
        position
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records how a step ended: `error` is `None` when it succeeded. False when the claim is no longer held.
pub async fn end_step(connection: &mut PgConnection, claim: Claim, position: i32, error: Option<&str>) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operation_steps
         SET state = CASE WHEN $4::text IS NULL THEN 'succeeded' ELSE 'failed' END, error = $4,
             finished_at = CASE WHEN $4::text IS NULL THEN now() END
         WHERE operation_id = $1 AND position = $3
           AND EXISTS (SELECT FROM operations WHERE id = $1 AND generation = $2 AND state = 'running')",
        claim.id.uuid(),
        claim.generation,
        position,
        error
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends an operation that has done all its steps. False when the claim is no longer held.
pub async fn succeed(connection: &mut PgConnection, claim: Claim) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations
         SET state = 'succeeded', error = NULL, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sets an operation aside until an operator has mended the reason. False when the claim is no longer held.
pub async fn block(connection: &mut PgConnection, claim: Claim, reason: &str) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET state = 'blocked', error = $3, lease_owner = NULL, lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        reason
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Queues a blocked operation again, with a new count of attempts. False when it is not blocked.
pub async fn retry_in_txn(txn: &mut PgConnection, id: OperationId) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET state = 'queued', attempts = 0, run_after = now() WHERE id = $1 AND state = 'blocked'",
        id.uuid()
    )
    .execute(txn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives an operation back to be tried again after `pause`. False when the claim is no longer held.
pub async fn release(
    connection: &mut PgConnection,
    claim: Claim,
    pause: Duration,
    error: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations
         SET state = 'queued', run_after = now() + make_interval(secs => $3), error = $4, lease_owner = NULL,
             lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        pause.as_secs_f64(),
        error
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The operation with this id.
pub async fn get(connection: &mut PgConnection, id: OperationId) -> Result<Option<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, input, requested_by, attempts, generation, error, created_at, started_at,
                finished_at
         FROM operations WHERE id = $1",
        id.uuid()
    );
    Ok(query.fetch_optional(connection).await?.map(Operation::from))
}

/// The operation that made the tenant.
pub async fn provisioning_of(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<OperationId>> {
    let query = sqlx::query_scalar!(
        "SELECT id FROM operations WHERE tenant_id = $1 AND kind = 'tenant.provision' ORDER BY created_at LIMIT 1",
        tenant.uuid()
    );
    Ok(query.fetch_optional(connection).await?.map(OperationId::from_uuid))
}

/// The steps of an operation, in order.
pub async fn steps(connection: &mut PgConnection, id: OperationId) -> Result<Vec<Step>> {
    let query = sqlx::query_as!(
        Step,
        "SELECT position, name, state, attempts, started_at, finished_at, error
         FROM operation_steps WHERE operation_id = $1 ORDER BY position",
        id.uuid()
    );
    Ok(query.fetch_all(connection).await?)
}

/// A page of operations, newest first; of one state and one tenant if given.
pub async fn page(
    connection: &mut PgConnection,
    state: Option<&str>,
    tenant: Option<TenantId>,
    before: Option<(DateTime<Utc>, OperationId)>,
    limit: i64,
) -> Result<Vec<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, input, requested_by, attempts, generation, error, created_at, started_at,
                finished_at
         FROM operations
         WHERE ($1::text IS NULL OR state = $1)
           AND ($2::uuid IS NULL OR tenant_id = $2)
           AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
         ORDER BY created_at DESC, id DESC LIMIT $5",
        state,
        tenant.map(TenantId::uuid),
        before.map(|(at, _)| at),
        before.map(|(_, id)| id.uuid()),
        limit
    );
    Ok(query.fetch_all(connection).await?.into_iter().map(Operation::from).collect())
}

/// How many operations are queued or running, and which are stuck: blocked, without a lease for a minute, or
/// not claimed although they have been due for ten.
pub async fn unfinished(connection: &mut PgConnection) -> Result<(i64, Vec<OperationId>)> {
    let live =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM operations WHERE state IN ('queued', 'running')"#)
            .fetch_one(&mut *connection)
            .await?;
    let stuck = sqlx::query_scalar!(
        "SELECT id FROM operations
         WHERE state = 'blocked' OR (state = 'running' AND lease_expires_at < now() - interval '1 minute')
            OR (state = 'queued' AND run_after < now() - interval '10 minutes')
         ORDER BY created_at"
    )
    .fetch_all(connection)
    .await?;
    Ok((live, stuck.into_iter().map(OperationId::from_uuid).collect()))
}
