//! The schedule of `fsck`, `verify isolation` and the drift sweep, so that whoever watches the metrics need not ask.
//!
//! Each check has a schedule (`jobs::schedule`): of all replicas one looks whether the check is due, runs a piece of it,
//! and keeps a checkpoint. The control database has what the last round found, and every replica exports it as metrics.
//! A round of `fsck` counts when nothing was under way that would explain what it saw; until then it is tried again. A
//! round of `verify isolation` and one of the sweep take a page of tenants at a time; a sweep that somebody has asked for
//! goes on at once. Nothing is mended here: the schedule hands the janitor what `fsck` saw left on servers, since the
//! janitor never looks at a server itself.

use std::time::Duration;

use metrics::{describe_gauge, gauge};
use tokio_util::sync::CancellationToken;

use super::{
    drift::{self, Tally},
    fsck::{self, Verdict},
    isolation::{self, Pace},
    verify_isolation::Report,
};
use crate::{
    control::{
        bounded,
        checks::{self, Checkpoint, Claimed, Counts, Ended},
    },
    error::Result,
    jobs::schedule::{Next, Schedule},
    operations::{Context, janitor},
};

const FSCK: &str = "fsck";
const ISOLATION: &str = "isolation";
/// Between two looks for what is due, and between two pieces of one round; less when rounds follow each other faster.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long the control database may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How much time there is between two rounds of a check; none goes round by itself that has no interval.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// Of `fsck`.
    pub fsck: Option<Duration>,
    /// Of `verify isolation`.
    pub isolation: Option<Duration>,
    /// Of the drift sweep.
    pub drift: Option<Duration>,
}

/// The schedule of each check that goes round by itself, or that somebody may ask for.
#[must_use]
pub fn schedules(ctx: &Context, intervals: Intervals) -> Vec<Schedule> {
    let Intervals { fsck, isolation, drift } = intervals;
    let all =
        [("check.fsck", FSCK, fsck), ("check.isolation", ISOLATION, isolation), (drift::SCHEDULE, drift::NAME, drift)];
    let wanted = all.into_iter().filter(|(_, check, interval)| interval.is_some() || *check == drift::NAME);
    let schedule = |(name, check, interval): (_, _, Option<Duration>)| {
        let ctx = ctx.clone();
        let every = interval.map_or(INTERVAL, |interval| interval.min(INTERVAL));
        // The table of checks says whether it is due; this one, who looks.
        Schedule::new(name, every, move |stop| look(ctx.clone(), (check, interval), stop)).eager()
    };
    wanted.map(schedule).collect()
}

