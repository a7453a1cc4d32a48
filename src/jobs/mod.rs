//! Work that nobody waits for, and work that comes again and again.
//!
//! A *job* is a row in the control database (`control::jobs`): its kind, its tenant, and a sealed payload. The
//! transaction that decides on the work queues it ([`queue_in_txn`]), so neither is there without the other. Then
//! 1. a replica claims the job under a lease, and commits that;
//! 2. it works, holding no connection to the control database;
//! 3. it records what came of it, if the claim is still its own.
//!
//! So what came of a job is recorded once, and the work is done at least once: a replica that dies between 2 and 3 has
//! done it, and another one does it again. A kind of job must be such that this does no harm.
//!
//! A job that fails is tried again after growing pauses ([`Pace`]). One that failed too often is *dead*: it stays, with
//! its payload, until an operator has it tried again ([`retry()`]).
//!
//! A *schedule* is a row as well (`control::schedules`): see [`schedule`]. Kinds and schedules are handed in by those who
//! put a replica together: nothing here knows what any of them does.

mod lease;
mod pace;
mod retry;
pub mod schedule;
mod worker;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use secrecy::{ExposeSecret, SecretBox};
use sqlx::PgConnection;

pub use pace::Pace;
pub use retry::retry;
pub use worker::spawn;

use crate::{
    control::{
        ControlDb,
        jobs::{self, Claimed, NewJob, Standing},
        listener::Signals,
        sealing::{DataKey, KeyRing},
    },
    error::Result,
    types::{JobId, Random, TenantId},
};

/// How long jobs are kept that are done, and that are dead.
const KEPT_DONE: Duration = Duration::from_hours(7 * 24);
const KEPT_DEAD: Duration = Duration::from_hours(90 * 24);
/// How many are forgotten at once.
const FORGOTTEN: i64 = 1_000;

/// What jobs and schedules of a replica need. Clones share everything.
#[derive(Clone)]
pub struct Desk {
    /// The control database.
    pub db: ControlDb,
    /// Opens payloads.
    pub keys: Arc<KeyRing>,
    /// Tells of new jobs.
    pub signals: Signals,
    /// Randomness.
    pub random: Random,
    /// This replica's name.
    pub replica: String,
    /// How fast it all goes.
    pub pace: Pace,
    /// Which schedules it keeps.
    pub kept: schedule::Kept,
}

/// A job that a replica is at, opened.
pub struct Job {
    /// Its id: the same in each attempt.
    pub id: JobId,
    /// For which tenant.
    pub tenant: TenantId,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    payload: SecretBox<Vec<u8>>,
}

impl Job {
    /// What it was queued with.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.expose_secret()
    }

    fn open(claimed: &Claimed, keys: &KeyRing) -> Result<Self> {
        let key = keys.unwrap(claimed.tenant_id.uuid(), &claimed.key)?;
        let id = claimed.claim.id;
        let payload = key.open(&purpose(id), &claimed.payload)?;
        Ok(Self { id, tenant: claimed.tenant_id, created_at: claimed.created_at, payload })
    }
}

/// What became of an attempt that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The work is done.
    Worked,
    /// There is nothing to do any more, for this reason.
    Void(&'static str),
    /// It is too early, for this reason. That counts as no failure.
    Wait(&'static str),
    /// No attempt will succeed, for this reason: the job is dead at once.
    Refused(String),
}

/// An attempt at a job. Its error says why it failed; it is tried again.
pub type Work = Arc<dyn Fn(Job) -> BoxFuture<'static, Result<Done>> + Send + Sync>;

/// A kind of jobs. Its name is stored: it may never change while there are jobs of it.
#[derive(Clone)]
pub struct Kind {
    name: &'static str,
    work: Work,
}

impl Kind {
    /// Jobs of this name are worked off so.
    pub fn new<F>(name: &'static str, work: impl Fn(Job) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Done>> + Send + 'static,
    {
        Self { name, work: Arc::new(move |job: Job| work(job).boxed()) }
    }
}

/// Queues a job, if the transaction is committed. `key` is the tenant's.
///
/// # Errors
/// The payload cannot be sealed, or the control database is away.
pub async fn queue_in_txn(
    txn: &mut PgConnection,
    key: &DataKey,
    (id, tenant): (JobId, TenantId),
    kind: &str,
    payload: &[u8],
) -> Result<()> {
    let payload = key.seal(&purpose(id), payload)?;
    jobs::insert_in_txn(txn, &NewJob { id, kind, tenant_id: tenant, payload: &payload }).await
}

/// What a payload is sealed for: it opens in the row of its own job only.
fn purpose(id: JobId) -> String {
    format!("job {id}")
}

/// Deletes jobs that ended long ago. How many.
pub async fn forget(db: &ControlDb) -> Result<u64> {
    jobs::purge(&mut *db.acquire().await?, KEPT_DONE, KEPT_DEAD, FORGOTTEN).await
}

/// Writes how the queue stands to the metrics.
pub async fn record_gauges(desk: &Desk) {
    match standing(desk).await {
        Ok(standing) => {
            let number = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
            for (state, count) in [("queued", standing.queued), ("running", standing.running), ("dead", standing.dead)]
            {
                metrics::gauge!("freehold_jobs", "state" => state).set(number(count));
            }
            metrics::gauge!("freehold_job_oldest_age_seconds").set(standing.oldest);
        }
        Err(error) => tracing::debug!(error = error.chain(), "how the jobs stand could not be read"),
    }
    schedule::record_gauges(desk).await;
}

async fn standing(desk: &Desk) -> Result<Standing> {
    jobs::standing(&mut *desk.db.acquire().await?).await
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("freehold_jobs", "jobs by state: queued, running, dead");
    describe_gauge!(
        "freehold_job_oldest_age_seconds",
        "how long ago the oldest job was queued that is not done or dead"
    );
    describe_counter!("freehold_job_attempts_total", "attempts at jobs, by kind and outcome");
    let duration = "freehold_job_attempt_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long attempts at jobs took, by kind");
    schedule::describe_metrics();
}
