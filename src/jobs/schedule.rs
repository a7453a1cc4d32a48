//! What is done again and again, by one replica at a time.
//!
//! Each replica keeps a task for each [`Schedule`] that it knows. The task sleeps until the schedule is due, and tries to
//! claim the run: of many replicas one gets it. It works under a lease, and records the end. A run whose replica is gone
//! is due again when the lease ends.
//!
//! A schedule says who looks, and when. It is no lock: a replica that was stopped for longer than its lease may go on
//! beside another one. What must not be done twice at once keeps a lock of its own in the database that it changes.
//!
//! What is by nature of each replica is no schedule, such as its heartbeat, its registry and its gauges.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Desk, lease};
use crate::{
    background::Background,
    control::{
        bounded,
        listener::{Signal, Subscription},
        schedules::{self, Interval, Turn},
    },
    error::Result,
    faults::crash_point,
    types::TenantId,
};

/// The longest sleep: another replica may have other settings, and a notification may be lost.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Between two looks while the control database is away. When it is back, that is a signal.
const AWAY: Duration = Duration::from_secs(5);
/// How soon a run that failed is tried again, however seldom it is due.
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// A replica sleeps up to this much longer than it must, at random, so that it is not always the same one that runs.
const SPREAD: Duration = Duration::from_millis(200);

/// When a run is to be followed by the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At the usual time.
    Usual,
    /// After this time, if that is sooner.
    After(Duration),
}

type Run = Arc<dyn Fn(CancellationToken) -> BoxFuture<'static, Result<Next>> + Send + Sync>;
type Stirs = fn(Signal) -> bool;

/// Something that is done again and again.
#[derive(Clone)]
pub struct Schedule {
    name: &'static str,
    every: Duration,
    eager: bool,
    stirs: Option<(Stirs, Duration)>,
    run: Run,
}

impl Schedule {
    /// Done so, `every` so often, counted from the beginning of one run to that of the next. Its name is stored: it may
    /// never change. The run ends soon after the stop that it is given.
    pub fn new<F>(
        name: &'static str,
        every: Duration,
        run: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Next>> + Send + 'static,
    {
        Self { name, every, eager: false, stirs: None, run: Arc::new(move |stop: CancellationToken| run(stop).boxed()) }
    }

    /// Done also whenever a replica starts: what it waited for may have been left undone for long.
    #[must_use]
    pub fn eager(self) -> Self {
        Self { eager: true, ..self }
    }

    /// Done also after a signal for which `stirs` is true, and `settle` later, because more signals usually follow.
    #[must_use]
    pub fn stirred_by(self, stirs: Stirs, settle: Duration) -> Self {
        Self { stirs: Some((stirs, settle)), ..self }
    }
}

/// The names of the schedules that a replica keeps.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<OnceLock<Vec<&'static str>>>);

/// Keeps the schedules until the replica stops.
pub fn spawn(desk: &Desk, schedules: Vec<Schedule>, background: &Background) {
    // A second call would be a mistake, and its schedules would only lack a gauge.
    let _ = desk.kept.0.set(schedules.iter().map(|schedule| schedule.name).collect());
    for schedule in schedules {
        let desk = desk.clone();
        background.keep(schedule.name, move |stop| keep(desk.clone(), schedule.clone(), stop));
    }
}

async fn keep(desk: Desk, schedule: Schedule, stop: CancellationToken) {
    let mut signals = desk.signals.subscribe();
    while let Err(error) = register(&desk, &schedule).await {
        tracing::warn!(error = error.chain(), schedule = schedule.name, "a schedule could not be taken up");
        if stop.run_until_cancelled(sleep(desk.pace.poll)).await.is_none() {
            return;
        }
    }
    let every = schedule.every;
    let mut since = every;
    while !stop.is_cancelled() {
        let claiming = async {
            let mut connection = desk.db.acquire().await?;
            let interval = Interval { every, since };
            schedules::claim(&mut connection, schedule.name, &desk.replica, interval, desk.pace.lease).await
        };
        let claimed = bounded(desk.pace.answer, claiming).await;
        since = every;
        let left = match claimed {
            Ok(Turn::Mine(generation)) => {
                run(&desk, &schedule, generation, &stop).await;
                continue;
            }
            Ok(Turn::NotBefore(left)) => left,
            Err(error) => {
                tracing::warn!(error = error.chain(), schedule = schedule.name, "a schedule cannot be looked at");
                AWAY
            }
        };
        // One that is due and somebody else's is looked at again after a while.
        let left = if left.is_zero() { desk.pace.poll.min(every) } else { left.min(LONGEST_SLEEP) };
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(left + spread(&desk, every)) => {}
            settle = stirred(&mut signals, &schedule) => {
                if let Some(settle) = settle {
                    // A run that begins after this sleep has seen what the signal is about.
                    since = settle;
                    stop.run_until_cancelled(sleep(settle)).await;
                }
            }
        }
    }
}

