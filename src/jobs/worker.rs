//! The workers of a replica: they claim the jobs that have been due longest, work, and record what came of it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Desk, Done, Job, Kind, Work, lease};
use crate::{
    background::Background,
    control::{
        bounded,
        jobs::{self, Claim, Claimed, Release},
        listener::Signal,
    },
    error::{Error, Result},
    faults::crash_point,
};

/// Starts workers that are at up to `concurrency` jobs of these kinds at a time. With 0, or without kinds, this replica
/// leaves all jobs to others.
pub fn spawn(desk: &Desk, kinds: Vec<Kind>, concurrency: u32, background: &Background) {
    if concurrency == 0 || kinds.is_empty() {
        return;
    }
    let slots = Arc::new(Semaphore::new(usize::try_from(concurrency).unwrap_or(1)));
    let workers = Workers { desk: desk.clone(), kinds: kinds.into(), slots, attempts: background.clone() };
    background.spawn({
        let background = background.clone();
        async move {
            background.stop().run_until_cancelled(Box::pin(workers.take_up())).await;
            background.keep("jobs", move |stop| workers.clone().work(stop));
        }
    });
}

/// The workers of a replica. Clones share the slots.
#[derive(Clone)]
struct Workers {
    desk: Desk,
    kinds: Arc<[Kind]>,
    /// One permit for each job that this replica may be at.
    slots: Arc<Semaphore>,
    attempts: Background,
}

impl Workers {
    async fn work(self, stop: CancellationToken) {
        let mut signals = self.desk.signals.subscribe();
        let mut ticks = tokio::time::interval(self.desk.pace.poll);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            match self.claim(&stop).await {
                Ok(Some((claimed, slot))) => {
                    self.attempts.spawn(self.clone().attempt(claimed, slot, stop.clone()));
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = error.chain(), "no job can be claimed"),
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
                () = async { while !matches!(signals.next().await, Signal::JobQueued | Signal::Lost) {} } => {}
            }
        }
    }

    /// Releases the claims of an earlier process with this replica's name.
    async fn take_up(&self) {
        let desk = &self.desk;
        let freed = async { jobs::release_leftovers(&mut *desk.db.acquire().await?, &desk.replica).await };
        match bounded(desk.pace.answer, freed).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(jobs = count, "takes up the jobs that this replica left behind"),
            Err(error) => tracing::warn!(error = error.chain(), "jobs left behind wait for the end of their leases"),
        }
    }

    /// Waits for a free slot, then claims the next job that is due. A replica that is stopping claims none.
    async fn claim(&self, stop: &CancellationToken) -> Result<Option<(Claimed, OwnedSemaphorePermit)>> {
        let Some(slot) = stop.run_until_cancelled(self.slots.clone().acquire_owned()).await else { return Ok(None) };
        let slot = slot.map_err(Error::internal)?;
        if stop.is_cancelled() {
            return Ok(None);
        }
        let desk = &self.desk;
        let known: Vec<_> = self.kinds.iter().map(|kind| kind.name.to_owned()).collect();
        let claiming =
            async { jobs::claim(&mut *desk.db.acquire().await?, &desk.replica, desk.pace.lease, &known).await };
        Ok(bounded(desk.pace.answer, claiming).await?.map(|claimed| (claimed, slot)))
    }

    async fn attempt(self, claimed: Claimed, slot: OwnedSemaphorePermit, stop: CancellationToken) {
        let span = tracing::info_span!(
            "job",
            job.id = %claimed.claim.id,
            job.kind = claimed.kind,
            job.generation = claimed.claim.generation,
            tenant.id = %claimed.tenant_id,
        );
        async {
            let started = Instant::now();
            let outcome = self.outcome(&claimed, &stop).await;
            let name = settle(&self.desk, &claimed, outcome).await;
            let kind = || claimed.kind.clone();
            metrics::counter!("freehold_job_attempts_total", "kind" => kind(), "outcome" => name).increment(1);
            metrics::histogram!("freehold_job_attempt_duration_seconds", "kind" => kind()).record(started.elapsed());
        }
        .instrument(span)
        .await;
        drop(slot);
    }

    async fn until_lost(&self, claim: Claim) {
        let renew = |lease| async move { jobs::renew(&mut *self.desk.db.acquire().await?, claim, lease).await };
        lease::until_lost(&self.desk.pace, renew).await;
    }

    /// Works for as long as the lease can be renewed and an attempt may take. A panic becomes an error.
    async fn outcome(&self, claimed: &Claimed, stop: &CancellationToken) -> Outcome {
        if claimed.abandoned >= self.desk.pace.abandoned {
            return Outcome::Settled(Ok(Done::Refused(
                "the replicas that were at it were gone before it ended, time after time: they may die of it"
                    .to_owned(),
            )));
        }
        let Some(kind) = self.kinds.iter().find(|kind| kind.name == claimed.kind) else { return Outcome::Stopped };
        let work = AssertUnwindSafe(work(&self.desk, claimed, &kind.work)).catch_unwind();
        tokio::select! {
            done = timeout(self.desk.pace.attempt, work) => Outcome::Settled(match done {
                Ok(Ok(done)) => done,
                Ok(Err(_)) => Err(Error::defect("a job panicked")),
                Err(_) => Err(Error::unavailable("job_too_slow", "the attempt took too long and was given up", None)),
            }),
            () = self.until_lost(claimed.claim) => Outcome::Lost,
            // What is left of the stop is for recording that nothing was recorded.
            () = async { stop.cancelled().await; sleep(self.desk.pace.answer).await } => Outcome::Stopped,
        }
    }
}

