//! Table `checks`: the checks that run on a schedule, and what they found last.
//!
//! A replica claims a check, runs one piece of it, and gives it back with a checkpoint. That nobody else is at it is up to
//! the check's schedule (`control::schedules`): a claim is no lock, and it ends the one before it. A replica that stops or
//! dies meanwhile costs the piece. Somebody may ask for a round that begins now.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use crate::{error::Result, types::TenantId};

/// Counts by what they count.
pub type Counts = BTreeMap<String, i64>;

/// A claimed check.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// When, by the control database's clock: tells this claim from others.
    pub at: DateTime<Utc>,
    /// The last tenant of the round so far; none at its beginning.
    pub after: Option<TenantId>,
    /// What was counted up to there.
    pub so_far: Counts,
    /// Whether somebody has asked for a round, and waits.
    pub is_asked: bool,
}

/// How far a claimed check is.
#[derive(Clone, Debug)]
pub enum Checkpoint {
    /// At the end of a round: this is what it counted.
    Finished(Counts),
    /// At this tenant: this is what it counted so far.
    At(TenantId, Counts),
    /// Where it was: the piece is to be tried again soon.
    Unchanged,
}

/// What a check counted last, and when.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub name: String,
    /// When that round ended.
    pub at: DateTime<Utc>,
    /// What it counted.
    pub counts: Counts,
}

/// Claims the check if a round of it is under way, if its last one ended longer than `interval` ago, or if somebody has
/// asked for one. Only whoever runs its schedule may do so.
pub async fn claim(connection: &mut PgConnection, name: &str, interval: Option<Duration>) -> Result<Option<Claimed>> {
    let row = sqlx::query!(
        r#"UPDATE checks SET claimed_until = now(), began_at = CASE WHEN after IS NULL THEN now() ELSE began_at END
         WHERE name = $1 AND (after IS NOT NULL OR asked_at IS NOT NULL
             OR $2::float8 IS NOT NULL AND (ended_at IS NULL OR ended_at < now() - $2 * interval '1 second'))
         RETURNING claimed_until, after, so_far AS "so_far: Json<Counts>", asked_at IS NOT NULL AS "is_asked!""#,
        name,
        interval.map(|interval| interval.as_secs_f64())
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Claimed {
        at: row.claimed_until,
        after: row.after.map(TenantId::from_uuid),
        so_far: row.so_far.0,
        is_asked: row.is_asked,
    }))
}

/// Gives back a check that was claimed `at` that time. False, and nothing is recorded, when somebody else has claimed it
/// since.
pub async fn give_back(
    connection: &mut PgConnection,
    name: &str,
    at: DateTime<Utc>,
    checkpoint: Checkpoint,
) -> Result<bool> {
    let query = match checkpoint {
        Checkpoint::Unchanged => sqlx::query!(
            "UPDATE checks SET claimed_until = '-infinity' WHERE name = $1 AND claimed_until = $2",
            name,
            at
        ),
        Checkpoint::At(after, so_far) => sqlx::query!(
            "UPDATE checks SET claimed_until = '-infinity', after = $3, so_far = $4
             WHERE name = $1 AND claimed_until = $2",
            name,
            at,
            after.uuid(),
            Json(so_far) as _
        ),
        Checkpoint::Finished(counts) => sqlx::query!(
            "UPDATE checks
             SET claimed_until = '-infinity', after = NULL, so_far = '{}', ended_at = now(), counts = $3,
                 asked_at = CASE WHEN asked_at <= began_at THEN NULL ELSE asked_at END
             WHERE name = $1 AND claimed_until = $2",
            name,
            at,
            Json(counts) as _
        ),
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// What every check counted last; those that never finished a round are missing.
pub async fn ended(connection: &mut PgConnection) -> Result<Vec<Ended>> {
    let rows = sqlx::query!(
        r#"SELECT name, ended_at AS "at!", counts AS "counts: Json<Counts>" FROM checks WHERE ended_at IS NOT NULL"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| Ended { name: row.name, at: row.at, counts: row.counts.0 }).collect())
}

/// Asks for a round of the check that begins from now on.
pub async fn ask_in_txn(txn: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query!("UPDATE checks SET asked_at = now() WHERE name = $1", name).execute(txn).await?;
    Ok(())
}

/// How a check stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// When a round was asked for that has not come to its end yet.
    pub asked_at: Option<DateTime<Utc>>,
    /// When the round under way, or the last one, began.
    pub began_at: Option<DateTime<Utc>>,
    /// When the last round ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What that counted.
    pub counts: Counts,
}

/// How the check stands.
pub async fn standing(connection: &mut PgConnection, name: &str) -> Result<Standing> {
    let row = sqlx::query!(
        r#"SELECT asked_at, began_at, ended_at, counts AS "counts: Json<Counts>" FROM checks WHERE name = $1"#,
        name
    )
    .fetch_one(connection)
    .await?;
    let (asked_at, began_at, ended_at) = (row.asked_at, row.began_at, row.ended_at);
    Ok(Standing { asked_at, began_at, ended_at, counts: row.counts.0 })
}