async fn register(desk: &Desk, schedule: &Schedule) -> Result<()> {
    let registering = async {
        let mut connection = desk.db.acquire().await?;
        schedules::register(&mut connection, schedule.name, schedule.eager).await?;
        schedules::release_leftovers(&mut connection, schedule.name, &desk.replica).await
    };
    bounded(desk.pace.answer, registering).await
}

/// Returns when a signal says that there may be something to do, with how much later to look if it is no schedule's own.
async fn stirred(signals: &mut Subscription, schedule: &Schedule) -> Option<Duration> {
    loop {
        let signal = signals.next().await;
        match schedule.stirs {
            Some((stirs, settle)) if stirs(signal) => return Some(settle),
            _ if matches!(signal, Signal::ScheduleWoken | Signal::Lost) => return None,
            _ => {}
        }
    }
}

fn spread(desk: &Desk, every: Duration) -> Duration {
    let [chance] = desk.random.bytes::<1>();
    SPREAD.min(every / 4) * u32::from(chance) / 256
}

/// Runs it once, under a lease.
async fn run(desk: &Desk, schedule: &Schedule, generation: i64, stop: &CancellationToken) {
    let began = Instant::now();
    let outcome = tokio::select! {
        outcome = work(schedule, stop) => Some(outcome),
        () = until_lost(desk, schedule.name, generation) => None,
    };
    let (name, error, again) = match &outcome {
        None => ("lost", None, None),
        // What the stop has cut short is somebody else's to go on with.
        Some(Ok(_)) if stop.is_cancelled() => ("stopped", None, Some(Duration::ZERO)),
        Some(Ok(Next::Usual)) => ("done", None, None),
        Some(Ok(Next::After(pause))) => ("done", None, Some(*pause)),
        Some(Err(error)) => {
            tracing::warn!(error = error.chain(), schedule = schedule.name, "what is due could not be done");
            ("failed", Some(error.summary()), Some(AFTER_FAILURE))
        }
    };
    metrics::counter!("freehold_schedule_runs_total", "schedule" => schedule.name, "outcome" => name).increment(1);
    metrics::histogram!("freehold_schedule_run_duration_seconds", "schedule" => schedule.name).record(began.elapsed());
    let ending = async {
        let mut connection = desk.db.acquire().await?;
        schedules::end(&mut connection, schedule.name, generation, error.as_deref(), again).await
    };
    if outcome.is_none() {
        return tracing::warn!(schedule = schedule.name, "another replica has taken over what this one was at");
    }
    match bounded(desk.pace.answer, ending).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(schedule = schedule.name, "a run ended after another replica had taken over"),
        Err(error) => tracing::warn!(error = error.chain(), schedule = schedule.name, "a run could not be recorded"),
    }
}

async fn work(schedule: &Schedule, stop: &CancellationToken) -> Result<Next> {
    crash_point!("schedule.before_effect", NOBODY);
    let next = (schedule.run)(stop.clone()).await?;
    crash_point!("schedule.after_effect", NOBODY);
    Ok(next)
}

async fn until_lost(desk: &Desk, name: &str, generation: i64) {
    let renew = |lease| async move { schedules::renew(&mut *desk.db.acquire().await?, name, generation, lease).await };
    lease::until_lost(&desk.pace, renew).await;
}

/// Stands for the tenant at the crash points of schedules, which belong to none.
const NOBODY: TenantId = TenantId::from_uuid(uuid::Uuid::nil());

/// Writes how late each schedule is to the metrics.
pub(super) async fn record_gauges(desk: &Desk) {
    match overdue(desk).await {
        Ok(all) => {
            let kept = desk.kept.0.get().map(Vec::as_slice).unwrap_or_default();
            // Others are of another release, or of settings that have changed.
            for (name, overdue) in all.into_iter().filter(|(name, _)| kept.contains(&name.as_str())) {
                metrics::gauge!("freehold_schedule_overdue_seconds", "schedule" => name).set(overdue);
            }
        }
        Err(error) => tracing::debug!(error = error.chain(), "how the schedules stand could not be read"),
    }
}

async fn overdue(desk: &Desk) -> Result<Vec<(String, f64)>> {
    schedules::overdue(&mut *desk.db.acquire().await?).await
}

pub(super) fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!("freehold_schedule_runs_total", "runs of what is done again and again, by outcome");
    describe_gauge!("freehold_schedule_overdue_seconds", "how long a schedule has been due that no replica runs");
    let duration = "freehold_schedule_run_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long runs took");
}
