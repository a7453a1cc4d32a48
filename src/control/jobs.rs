//! Table `jobs`: work that nobody waits for.
//!
//! A replica claims a job under a lease, which the database's clock measures, and raises the job's generation. A write
//! with an older generation changes no row: so what became of a job is recorded once, however many replicas worked on it.
//! A function here returns `false` when the claim is lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{sealing::WrappedKey, words::words};
use crate::{
    error::{Error, Result},
    types::{JobId, TenantId},
};

words! {
    /// Where a job is in its life.
    JobState, "state of a job", {
        /// Waits for its time, or for a replica.
        Queued => "queued",
        /// A replica is at it.
        Running => "running",
        /// Done, or there was nothing to do any more.
        Done => "done",
        /// Given up: an operator may have it tried again.
        Dead => "dead",
    }
}

/// A job as operators see it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: String,
    /// For which tenant.
    pub tenant_id: TenantId,
    /// Where it is in its life.
    pub state: JobState,
    /// How often it was claimed.
    pub attempts: i32,
    /// What went wrong last, or why there was nothing to do.
    pub note: Option<String>,
    /// When it is due, while it is queued.
    pub run_after: DateTime<Utc>,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

struct Row {
    id: uuid::Uuid,
    kind: String,
    tenant_id: uuid::Uuid,
    state: String,
    attempts: i32,
    note: Option<String>,
    run_after: DateTime<Utc>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Job {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: JobId::from_uuid(row.id),
            kind: row.kind,
            tenant_id: TenantId::from_uuid(row.tenant_id),
            state: JobState::parse(&row.state)?,
            attempts: row.attempts,
            note: row.note,
            run_after: row.run_after,
            created_at: row.created_at,
            finished_at: row.finished_at,
        })
    }
}

/// A job that is about to be.
#[derive(Debug)]
pub struct NewJob<'a> {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: &'a str,
    /// For which tenant. Its data key has sealed the payload.
    pub tenant_id: TenantId,
    /// Sealed.
    pub payload: &'a [u8],
}

/// A claim: the right to write to a job, under one generation.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The job.
    pub id: JobId,
    /// The generation under which its holder writes.
    pub generation: i64,
}

/// A job that a replica has claimed.
#[derive(Debug)]
pub struct Claimed {
    /// The claim.
    pub claim: Claim,
    /// What it does.
    pub kind: String,
    /// For which tenant.
    pub tenant_id: TenantId,
    /// Sealed.
    pub payload: Vec<u8>,
    /// The data key that sealed it.
    pub key: WrappedKey,
    /// How often it was claimed, this time included.
    pub attempts: i32,
    /// How often it failed.
    pub failures: i32,
    /// How often in a row its holder was gone before it ended.
    pub abandoned: i32,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
}

/// Queues a job: it is there when the transaction is committed, and not before.
pub async fn insert_in_txn(txn: &mut PgConnection, new: &NewJob<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO jobs (id, kind, tenant_id, payload) VALUES ($1, $2, $3, $4)",
        new.id.uuid(),
        new.kind,
        new.tenant_id.uuid(),
        new.payload
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Claims the job that is due longest: a queued one, or a running one whose lease ran out. While releases or settings
/// differ there are kinds that not every replica takes up: it leaves all but the `known` ones to others.
pub async fn claim(
    connection: &mut PgConnection,
    replica: &str,
    lease: Duration,
    known: &[String],
) -> Result<Option<Claimed>> {
    let row = sqlx::query!(
        r#"WITH due AS (
             SELECT id FROM jobs
             WHERE ((state = 'queued' AND run_after <= now()) OR (state = 'running' AND lease_expires_at < now()))
               AND kind = ANY($3)
             ORDER BY run_after LIMIT 1 FOR UPDATE SKIP LOCKED
         )
         UPDATE jobs j
         SET state = 'running', attempts = attempts + 1, generation = generation + 1, lease_owner = $1,
             lease_expires_at = now() + make_interval(secs => $2),
             abandoned = abandoned + CASE WHEN state = 'running' THEN 1 ELSE 0 END
         FROM due, data_keys k
         WHERE j.id = due.id AND k.owner_id = j.tenant_id
         RETURNING j.id, j.kind, j.tenant_id, j.payload AS "payload!", j.attempts, j.failures, j.abandoned, j.generation,
                   j.created_at, k.kek_id, k.wrapped"#,
        replica,
        lease.as_secs_f64(),
        known
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Claimed {
        claim: Claim { id: JobId::from_uuid(row.id), generation: row.generation },
        kind: row.kind,
        tenant_id: TenantId::from_uuid(row.tenant_id),
        payload: row.payload,
        key: WrappedKey { kek_id: row.kek_id, wrapped: row.wrapped },
        attempts: row.attempts,
        failures: row.failures,
        abandoned: row.abandoned,
        created_at: row.created_at,
    }))
}

