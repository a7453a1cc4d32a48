//! Table `operation_steps`: what an operation does, one step after another, and how far it is.
//!
//! Only the holder of the operation's claim changes a step: under an older generation nothing is touched. A step
//! begins and ends under a shared lock on the operation's row, so that nobody takes the claim meanwhile, and somebody
//! who asks for its undoing is either heard before the step begins or sees that it has.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    operation_claims::{Claim, Permission},
    operation_states::{Direction, StepState},
};
use crate::{error::Result, types::OperationId};

/// One step of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place, from 0.
    pub position: i32,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: StepState,
    /// How often it was begun, its undoing included.
    pub attempts: i32,
    /// When it was begun last.
    pub started_at: Option<DateTime<Utc>>,
    /// When it succeeded, or was undone.
    pub finished_at: Option<DateTime<Utc>>,
    /// What went wrong last, for operators.
    pub error: Option<String>,
}

impl Step {
    /// Whether it may have had an effect that is not undone.
    #[must_use]
    pub fn was_begun(&self) -> bool {
        self.attempts > 0 && self.state != StepState::Undone
    }
}

/// The steps of an operation, in order.
pub async fn list(connection: &mut PgConnection, id: OperationId) -> Result<Vec<Step>> {
    let query = sqlx::query!(
        "SELECT position, name, state, attempts, started_at, finished_at, error
         FROM operation_steps WHERE operation_id = $1 ORDER BY position",
        id.uuid()
    );
    let rows = query.fetch_all(connection).await?.into_iter().map(|row| {
        Ok(Step {
            position: row.position,
            name: row.name,
            state: StepState::parse(&row.state)?,
            attempts: row.attempts,
            started_at: row.started_at,
            finished_at: row.finished_at,
            error: row.error,
        })
    });
    rows.collect()
}

/// Records that a step, or its undoing, has begun, and that the one before it, if it is `ended`, has succeeded: one
/// transaction where two would say nothing more. Unless it is granted only the end is recorded, or with a lost claim
/// nothing.
pub async fn begin(
    connection: &mut PgConnection,
    claim: Claim,
    (ended, position): (Option<i32>, i32),
    direction: Direction,
) -> Result<Permission> {
    let row = sqlx::query!(
        r#"WITH held AS (
             SELECT id, cancel_requested_at FROM operations
             WHERE id = $1 AND generation = $2 AND state = 'running' FOR SHARE
         ), ended AS (
             UPDATE operation_steps
             SET state = CASE WHEN $5 THEN 'succeeded' ELSE 'undone' END, error = NULL, finished_at = now()
             FROM held
             WHERE operation_id = held.id AND position = $3
         ), begun AS (
             UPDATE operation_steps
             SET state = CASE WHEN $5 THEN 'running' ELSE 'undoing' END, attempts = attempts + 1, started_at = now(),
                 error = NULL
             FROM held
             WHERE operation_id = held.id AND position = $4 AND (NOT $5 OR held.cancel_requested_at IS NULL)
             RETURNING position
         )
         SELECT EXISTS (SELECT FROM held) AS "held!", EXISTS (SELECT FROM begun) AS "begun!""#,
        claim.id.uuid(),
        claim.generation,
        ended,
        position,
        direction == Direction::Forward
    )
    .fetch_one(connection)
    .await?;
    Ok(Permission::new(row.held, row.begun))
}

/// Records how a step, or its undoing, ended: `error` is `None` when it succeeded. False when the claim is no
/// longer held.
pub async fn end(
    connection: &mut PgConnection,
    claim: Claim,
    position: i32,
    direction: Direction,
    error: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query!(
        "WITH held AS (
           SELECT id FROM operations WHERE id = $1 AND generation = $2 AND state = 'running' FOR SHARE
         )
         UPDATE operation_steps
         SET state = CASE WHEN $4::text IS NOT NULL THEN 'failed' WHEN $5 THEN 'succeeded' ELSE 'undone' END,
             error = $4, finished_at = CASE WHEN $4::text IS NULL THEN now() END
         FROM held
         WHERE operation_id = held.id AND position = $3",
        claim.id.uuid(),
        claim.generation,
        position,
        error,
        direction == Direction::Forward
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