/// What came of an attempt.
enum Outcome {
    /// It ended.
    Settled(Result<Done>),
    /// The replica stops before it ended.
    Stopped,
    /// Somebody else is at the job by now.
    Lost,
}

async fn work(desk: &Desk, claimed: &Claimed, work: &Work) -> Result<Done> {
    let job = Job::open(claimed, &desk.keys)?;
    let tenant = job.tenant;
    crash_point!("job.before_effect", tenant);
    let done = work(job).await?;
    crash_point!("job.after_effect", tenant);
    Ok(done)
}

/// Records what came of an attempt; answers with its name for the metrics. What cannot be recorded is found out when the
/// lease ends: the job is done again.
async fn settle(desk: &Desk, claimed: &Claimed, outcome: Outcome) -> &'static str {
    let (name, written) = match outcome {
        Outcome::Lost => ("lost", Ok(true)),
        Outcome::Stopped => {
            let again = Release { pause: std::time::Duration::ZERO, failed: false, tried: false, note: None };
            ("stopped", release(desk, claimed.claim, again).await)
        }
        Outcome::Settled(done) => settle_done(desk, claimed, done).await,
    };
    match written {
        Ok(true) => name,
        Ok(false) => {
            tracing::warn!("the job is somebody else's by now, or gone: what came of it is not recorded");
            "lost"
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "what came of a job could not be recorded; it will be done again");
            "unrecorded"
        }
    }
}

async fn settle_done(desk: &Desk, claimed: &Claimed, done: Result<Done>) -> (&'static str, Result<bool>) {
    let claim = claimed.claim;
    match done {
        Ok(Done::Worked) => ("worked", finish(desk, claimed, None).await),
        Ok(Done::Void(why)) => ("void", finish(desk, claimed, Some(why)).await),
        Ok(Done::Wait(why)) => {
            let pause = desk.pace.after_wait(claimed.attempts, desk.random);
            ("waits", release(desk, claim, Release { pause, failed: false, tried: true, note: Some(why) }).await)
        }
        Ok(Done::Refused(why)) => ("dead", bury(desk, claim, &why).await),
        Err(error) => {
            let failures = claimed.failures.saturating_add(1);
            tracing::warn!(error = error.chain(), job.failures = failures, "a job failed");
            let note = error.summary();
            if failures >= desk.pace.failures {
                return ("dead", bury(desk, claim, &note).await);
            }
            let pause = desk.pace.after_failure(failures, desk.random);
            ("failed", release(desk, claim, Release { pause, failed: true, tried: true, note: Some(&note) }).await)
        }
    }
}

async fn finish(desk: &Desk, claimed: &Claimed, note: Option<&str>) -> Result<bool> {
    let finishing = async { jobs::finish(&mut *desk.db.acquire_for_change().await?, claimed.claim, note).await };
    let is_recorded = bounded(desk.pace.lease, finishing).await?;
    crash_point!("job.after_record", claimed.tenant_id);
    Ok(is_recorded)
}

async fn bury(desk: &Desk, claim: Claim, note: &str) -> Result<bool> {
    tracing::error!(note, "a job is dead: an operator has to look, and may have it tried again");
    bounded(desk.pace.lease, async { jobs::bury(&mut *desk.db.acquire_for_change().await?, claim, note).await }).await
}

async fn release(desk: &Desk, claim: Claim, again: Release<'_>) -> Result<bool> {
    bounded(desk.pace.answer, async { jobs::release(&mut *desk.db.acquire_for_change().await?, claim, again).await })
        .await
}
