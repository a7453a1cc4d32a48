//! Table `schedules`: what is done again and again, by one replica at a time.
//!
//! A replica claims a run under a lease, which the database's clock measures, and raises the generation. A run whose
//! lease ran out before it was recorded is due at once. A write with an older generation changes no row.

use std::time::Duration;

use sqlx::PgConnection;

use crate::error::{Error, Result};

/// The channel of NOTIFY on which replicas hear that a schedule is due before its time.
pub const CHANNEL: &str = "freehold_schedules";

/// What came of an attempt to claim a run.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// This replica runs it, under this generation.
    Mine(i64),
    /// It is not due, or somebody else runs it: look again after this time.
    NotBefore(Duration),
}

/// Makes the row of a schedule, if there is none. A schedule that is `eager` is due whenever a replica starts.
pub async fn register(connection: &mut PgConnection, name: &str, eager: bool) -> Result<()> {
    sqlx::query!(
        "INSERT INTO schedules (name) VALUES ($1)
         ON CONFLICT (name) DO UPDATE SET due_at = least(schedules.due_at, now()) WHERE $2",
        name,
        eager
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How often a schedule is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// The next run is due so long after this one began.
    pub every: Duration,
    /// A run is due now if the last one began so long ago: `every`, even where the last run was claimed by a replica
    /// whose interval is longer; or less, when something has happened since.
    pub since: Duration,
}

/// Claims a run for `lease` if it is due and nobody runs it.
pub async fn claim(
    connection: &mut PgConnection,
    name: &str,
    replica: &str,
    Interval { every, since }: Interval,
    lease: Duration,
) -> Result<Turn> {
    let generation = sqlx::query_scalar!(
        "UPDATE schedules
         SET generation = generation + 1, began_at = now(), due_at = now() + make_interval(secs => $3),
             lease_owner = $2, lease_expires_at = now() + make_interval(secs => $4)
         WHERE name = $1 AND (lease_expires_at < now() OR lease_expires_at IS NULL
               AND (due_at <= now() OR began_at <= now() - make_interval(secs => $5)))
         RETURNING generation",
        name,
        replica,
        every.as_secs_f64(),
        lease.as_secs_f64(),
        since.as_secs_f64()
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(generation) = generation {
        return Ok(Turn::Mine(generation));
    }
    let left = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM least(due_at, began_at + make_interval(secs => $2)) - now())::float8 AS "left!"
           FROM schedules WHERE name = $1"#,
        name,
        every.as_secs_f64()
    )
    .fetch_optional(connection)
    .await?;
    let left = left.ok_or_else(|| Error::defect(format!("the schedule {name} has no row")))?;
    Ok(Turn::NotBefore(Duration::try_from_secs_f64(left).unwrap_or_default()))
}

/// Prolongs the lease of a run; false when it is lost.
pub async fn renew(connection: &mut PgConnection, name: &str, generation: i64, lease: Duration) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE schedules SET lease_expires_at = now() + make_interval(secs => $3)
         WHERE name = $1 AND generation = $2 AND lease_expires_at IS NOT NULL",
        name,
        generation,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records the end of a run: why it failed, if it did, and when the next one is due, if that is sooner than usual. False
/// when the lease was lost.
pub async fn end(
    connection: &mut PgConnection,
    name: &str,
    generation: i64,
    error: Option<&str>,
    again: Option<Duration>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE schedules
         SET ended_at = now(), error = $3, failures = CASE WHEN $3::text IS NULL THEN 0 ELSE failures + 1 END,
             due_at = least(due_at, now() + make_interval(secs => $4)), lease_owner = NULL, lease_expires_at = NULL
         WHERE name = $1 AND generation = $2 AND lease_expires_at IS NOT NULL",
        name,
        generation,
        error,
        again.map(|again| again.as_secs_f64())
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the leases that an earlier process of this replica left behind: the runs are due at once.
pub async fn release_leftovers(connection: &mut PgConnection, name: &str, replica: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE schedules SET lease_expires_at = now() - interval '1 microsecond' WHERE name = $1 AND lease_owner = $2",
        name,
        replica
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes a schedule due now. Replicas hear of it when the transaction is committed.
pub async fn wake_in_txn(txn: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query!("UPDATE schedules SET due_at = least(due_at, now()) WHERE name = $1", name).execute(&mut *txn).await?;
    sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, name).execute(txn).await?;
    Ok(())
}

/// How long each schedule has been due that nobody runs; those that run or are not due yet, zero.
pub async fn overdue(connection: &mut PgConnection) -> Result<Vec<(String, f64)>> {
    let rows = sqlx::query!(
        r#"SELECT name, CASE WHEN lease_expires_at > now() THEN 0
                             ELSE greatest(extract(epoch FROM now() - due_at), 0) END::float8 AS "overdue!"
           FROM schedules"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.overdue)).collect())
}
