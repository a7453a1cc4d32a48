//! Table `rollouts`: the published migrations, carried to the tenants that exist, or taken back from them. At most one
//! is unfinished.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::errors::constraint;
pub use super::rollout_states::RolloutState;
use crate::{
    error::{Error, Result},
    types::{RolloutId, SchemaVersions},
};

/// A rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// Where it is in its life.
    pub state: RolloutState,
    /// Where it takes the tenants. If it undoes another one, the oldest versions that it takes a tenant back to.
    pub target: SchemaVersions,
    /// The rollout that it undoes.
    pub undoes: Option<RolloutId>,
    /// At most so many tenants of one server at a time; none leaves that to the server.
    pub concurrency: Option<i32>,
    /// With more failures than that it pauses: `2%`, or `3`.
    pub max_failures: String,
    /// The failures that an operator has seen and gone on with.
    pub tolerated: i32,
    /// Why it pauses, or was aborted: a code and a sentence.
    pub reason: Option<String>,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When its first wave began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A rollout that is about to be.
#[derive(Debug)]
pub struct NewRollout<'a> {
    /// Its id.
    pub id: RolloutId,
    /// Whether there is anything to do.
    pub state: RolloutState,
    /// Where it takes the tenants.
    pub target: SchemaVersions,
    /// The rollout that it undoes.
    pub undoes: Option<RolloutId>,
    /// At most so many tenants of one server at a time.
    pub concurrency: Option<i32>,
    /// With more failures than that it pauses.
    pub max_failures: &'a str,
    /// Who asks for it.
    pub requested_by: &'a str,
}

struct Row {
    id: uuid::Uuid,
    state: String,
    freehold_version: i32,
    product_version: i32,
    undoes: Option<uuid::Uuid>,
    concurrency: Option<i32>,
    max_failures: String,
    tolerated: i32,
    reason: Option<String>,
    requested_by: String,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

/// All rollouts' rows that `$rest` chooses.
macro_rules! rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "SELECT id, state, freehold_version, product_version, undoes, concurrency, max_failures, tolerated, reason,
                    requested_by, created_at, started_at, finished_at
             FROM rollouts " + $rest,
            $($argument),*
        )
    };
}

impl TryFrom<Row> for Rollout {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: RolloutId::from_uuid(row.id),
            state: RolloutState::parse(&row.state)?,
            target: SchemaVersions { freehold: row.freehold_version, product: row.product_version },
            undoes: row.undoes.map(RolloutId::from_uuid),
            concurrency: row.concurrency,
            max_failures: row.max_failures,
            tolerated: row.tolerated,
            reason: row.reason,
            requested_by: row.requested_by,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Records a rollout.
///
/// # Errors
/// `rollout_in_progress` (409) when it is to be unfinished and another one is.
pub async fn insert_in_txn(txn: &mut PgConnection, new: &NewRollout<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO rollouts (id, state, freehold_version, product_version, undoes, concurrency, max_failures,
                               requested_by, started_at, finished_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $2 = 'succeeded' THEN now() END,
                 CASE WHEN $2 = 'succeeded' THEN now() END)",
        new.id.uuid(),
        new.state.as_str(),
        new.target.freehold,
        new.target.product,
        new.undoes.map(RolloutId::uuid),
        new.concurrency,
        new.max_failures,
        new.requested_by
    )
    .execute(txn)
    .await
    .map(drop)
    .map_err(second)
}

fn second(error: sqlx::Error) -> Error {
    match constraint(&error) {
        Some("rollouts_unfinished_key") => in_progress(None),
        _ => error.into(),
    }
}

/// What whoever asks for a rollout is told while another one is unfinished.
#[must_use]
pub fn in_progress(id: Option<RolloutId>) -> Error {
    let which = id.map_or_else(|| "another rollout".to_owned(), |id| format!("the rollout {id}"));
    Error::conflict("rollout_in_progress", format!("{which} is not finished: let it end, or abort it"))
}

/// The rollout with this id.
pub async fn get(connection: &mut PgConnection, id: RolloutId) -> Result<Option<Rollout>> {
    rows!("WHERE id = $1", id.uuid()).fetch_optional(connection).await?.map(Rollout::try_from).transpose()
}

/// The rollout that is not finished, if there is one.
pub async fn unfinished(connection: &mut PgConnection) -> Result<Option<Rollout>> {
    let query = rows!("WHERE state IN ('planned', 'running', 'paused')");
    query.fetch_optional(connection).await?.map(Rollout::try_from).transpose()
}

/// The rollout with this id, held against other changes until the transaction ends.
pub async fn lock_in_txn(txn: &mut PgConnection, id: RolloutId) -> Result<Option<Rollout>> {
    let query = rows!("WHERE id = $1 FOR NO KEY UPDATE", id.uuid());
    query.fetch_optional(txn).await?.map(Rollout::try_from).transpose()
}

/// A page of rollouts, newest first; of one state if given.
pub async fn page(
    connection: &mut PgConnection,
    state: Option<&str>,
    before: Option<(DateTime<Utc>, RolloutId)>,
    limit: i64,
) -> Result<Vec<Rollout>> {
    let query = rows!(
        "WHERE ($1::text IS NULL OR state = $1) AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3))
         ORDER BY created_at DESC, id DESC LIMIT $4",
        state,
        before.map(|(at, _)| at),
        before.map(|(_, id)| id.uuid()),
        limit
    );
    query.fetch_all(connection).await?.into_iter().map(Rollout::try_from).collect()
}

/// The rollouts that were asked for after this moment, newest first.
pub async fn since(connection: &mut PgConnection, moment: DateTime<Utc>) -> Result<Vec<Rollout>> {
    const PAGE: i64 = 50;
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = page(connection, None, before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        before = Some((last.created_at, last.id));
        let is_last = last.created_at <= moment;
        found.extend(page.into_iter().filter(|rollout| rollout.created_at > moment));
        if is_last {
            return Ok(found);
        }
    }
}

/// Writes where a rollout is, why, and how many failures count no more.
///
/// # Errors
/// `rollout_in_progress` (409) when a finished one is to go on and another one is unfinished.
pub async fn set_state_in_txn(
    txn: &mut PgConnection,
    id: RolloutId,
    state: RolloutState,
    reason: Option<&str>,
    tolerated: i32,
) -> Result<()> {
    sqlx::query!(
        "UPDATE rollouts
         SET state = $2, reason = $3, tolerated = $4,
             started_at = CASE WHEN $2 = 'planned' THEN started_at ELSE coalesce(started_at, now()) END,
             finished_at = CASE WHEN $2 IN ('succeeded', 'failed', 'aborted') THEN now() END
         WHERE id = $1",
        id.uuid(),
        state.as_str(),
        reason,
        tolerated
    )
    .execute(txn)
    .await
    .map(drop)
    .map_err(second)
}
