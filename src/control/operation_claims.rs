//! Writes to the table `operations` by the replica that holds an operation.
//!
//! A replica claims an operation under a lease, which the database's clock measures, and increments the operation's
//! generation. A write with an older generation changes no row, so a replica that has lost its lease cannot record
//! anything. A function here returns `false` when the claim is lost.

use std::time::Duration;

use sqlx::PgConnection;

use super::operations::{Direction, Operation, Row};
use crate::{error::Result, types::OperationId};

/// A claim: the right to write to an operation, under one generation (a fencing token).
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The operation.
    pub id: OperationId,
    /// The generation under which its holder writes.
    pub generation: i64,
}

/// Whether the holder of a claim may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It is recorded.
    Granted,
    /// It is not recorded: somebody asked to cancel the operation.
    Cancelled,
    /// It is not recorded: the claim is lost.
    ClaimLost,
}

impl Permission {
    pub(super) fn new(is_held: bool, is_recorded: bool) -> Self {
        match (is_held, is_recorded) {
            (_, true) => Self::Granted,
            (true, false) => Self::Cancelled,
            (false, false) => Self::ClaimLost,
        }
    }
}

/// How an operation continues that is not finished.
#[derive(Clone, Copy, Debug)]
pub enum Pause<'a> {
    /// It failed and is tried again after this time.
    Retry(Duration),
    /// Its holder does not go on with it: another replica may after this time, and nothing was tried in vain.
    HandOver(Duration),
    /// Its holder does not know how to go on with it, for this reason: another replica may after this time. Nothing was
    /// tried in vain, but what nobody goes on with is seen to be stuck.
    Leave(Duration, &'a str),
}

/// An operation whose attempt failed, as its row says by then. Since it was claimed its undoing may have begun, and
/// somebody may have asked for that.
#[derive(Debug)]
pub struct Failing {
    /// Which way it goes.
    pub direction: Direction,
    /// How often it was claimed.
    pub attempts: i32,
    /// How many of its attempts in this direction failed for a reason that no waiting mends.
    pub failures: i32,
    /// Whether somebody asked for its undoing.
    pub is_cancelled: bool,
    /// How long ago it came a step further, or was begun.
    pub stuck: Duration,
}

