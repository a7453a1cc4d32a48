//! Table `checks`: the checks that run on a schedule, and what they found last.
//!
//! A replica claims a check for a time, runs one piece of it, and gives it back with a checkpoint. A replica that dies
//! meanwhile costs that time and the piece.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use crate::{error::Result, types::TenantId};

/// Counts by what they count.
pub type Counts = BTreeMap<String, i64>;

/// A claimed check.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Until when, by the control database's clock; also tells this claim from others.
    pub until: DateTime<Utc>,
    /// The last tenant of the round so far; none at its beginning.
    pub after: Option<TenantId>,
    /// What was counted up to there.
    pub so_far: Counts,
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

/// Claims the check for `lease` if its last round ended longer than `interval` ago and nobody else has it.
pub async fn claim(
    connection: &mut PgConnection,
    name: &str,
    interval: Duration,
    lease: Duration,
) -> Result<Option<Claimed>> {
    let row = sqlx::query!(
        r#"UPDATE checks SET claimed_until = now() + $3 * interval '1 second'
         WHERE name = $1 AND claimed_until < now()
           AND (ended_at IS NULL OR ended_at < now() - $2 * interval '1 second')
         RETURNING claimed_until, after, so_far AS "so_far: Json<Counts>""#,
        name,
        interval.as_secs_f64(),
        lease.as_secs_f64()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Claimed {
        until: row.claimed_until,
        after: row.after.map(TenantId::from_uuid),
        so_far: row.so_far.0,
    }))
}

/// Gives back a check that was claimed `until` then. False, and nothing is recorded, when that has passed and somebody
/// else has claimed it since.
pub async fn give_back(
    connection: &mut PgConnection,
    name: &str,
    until: DateTime<Utc>,
    checkpoint: Checkpoint,
) -> Result<bool> {
    let query = match checkpoint {
        Checkpoint::Unchanged => sqlx::query!(
            "UPDATE checks SET claimed_until = '-infinity' WHERE name = $1 AND claimed_until = $2",
            name,
            until
        ),
        Checkpoint::At(after, so_far) => sqlx::query!(
            "UPDATE checks SET claimed_until = '-infinity', after = $3, so_far = $4
             WHERE name = $1 AND claimed_until = $2",
            name,
            until,
            after.uuid(),
            Json(so_far) as _
        ),
        Checkpoint::Finished(counts) => sqlx::query!(
            "UPDATE checks
             SET claimed_until = '-infinity', after = NULL, so_far = '{}', ended_at = now(), counts = $3
             WHERE name = $1 AND claimed_until = $2",
            name,
            until,
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
