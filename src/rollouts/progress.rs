//! How far a rollout is, for those who look at it and those who follow it.

use std::time::Duration;

use crate::{
    control::{
        listener::{Signal, Subscription},
        rollout_tenants::{self, Counts},
        rollout_waves::{self, Wave},
        rollouts::{self, Rollout, RolloutState},
    },
    error::{Error, Result},
    operations::Context,
    types::RolloutId,
};

/// Between two looks of a follower: many tenants may be recorded in a second.
const GLANCE: Duration = Duration::from_millis(250);
/// After this a follower looks without a signal, since the rate changes even if nothing else does.
const UNTOLD: Duration = Duration::from_secs(2);

/// A rollout as it is at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The rollout.
    pub rollout: Rollout,
    /// Its waves with their tenants.
    pub waves: Vec<(Wave, Counts)>,
    /// All its tenants.
    pub counts: Counts,
    /// How many tenants a second are migrated at present; none while it is not under way.
    pub rate: Option<f64>,
}

impl Snapshot {
    /// How long it takes to the end at this rate.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        let left = f64::from(i32::try_from(self.counts.left()).unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(left / rate).ok()
    }

    /// Whether nothing happens any more until an operator does something.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_done = self.rollout.state.is_finished() || self.rollout.state == RolloutState::Paused;
        is_done && self.counts.running == 0
    }
}

/// The rollout as it is now.
///
/// # Errors
/// `not_found`; the control database is unavailable.
pub async fn look(ctx: &Context, id: RolloutId) -> Result<Snapshot> {
    let mut connection = ctx.db.acquire().await?;
    let rollout = rollouts::get(&mut connection, id).await?.ok_or_else(|| Error::not_found("rollout"))?;
    let waves = rollout_waves::list(&mut connection, id).await?;
    let by_wave = rollout_tenants::counts(&mut connection, id).await?;
    let counts = by_wave.iter().map(|(_, counts)| *counts).sum();
    let of =
        |position: i32| by_wave.iter().find(|(wave, _)| *wave == position).map_or(Counts::default(), |found| found.1);
    let waves = waves.into_iter().map(|wave| (wave.clone(), of(wave.position))).collect();
    let rate = match rollout.state {
        RolloutState::Running => {
            let (done, seconds) = rollout_tenants::pace(&mut connection, id).await?;
            let done = f64::from(i32::try_from(done).unwrap_or(i32::MAX));
            (seconds > 0.0).then(|| (done / seconds * 100.0).round() / 100.0)
        }
        _ => None,
    };
    Ok(Snapshot { rollout, waves, counts, rate })
}

/// Follows one rollout.
pub struct Follower {
    ctx: Context,
    id: RolloutId,
    signals: Subscription,
    last: Option<Snapshot>,
}

impl Follower {
    /// Subscribes to changes. Looks nothing up yet.
    #[must_use]
    pub fn new(ctx: &Context, id: RolloutId) -> Self {
        Self { ctx: ctx.clone(), id, signals: ctx.signals.subscribe(), last: None }
    }

    /// The rollout: at once the first time, then as soon as it has changed. Waits without a limit.
    ///
    /// # Errors
    /// `not_found`; the control database is unavailable.
    pub async fn next(&mut self) -> Result<Snapshot> {
        loop {
            let now = look(&self.ctx, self.id).await?;
            if self.last.as_ref() != Some(&now) {
                self.last = Some(now.clone());
                return Ok(now);
            }
            let _ = tokio::time::timeout(UNTOLD, stirred(&mut self.signals)).await;
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Returns on a signal about rollouts, or when some may have been missed.
async fn stirred(signals: &mut Subscription) {
    while !matches!(signals.next().await, Signal::RolloutChanged | Signal::RolloutProgressed | Signal::Lost) {}
}

/// Sets the metrics of the rollout that is unfinished, or of the newest one.
pub async fn record_gauges(ctx: &Context) {
    match counted(ctx).await {
        Ok(Some((state, counts))) => {
            let number = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
            let states = [
                ("pending", counts.pending),
                ("running", counts.running),
                ("done", counts.done),
                ("failed", counts.failed),
                ("skipped", counts.skipped),
            ];
            for (name, count) in states {
                metrics::gauge!("freehold_rollout_tenants", "state" => name).set(number(count));
            }
            metrics::gauge!("freehold_rollout_paused").set(f64::from(u8::from(state == RolloutState::Paused)));
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(error = error.chain(), "the tenants of a rollout could not be counted"),
    }
}

async fn counted(ctx: &Context) -> Result<Option<(RolloutState, Counts)>> {
    let mut connection = ctx.db.acquire().await?;
    let Some(newest) = rollouts::page(&mut connection, None, None, 1).await?.pop() else { return Ok(None) };
    let counts = rollout_tenants::counts(&mut connection, newest.id).await?;
    Ok(Some((newest.state, counts.into_iter().map(|(_, counts)| counts).sum())))
}