/// Claims the operation that is due longest: a queued one, or a running one whose lease ran out. While releases are
/// mixed there are kinds that not every replica knows: it leaves all but the `known` ones to others.
pub async fn claim(
    connection: &mut PgConnection,
    replica: &str,
    lease: Duration,
    known: &[String],
) -> Result<Option<Operation>> {
    let query = sqlx::query_as!(
        Row,
        "UPDATE operations
         SET state = 'running', attempts = attempts + 1, generation = generation + 1, lease_owner = $1,
             lease_expires_at = now() + make_interval(secs => $2), started_at = coalesce(started_at, now()),
             abandoned = abandoned + CASE WHEN state = 'running' THEN 1 ELSE 0 END
         WHERE id = (SELECT id FROM operations
                     WHERE ((state = 'queued' AND run_after <= now())
                            OR (state = 'running' AND lease_expires_at < now()))
                       AND kind = ANY($3)
                     ORDER BY run_after LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, tenant_id, state, direction, input, requested_by, attempts, generation, abandoned, error,
                   cancel_requested_at, created_at, started_at, finished_at",
        replica,
        lease.as_secs_f64(),
        known
    );
    query.fetch_optional(connection).await?.map(Operation::try_from).transpose()
}

/// Ends the leases that an earlier process of this replica left behind. How many there were.
pub async fn release_leftovers(connection: &mut PgConnection, replica: &str) -> Result<u64> {
    let done = sqlx::query!(
        "UPDATE operations SET lease_expires_at = now() - interval '1 microsecond'
         WHERE state = 'running' AND lease_owner = $1",
        replica
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Keeps the claim until the transaction ends: nobody else gets the operation before.
pub async fn keep_in_txn(txn: &mut PgConnection, claim: Claim) -> Result<bool> {
    // The tenant's row first, in the order of those who change a tenant and look then for what is at work on it: they
    // and this would else wait for each other. A condition is met before the row that it admits is locked.
    let kept = sqlx::query_scalar!(
        "WITH tenant AS MATERIALIZED (
             SELECT t.id FROM tenants t JOIN operations o ON o.tenant_id = t.id WHERE o.id = $1 FOR NO KEY UPDATE OF t
         )
         SELECT id FROM operations
         WHERE id = $1 AND generation = $2 AND state = 'running' AND (SELECT count(*) FROM tenant) >= 0
         FOR SHARE",
        claim.id.uuid(),
        claim.generation
    );
    Ok(kept.fetch_optional(txn).await?.is_some())
}

/// Prolongs the lease. It is prolonged too when somebody asked for the operation's undoing, so that there is time for
/// it.
pub async fn renew(connection: &mut PgConnection, claim: Claim, lease: Duration) -> Result<Permission> {
    let is_cancelled = sqlx::query_scalar!(
        r#"UPDATE operations SET lease_expires_at = now() + make_interval(secs => $3)
         WHERE id = $1 AND generation = $2 AND state = 'running'
         RETURNING cancel_requested_at IS NOT NULL AS "is_cancelled!""#,
        claim.id.uuid(),
        claim.generation,
        lease.as_secs_f64()
    )
    .fetch_optional(connection)
    .await?;
    Ok(Permission::new(is_cancelled.is_some(), is_cancelled == Some(false)))
}

/// Ends an operation whose steps are all done, or all undone: `succeeded`; `cancelled` when its undoing was asked
/// for, else `failed`.
pub async fn finish(connection: &mut PgConnection, claim: Claim) -> Result<Permission> {
    let row = sqlx::query!(
        r#"WITH held AS (
             SELECT id FROM operations WHERE id = $1 AND generation = $2 AND state = 'running' FOR UPDATE
         ), finished AS (
             UPDATE operations
             SET state = CASE WHEN direction = 'forward' THEN 'succeeded'
                              WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'failed' END,
                 error = CASE WHEN direction = 'forward' THEN NULL ELSE error END,
                 finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
             FROM held
             WHERE operations.id = held.id AND (direction = 'undo' OR cancel_requested_at IS NULL)
             RETURNING operations.id
         )
         SELECT EXISTS (SELECT FROM held) AS "held!", EXISTS (SELECT FROM finished) AS "finished!""#,
        claim.id.uuid(),
        claim.generation
    )
    .fetch_one(connection)
    .await?;
    Ok(Permission::new(row.held, row.finished))
}

/// Notes that an attempt failed, for a reason that stays or for a passing one, and locks the operation's row until the
/// transaction ends, which decides how it goes on. `None` when the claim is no longer held.
pub async fn fail_in_txn(txn: &mut PgConnection, claim: Claim, error: &str, stays: bool) -> Result<Option<Failing>> {
    let row = sqlx::query!(
        r#"UPDATE operations SET error = $3, failures = failures + CASE WHEN $4 THEN 1 ELSE 0 END, abandoned = 0
         WHERE id = $1 AND generation = $2 AND state = 'running'
         RETURNING direction, attempts, failures, cancel_requested_at IS NOT NULL AS "is_cancelled!",
                   extract(epoch FROM now() - greatest(started_at, (
                       SELECT max(finished_at) FROM operation_steps WHERE operation_id = $1 AND state = 'succeeded'
                   )))::float8 AS stuck"#,
        claim.id.uuid(),
        claim.generation,
        error,
        stays
    )
    .fetch_optional(txn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Failing {
        direction: Direction::parse(&row.direction)?,
        attempts: row.attempts,
        failures: row.failures,
        is_cancelled: row.is_cancelled,
        stuck: Duration::from_secs_f64(row.stuck.unwrap_or_default().max(0.0)),
    }))
}

/// Sets an operation aside until an operator has mended the reason.
pub async fn block(connection: &mut PgConnection, claim: Claim) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET state = 'blocked', lease_owner = NULL, lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A step has ended: those who were gone before that did not die of it.
pub async fn clear_abandoned(connection: &mut PgConnection, claim: Claim) -> Result<()> {
    sqlx::query!(
        "UPDATE operations SET abandoned = 0 WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// From here on the holder undoes the operation, and all is counted anew. The tenant that it reads, if it reads one, is
/// free for other operations: its data are not wanted any more, and undoing may take as long as a server is away.
pub async fn begin_undo(connection: &mut PgConnection, claim: Claim) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET direction = 'undo', attempts = 1, failures = 0, abandoned = 0, source_id = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives an operation back to the queue.
pub async fn release(connection: &mut PgConnection, claim: Claim, pause: Pause<'_>) -> Result<bool> {
    let (pause, in_vain, reason) = match pause {
        Pause::Retry(pause) => (pause, true, None),
        Pause::HandOver(pause) => (pause, false, None),
        Pause::Leave(pause, reason) => (pause, false, Some(reason)),
    };
    let done = sqlx::query!(
        "UPDATE operations
         SET state = 'queued', run_after = now() + make_interval(secs => $3),
             attempts = CASE WHEN $4 THEN attempts ELSE attempts - 1 END, abandoned = 0, lease_owner = NULL,
             lease_expires_at = NULL, error = coalesce($5, error)
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        pause.as_secs_f64(),
        in_vain,
        reason
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