/// Runs pieces of a check: one if it is due, all of a round that somebody waits for.
async fn look(
    ctx: Context,
    (check, interval): (&'static str, Option<Duration>),
    stop: CancellationToken,
) -> Result<Next> {
    while let Some(outcome) = stop.run_until_cancelled(Box::pin(run_piece(&ctx, check, interval))).await {
        if !outcome? {
            break;
        }
    }
    Ok(Next::Usual)
}

/// One piece of a check, if it is due. Whether somebody waits for the next one.
async fn run_piece(ctx: &Context, name: &str, interval: Option<Duration>) -> Result<bool> {
    let claiming = async { checks::claim(&mut *ctx.db.acquire().await?, name, interval).await };
    let Some(claimed) = bounded(ANSWER, claiming).await? else { return Ok(false) };
    let (at, is_asked) = (claimed.at, claimed.is_asked);
    let reached = match name {
        FSCK => fsck_round(ctx).await,
        drift::NAME => drift_page(ctx, claimed).await,
        _ => isolation_page(ctx, claimed).await,
    };
    let (checkpoint, failed) = match reached {
        Ok(checkpoint) => (checkpoint, None),
        Err(error) => (Checkpoint::Unchanged, Some(error)),
    };
    let given = async { checks::give_back(&mut *ctx.db.acquire().await?, name, at, checkpoint).await };
    if !bounded(ANSWER, given).await? {
        tracing::warn!(check = name, "a piece of a check took so long that somebody else has begun it anew");
    }
    failed.map_or(Ok(is_asked), Err)
}

async fn drift_page(ctx: &Context, claimed: Claimed) -> Result<Checkpoint> {
    let (tally, next) = drift::sweep(ctx, claimed.after).await?;
    let mut counts = claimed.so_far;
    tally.add_to(&mut counts);
    Ok(next.map_or_else(|| Checkpoint::Finished(counts.clone()), |next| Checkpoint::At(next, counts.clone())))
}

async fn fsck_round(ctx: &Context) -> Result<Checkpoint> {
    let report = fsck::check(ctx).await?;
    if ctx.settings.janitor {
        janitor::clear_leftovers(ctx, &report.leftovers).await;
    }
    if report.state == Verdict::Busy {
        return Ok(Checkpoint::Unchanged);
    }
    for found in &report.findings {
        tracing::warn!(
            fsck.class = found.class,
            fsck.server = found.server,
            fsck.object = found.object,
            "{}",
            found.detail
        );
    }
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(Checkpoint::Finished(report.counts.into_iter().map(|(class, found)| (class.to_owned(), count(found))).collect()))
}

async fn isolation_page(ctx: &Context, claimed: Claimed) -> Result<Checkpoint> {
    let checked = isolation::check(ctx, claimed.after, Pace::Scheduled).await?;
    for found in &checked.report.findings {
        tracing::warn!(
            tenant.id = %found.tenant_id,
            isolation.attempt = found.attempt,
            isolation.target = found.target,
            "a tenant's role can do what it must not"
        );
    }
    let mut counts: Counts = claimed.so_far;
    let Report { attempts, successes, ref unproven, .. } = checked.report;
    let unproven = u64::try_from(unproven.len()).unwrap_or(u64::MAX);
    for (what, count) in [("attempts", attempts), ("successes", successes), ("unproven", unproven)] {
        *counts.entry(what.to_owned()).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
    }
    Ok(checked.next.map_or_else(|| Checkpoint::Finished(counts.clone()), |next| Checkpoint::At(next, counts.clone())))
}

/// Tells what the checks found last, on whichever replica that was.
pub async fn record_gauges(ctx: &Context) {
    let ended = async { checks::ended(&mut *ctx.db.acquire().await?).await };
    match Result::<_, crate::error::Error>::from(ended.await) {
        Ok(ended) => ended.into_iter().for_each(tell),
        Err(error) => tracing::debug!(error = error.chain(), "what the checks found last could not be read"),
    }
}

fn tell(ended: Ended) {
    let number = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
    let at = Duration::from_millis(u64::try_from(ended.at.timestamp_millis()).unwrap_or_default());
    let is_fsck = ended.name == FSCK;
    if ended.name == drift::NAME {
        let Tally { drifted, unreadable, .. } = Tally::of(&ended.counts);
        gauge!("freehold_drifted_tenants").set(number(drifted));
        gauge!("freehold_drift_unreadable_tenants").set(number(unreadable));
    }
    let is_isolation = ended.name == ISOLATION;
    gauge!("freehold_check_timestamp_seconds", "check" => ended.name).set(at.as_secs_f64());
    for (what, count) in ended.counts {
        match &*what {
            _ if is_fsck => gauge!("freehold_fsck_findings", "class" => what).set(number(count)),
            "attempts" => gauge!("freehold_isolation_attempts").set(number(count)),
            "unproven" => gauge!("freehold_isolation_unproven").set(number(count)),
            _ if !is_isolation => {}
            _ => gauge!("freehold_isolation_successes").set(number(count)),
        }
    }
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    describe_gauge!("freehold_fsck_findings", "differences that fsck found last, by class");
    describe_gauge!(
        "freehold_isolation_attempts",
        "what the last round tried as the tenants that must not be possible"
    );
    describe_gauge!("freehold_isolation_successes", "how much of it was possible");
    describe_gauge!("freehold_isolation_unproven", "tenants that the last round could not try");
    describe_gauge!("freehold_drifted_tenants", "tenants whose schema the last sweep found to be another one");
    describe_gauge!("freehold_drift_unreadable_tenants", "tenants whose schema the last sweep could not compare");
    describe_gauge!("freehold_check_timestamp_seconds", "when the last round of the check ended");
}
