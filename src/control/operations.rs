//! Table `operations`: durable changes to tenants, as those who ask for them and look at them see it.
//!
//! What a replica that works on one may write is in [`super::operation_claims`], its steps are in
//! [`super::operation_steps`].

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::errors::constraint;
pub use super::operation_states::{Direction, OperationState};
use crate::{
    error::{Error, Result},
    types::{OperationId, TenantId},
};

/// A durable change to one tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What it does: `tenant.provision`.
    pub kind: String,
    /// The tenant that it changes.
    pub tenant_id: TenantId,
    /// Where it is in its life.
    pub state: OperationState,
    /// Whether it does its steps or undoes them.
    pub direction: Direction,
    /// Typed by its kind.
    pub input: serde_json::Value,
    /// Who asked for it.
    pub requested_by: String,
    /// How often it was claimed.
    pub attempts: i32,
    /// Rises with every claim.
    pub generation: i64,
    /// How often in a row the lease ran out before a step had ended or failed.
    pub abandoned: i32,
    /// What went wrong last, for operators.
    pub error: Option<String>,
    /// When somebody asked for its undoing.
    pub cancel_requested_at: Option<DateTime<Utc>>,
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

    /// Whether nothing more happens until somebody does something: it has ended, or is blocked.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_finished() || self.state == OperationState::Blocked
    }
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
    /// Its steps, in order: when all are done it has succeeded.
    pub steps: &'a [NewStep],
}

/// A step that is about to be.
#[derive(Clone, Copy, Debug)]
pub struct NewStep {
    /// Its name.
    pub name: &'static str,
    /// Whether the transaction that records the operation does it, or there is nothing to do in it.
    pub is_done: bool,
}

pub(super) struct Row {
    pub(super) id: uuid::Uuid,
    pub(super) kind: String,
    pub(super) tenant_id: uuid::Uuid,
    pub(super) state: String,
    pub(super) direction: String,
    pub(super) input: serde_json::Value,
    pub(super) requested_by: String,
    pub(super) attempts: i32,
    pub(super) generation: i64,
    pub(super) abandoned: i32,
    pub(super) error: Option<String>,
    pub(super) cancel_requested_at: Option<DateTime<Utc>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Operation {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: OperationId::from_uuid(row.id),
            kind: row.kind,
            tenant_id: TenantId::from_uuid(row.tenant_id),
            state: OperationState::parse(&row.state)?,
            direction: Direction::parse(&row.direction)?,
            input: row.input,
            requested_by: row.requested_by,
            attempts: row.attempts,
            generation: row.generation,
            abandoned: row.abandoned,
            error: row.error,
            cancel_requested_at: row.cancel_requested_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Queues an operation with its steps. A second live operation on the same tenant is a conflict, and so is one that
/// reads it; whoever asks holds the tenant's row, so that the two see each other.
pub async fn insert_in_txn(txn: &mut PgConnection, new: &NewOperation<'_>) -> Result<()> {
    let (names, are_done): (Vec<_>, Vec<_>) = new.steps.iter().map(|step| (step.name.to_owned(), step.is_done)).unzip();
    let done = sqlx::query!(
        "WITH operation AS (
             INSERT INTO operations (id, kind, tenant_id, input, requested_by, state, started_at, finished_at)
             SELECT $1::uuid, $2::text, $3::uuid, $4::jsonb, $5::text,
                    CASE WHEN true = ALL($7::bool[]) THEN 'succeeded' ELSE 'queued' END,
                    CASE WHEN true = ALL($7) THEN now() END, CASE WHEN true = ALL($7) THEN now() END
             WHERE NOT EXISTS (SELECT FROM operations
                               WHERE source_id = $3 AND state IN ('queued', 'running', 'blocked'))
             RETURNING id
         )
         INSERT INTO operation_steps (operation_id, position, name, state, attempts, started_at, finished_at)
         SELECT operation.id, ordinality - 1, name, CASE WHEN is_done THEN 'succeeded' ELSE 'pending' END,
                CASE WHEN is_done THEN 1 ELSE 0 END, CASE WHEN is_done THEN now() END, CASE WHEN is_done THEN now() END
         FROM operation, unnest($6::text[], $7::bool[]) WITH ORDINALITY AS steps (name, is_done, ordinality)",
        new.id.uuid(),
        new.kind,
        new.tenant_id.uuid(),
        new.input,
        new.requested_by,
        &names,
        &are_done
    )
    .execute(txn)
    .await
    .map_err(|error| match constraint(&error) {
        Some("operations_live_key") => in_progress(),
        _ => error.into(),
    })?;
    if done.rows_affected() == 0 { Err(in_progress()) } else { Ok(()) }
}

/// Notes that an operation that was just queued reads another tenant. A second one that reads the same is a conflict.
pub async fn read_from_in_txn(txn: &mut PgConnection, id: OperationId, source: TenantId) -> Result<()> {
    sqlx::query!("UPDATE operations SET source_id = $2 WHERE id = $1", id.uuid(), source.uuid())
        .execute(txn)
        .await
        .map(drop)
        .map_err(|error| match constraint(&error) {
            Some("operations_live_source_key") => in_progress(),
            _ => error.into(),
        })
}

/// What whoever asks for a change is told that another operation on the tenant is in the way of.
#[must_use]
pub fn in_progress() -> Error {
    Error::conflict("operation_in_progress", "another operation on this tenant is under way")
}

/// The operation with this id.
pub async fn get(connection: &mut PgConnection, id: OperationId) -> Result<Option<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, direction, input, requested_by, attempts, generation, abandoned, error,
                cancel_requested_at, created_at, started_at, finished_at
         FROM operations WHERE id = $1",
        id.uuid()
    );
    query.fetch_optional(connection).await?.map(Operation::try_from).transpose()
}