/// Ends the leases that an earlier process of this replica left behind. How many there were.
pub async fn release_leftovers(connection: &mut PgConnection, replica: &str) -> Result<u64> {
    let done = sqlx::query!(
        "UPDATE jobs SET lease_expires_at = now() - interval '1 microsecond'
         WHERE state = 'running' AND lease_owner = $1",
        replica
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Prolongs the lease.
pub async fn renew(connection: &mut PgConnection, claim: Claim, lease: Duration) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE jobs SET lease_expires_at = now() + make_interval(secs => $3)
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records that the job is done. Its payload is gone from then on.
pub async fn finish(connection: &mut PgConnection, claim: Claim, note: Option<&str>) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE jobs SET state = 'done', payload = NULL, note = $3, abandoned = 0, finished_at = now(),
             lease_owner = NULL, lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        note
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a job up: it keeps its payload, and waits for an operator.
pub async fn bury(connection: &mut PgConnection, claim: Claim, note: &str) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE jobs SET state = 'dead', note = $3, failures = failures + 1, finished_at = now(), lease_owner = NULL,
             lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        note
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How a job goes back to the queue.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// When it is due again.
    pub pause: Duration,
    /// Whether it has failed.
    pub failed: bool,
    /// Whether it was tried at all: a replica that stops gives back what it has just claimed.
    pub tried: bool,
    /// Why; without one, what is noted stays.
    pub note: Option<&'a str>,
}

/// Gives a job back to the queue.
pub async fn release(connection: &mut PgConnection, claim: Claim, release: Release<'_>) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE jobs SET state = 'queued', run_after = now() + make_interval(secs => $3),
             failures = failures + CASE WHEN $4 THEN 1 ELSE 0 END,
             attempts = attempts - CASE WHEN $5 THEN 0 ELSE 1 END,
             note = coalesce($6, note), abandoned = 0, lease_owner = NULL, lease_expires_at = NULL
         WHERE id = $1 AND generation = $2 AND state = 'running'",
        claim.id.uuid(),
        claim.generation,
        release.pause.as_secs_f64(),
        release.failed,
        release.tried,
        release.note
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// One job.
pub async fn get(connection: &mut PgConnection, id: JobId) -> Result<Option<Job>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, attempts, note, run_after, created_at, finished_at FROM jobs WHERE id = $1",
        id.uuid()
    );
    query.fetch_optional(connection).await?.map(Job::try_from).transpose()
}

/// A page of jobs, newest first.
pub async fn page(
    connection: &mut PgConnection,
    state: Option<JobState>,
    tenant: Option<TenantId>,
    before: Option<(DateTime<Utc>, JobId)>,
    limit: i64,
) -> Result<Vec<Job>> {
    let query = sqlx::query_as!(
        Row,
        "SELECT id, kind, tenant_id, state, attempts, note, run_after, created_at, finished_at FROM jobs
         WHERE ($1::text IS NULL OR state = $1)
           AND ($2::uuid IS NULL OR tenant_id = $2)
           AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
         ORDER BY created_at DESC, id DESC LIMIT $5",
        state.map(JobState::as_str),
        tenant.map(TenantId::uuid),
        before.map(|(at, _)| at),
        before.map(|(_, id)| id.uuid()),
        limit
    );
    query.fetch_all(connection).await?.into_iter().map(Job::try_from).collect()
}

/// Queues a dead job again, as if it had never failed. False when there is no dead one of this id.
pub async fn retry_in_txn(txn: &mut PgConnection, id: JobId) -> Result<bool> {
    let done = sqlx::query!(
        "WITH again AS (
             UPDATE jobs SET state = 'queued', run_after = now(), failures = 0, abandoned = 0, finished_at = NULL
             WHERE id = $1 AND state = 'dead' RETURNING id
         )
         SELECT pg_notify('freehold_jobs', 'queued') FROM again",
        id.uuid()
    )
    .fetch_optional(txn)
    .await?;
    Ok(done.is_some())
}

/// How many jobs there are in each state that is not the end, and how long the oldest one that is due has been due.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Wait for their time or for a replica.
    pub queued: i64,
    /// Replicas are at them.
    pub running: i64,
    /// Wait for an operator.
    pub dead: i64,
    /// How long ago the oldest one was queued that is not done and not dead; zero when there is none.
    pub oldest: f64,
}

/// How the queue stands.
pub async fn standing(connection: &mut PgConnection) -> Result<Standing> {
    let query = sqlx::query_as!(
        Standing,
        r#"SELECT count(*) FILTER (WHERE state = 'queued') AS "queued!",
                  count(*) FILTER (WHERE state = 'running') AS "running!",
                  count(*) FILTER (WHERE state = 'dead') AS "dead!",
                  coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE state <> 'dead')), 0)::float8
                      AS "oldest!"
           FROM jobs WHERE state IN ('queued', 'running', 'dead')"#
    );
    Ok(query.fetch_one(connection).await?)
}

/// Deletes jobs that were done longer than `done` ago, and dead ones after `dead`: at most `limit`.
pub async fn purge(connection: &mut PgConnection, done: Duration, dead: Duration, limit: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM jobs WHERE id IN (
             SELECT id FROM jobs
             WHERE finished_at < now() - make_interval(secs => CASE state WHEN 'done' THEN $1::float8 ELSE $2 END)
             LIMIT $3 FOR UPDATE SKIP LOCKED)",
        done.as_secs_f64(),
        dead.as_secs_f64(),
        limit
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}
