//! Table `key_rings`: which key-encryption keys each replica has, by their names. Never the keys.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::Result;

/// A replica that said nothing for this long is gone.
pub const ALIVE: Duration = Duration::from_mins(1);

/// What one replica has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// The replica's name.
    pub replica: String,
    /// The names of its keys; the first one wraps new data keys.
    pub key_ids: Vec<String>,
    /// When it last said so.
    pub seen_at: DateTime<Utc>,
}

/// Says what this replica has, and forgets those that are long gone.
pub async fn announce(connection: &mut PgConnection, replica: &str, key_ids: &[String]) -> Result<()> {
    sqlx::query!(
        "WITH gone AS (DELETE FROM key_rings WHERE seen_at < now() - interval '1 day' AND replica <> $1)
         INSERT INTO key_rings (replica, key_ids) VALUES ($1, $2)
         ON CONFLICT (replica) DO UPDATE SET key_ids = excluded.key_ids, seen_at = now()",
        replica,
        key_ids
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a replica that stops.
pub async fn withdraw(connection: &mut PgConnection, replica: &str) -> Result<()> {
    sqlx::query!("DELETE FROM key_rings WHERE replica = $1", replica).execute(connection).await?;
    Ok(())
}

/// What the replicas have that are alive, by their names.
pub async fn alive(connection: &mut PgConnection) -> Result<Vec<Ring>> {
    let query = sqlx::query_as!(
        Ring,
        "SELECT replica, key_ids, seen_at FROM key_rings
         WHERE seen_at > now() - make_interval(secs => $1) ORDER BY replica",
        ALIVE.as_secs_f64()
    );
    Ok(query.fetch_all(connection).await?)
}