/// The operation with this id, locked against claims and other requests until the transaction ends.
pub async fn lock_in_txn(txn: &mut PgConnection, id: OperationId) -> Result<Option<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, direction, input, requested_by, attempts, generation, abandoned, error,
                cancel_requested_at, created_at, started_at, finished_at
         FROM operations WHERE id = $1 FOR UPDATE",
        id.uuid()
    );
    query.fetch_optional(txn).await?.map(Operation::try_from).transpose()
}

/// Queues a blocked operation again, with new counts of attempts and failures. False when it is not blocked.
pub async fn retry_in_txn(txn: &mut PgConnection, id: OperationId) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET state = 'queued', attempts = 0, failures = 0, abandoned = 0, run_after = now()
         WHERE id = $1 AND state = 'blocked'",
        id.uuid()
    )
    .execute(txn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Asks for the undoing of an operation. A replica that works on it begins the undoing at the next step; where none
/// does, the undoing begins here.
pub async fn cancel_in_txn(txn: &mut PgConnection, id: OperationId, requested_by: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE operations
         SET cancel_requested_by = $2, cancel_requested_at = now(),
             direction = CASE WHEN state = 'running' THEN direction ELSE 'undo' END,
             attempts = CASE WHEN state = 'running' THEN attempts ELSE 0 END,
             failures = CASE WHEN state = 'running' THEN failures ELSE 0 END,
             abandoned = CASE WHEN state = 'running' THEN abandoned ELSE 0 END,
             run_after = CASE WHEN state = 'running' THEN run_after ELSE now() END,
             state = CASE WHEN state = 'blocked' THEN 'queued' ELSE state END
         WHERE id = $1 AND cancel_requested_at IS NULL",
        id.uuid(),
        requested_by
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// The operation on the tenant that has not ended, locked against claims and other requests until the transaction
/// ends.
pub async fn lock_live_in_txn(txn: &mut PgConnection, tenant: TenantId) -> Result<Option<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, direction, input, requested_by, attempts, generation, abandoned, error,
                cancel_requested_at, created_at, started_at, finished_at
         FROM operations WHERE tenant_id = $1 AND state IN ('queued', 'running', 'blocked') FOR UPDATE",
        tenant.uuid()
    );
    query.fetch_optional(txn).await?.map(Operation::try_from).transpose()
}

/// Empties what was asked for in the operations on a tenant: it may name people.
pub async fn scrub_in_txn(txn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    sqlx::query!("UPDATE operations SET input = '{}' WHERE tenant_id = $1 AND input <> '{}'", tenant.uuid())
        .execute(txn)
        .await?;
    Ok(())
}

/// Forgets operations that nobody has asked for, on databases made ahead and on what was left of some, and that ended
/// more than a day ago: `at_most` of them. How many there were.
pub async fn purge_unasked(connection: &mut PgConnection, at_most: i64) -> Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM operations WHERE id IN (
             SELECT id FROM operations
             WHERE created_at < now() - interval '1 day' AND (kind LIKE 'warm.%' OR kind = 'remains.clear')
               AND finished_at < now() - interval '1 day'
             ORDER BY created_at, id LIMIT $1)",
        at_most
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The operation that made the tenant.
pub async fn provisioning_of(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<OperationId>> {
    let query = sqlx::query_scalar!(
        "SELECT id FROM operations WHERE tenant_id = $1 AND kind IN ('tenant.provision', 'tenant.clone', 'tenant.adopt')
         ORDER BY created_at LIMIT 1",
        tenant.uuid()
    );
    Ok(query.fetch_optional(connection).await?.map(OperationId::from_uuid))
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
        "SELECT id, kind, tenant_id, state, direction, input, requested_by, attempts, generation, abandoned, error,
                cancel_requested_at, created_at, started_at, finished_at
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
    query.fetch_all(connection).await?.into_iter().map(Operation::try_from).collect()
}

/// What is under way, and what is stuck.
#[derive(Debug)]
pub struct Unfinished {
    /// Whether an operation is due or running, or was since a given moment.
    pub is_busy: bool,
    /// Blocked, without a lease for a minute, not claimed although they have been due for ten, or failing for ten.
    pub stuck: Vec<OperationId>,
    /// Blocked while they were being undone.
    pub undo_failed: Vec<OperationId>,
}

/// The control database's clock.
pub async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(connection).await?)
}

/// What is under way or was `since`, and what is stuck.
pub async fn unfinished(connection: &mut PgConnection, since: DateTime<Utc>) -> Result<Unfinished> {
    // One that fails for ever, because its server is away, says nothing about the others.
    let is_busy = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM operations WHERE state = 'running')
               OR EXISTS (SELECT FROM operations WHERE finished_at >= $1)
               OR EXISTS (SELECT FROM operations
                          WHERE state = 'queued'
                            AND (error IS NULL OR coalesce(started_at, created_at) > now() - interval '10 minutes'))
               AS "busy!""#,
        since
    )
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT id, (state = 'blocked' AND direction = 'undo') AS "undo_failed!" FROM operations
         WHERE state = 'blocked' OR (state = 'running' AND lease_expires_at < now() - interval '1 minute')
            OR (state = 'queued' AND (run_after < now() - interval '10 minutes'
                OR error IS NOT NULL AND coalesce(started_at, created_at) < now() - interval '10 minutes'))
         ORDER BY created_at"#
    )
    .fetch_all(connection)
    .await?;
    let ids = |undo_failed: bool| {
        let chosen = rows.iter().filter(move |row| row.undo_failed == undo_failed);
        chosen.map(|row| OperationId::from_uuid(row.id)).collect()
    };
    Ok(Unfinished { is_busy, stuck: ids(false), undo_failed: ids(true) })
}
