//! What a replica does for rollouts: it works on the unfinished one for as long as there is something to do.
//!
//! It keeps a crew on each server that has tenants which are due, and renews the leases of what all crews have claimed.
//! When the rollout pauses or ends, or this replica stops, the crews finish the tenants that they are at and give the
//! others back. A replica that is restarted under the same name takes up at once what it left behind.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{crew, tidy, waves};
use crate::{
    background::Background,
    control::{
        bounded,
        listener::{Signal, Subscription},
        rollout_claims,
        rollouts::{self, Rollout},
        servers,
    },
    error::Result,
    operations::Context,
    types::{RolloutId, ServerId},
};

/// Before servers are looked at again that could not be cleared.
const UNTIDY: Duration = Duration::from_secs(30);

/// Starts the work on rollouts. With a `concurrency` of 0 this replica leaves them to others, as it does operations.
pub fn spawn(ctx: &Context, concurrency: u32, background: &Background) {
    if concurrency == 0 {
        return;
    }
    background.spawn({
        let (ctx, background) = (ctx.clone(), background.clone());
        async move {
            background.stop().run_until_cancelled(Box::pin(take_up(&ctx))).await;
            background.keep("rollouts", move |stop| work(ctx.clone(), stop));
        }
    });
}

/// Ends the leases of an earlier process with this replica's name.
async fn take_up(ctx: &Context) {
    let freed = async { rollout_claims::release_leftovers(&mut *ctx.db.acquire().await?, &ctx.replica).await };
    match bounded(ctx.settings.pace.claim, freed).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(tenants = count, "takes up the tenants of a rollout that it left behind"),
        Err(error) => tracing::warn!(error = error.chain(), "tenants left behind wait for the end of their leases"),
    }
}

async fn work(ctx: Context, stop: CancellationToken) {
    let mut signals = ctx.signals.subscribe();
    let mut ticks = tokio::time::interval(ctx.settings.pace.poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut untidy = Some(Instant::now());
    while !stop.is_cancelled() {
        match bounded(ctx.settings.pace.claim, look(&ctx)).await {
            Ok(Some(rollout)) => {
                Box::pin(Campaign::new(&ctx, rollout.id).run(&mut signals, &stop)).await;
                untidy = Some(Instant::now());
                continue;
            }
            Ok(None) if untidy.is_some_and(|due| due <= Instant::now()) => {
                let cleared = stop.run_until_cancelled(Box::pin(tidy::clear(&ctx))).await;
                untidy = if cleared == Some(true) { None } else { Some(Instant::now() + UNTIDY) };
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(error = error.chain(), "it is not known whether a rollout is unfinished"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            () = changed(&mut signals) => {}
        }
    }
}

/// The rollout that there is work on, if there is one.
async fn look(ctx: &Context) -> Result<Option<Rollout>> {
    let mut connection = ctx.db.acquire().await?;
    rollout_claims::forget_abandoned(&mut connection).await?;
    let unfinished = rollouts::unfinished(&mut connection).await?;
    Ok(unfinished.filter(|rollout| rollout.state.is_under_way()))
}

async fn changed(signals: &mut Subscription) {
    while !matches!(signals.next().await, Signal::RolloutChanged | Signal::Lost) {}
}

/// This replica's part of one rollout.
struct Campaign<'a> {
    ctx: &'a Context,
    id: RolloutId,
    /// Cancelled when the crews are to come to an end.
    halt: CancellationToken,
    crews: JoinSet<ServerId>,
    at_work: HashSet<ServerId>,
}

impl<'a> Campaign<'a> {
    fn new(ctx: &'a Context, id: RolloutId) -> Self {
        Self { ctx, id, halt: CancellationToken::new(), crews: JoinSet::new(), at_work: HashSet::new() }
    }

    /// Works until the rollout is not under way any more, or this replica stops.
    async fn run(mut self, signals: &mut Subscription, stop: &CancellationToken) {
        let (ctx, id, halt) = (self.ctx, self.id, self.halt.clone());
        tokio::select! {
            () = async {
                while !stop.is_cancelled() && self.round().await {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = self.told(signals) => {}
                    }
                }
                self.halt.cancel();
                while let Some(ended) = self.crews.join_next().await {
                    note(ended);
                }
            } => {}
            () = renew(ctx, id, halt) => tracing::warn!("the leases of a rollout could not be renewed: its work is cut"),
        }
    }

    /// One look at what is due. False when the rollout is not under way.
    async fn round(&mut self) -> bool {
        match bounded(self.ctx.settings.pace.claim, self.look()).await {
            Ok(is_under_way) => is_under_way,
            Err(error) => {
                tracing::warn!(error = error.chain(), "a rollout cannot go on at the moment");
                true
            }
        }
    }

    async fn look(&mut self) -> Result<bool> {
        waves::advance(self.ctx, self.id).await?;
        let mut connection = self.ctx.db.acquire().await?;
        let Some(rollout) = rollouts::get(&mut connection, self.id).await? else { return Ok(false) };
        if !rollout.state.is_under_way() {
            return Ok(false);
        }
        let rollout = Arc::new(rollout);
        for id in rollout_claims::due(&mut connection, self.id).await? {
            if self.at_work.contains(&id) {
                continue;
            }
            let Some(server) = servers::get(&mut connection, id).await? else { continue };
            self.at_work.insert(id);
            let (ctx, rollout, halt) = (self.ctx.clone(), Arc::clone(&rollout), self.halt.clone());
            self.crews.spawn(async move {
                crew::run(&ctx, &rollout, server, halt).await;
                id
            });
        }
        Ok(true)
    }

    /// Returns when there may be something to do: a crew has ended, the rollout has changed, or a while has passed.
    async fn told(&mut self, signals: &mut Subscription) {
        let poll = self.ctx.settings.pace.poll;
        tokio::select! {
            Some(ended) = self.crews.join_next(), if !self.crews.is_empty() => {
                if let Some(server) = note(ended) {
                    self.at_work.remove(&server);
                } else {
                    // Which one it was is not known: those that are still there are not begun again by their locks.
                    self.at_work.clear();
                }
            }
            () = changed(signals) => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
}

fn note(ended: Result<ServerId, tokio::task::JoinError>) -> Option<ServerId> {
    ended.inspect_err(|error| tracing::error!(%error, "a crew of a rollout has panicked")).ok()
}

/// Renews the leases of all that this replica has claimed; returns when they count as lost.
async fn renew(ctx: &Context, id: RolloutId, halt: CancellationToken) {
    let (lease, mut renewed) = (ctx.settings.pace.lease, Instant::now());
    while renewed.elapsed() < lease {
        tokio::time::sleep(ctx.settings.pace.renewal).await;
        let asked = Instant::now();
        let renewing = async { rollout_claims::renew(&mut *ctx.db.acquire().await?, id, &ctx.replica, lease).await };
        match tokio::time::timeout(lease.saturating_sub(renewed.elapsed()), renewing).await {
            Ok(Ok(())) => renewed = asked,
            Ok(Err(error)) => tracing::warn!(error = error.chain(), "the leases of a rollout could not be renewed"),
            Err(_) => tracing::warn!("the control database did not answer while leases were to be renewed"),
        }
    }
    halt.cancel();
}
