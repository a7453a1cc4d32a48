//! NOTIFY: how a change reaches every replica within a round trip.
//!
//! One connection a replica listens and hands on what it hears. When it is lost, what was sent meanwhile is
//! lost as well: [`Signal::Lost`] tells every subscriber to look at everything anew.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::ControlDb;
use crate::{
    error::Result,
    types::{OperationId, TenantId},
};

/// How many signals may wait for a subscriber before it is told [`Signal::Lost`] instead.
const QUEUE: usize = 4_096;
/// Between attempts to connect while the control database is away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// What a replica listens to.
const CHANNELS: [&str; 6] = [
    "freehold_tenants",
    "freehold_plans",
    "freehold_operations",
    "freehold_rollouts",
    "freehold_jobs",
    super::schedules::CHANNEL,
];

/// What a replica is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// This tenant's row changed.
    Tenant(TenantId),
    /// A plan changed, came or went.
    Plans,
    /// An operation is queued.
    OperationQueued,
    /// This operation, or a step of it, was begun, or a step has ended.
    OperationStepped(OperationId),
    /// This operation has ended or is blocked.
    OperationSettled(OperationId),
    /// A rollout, or a wave of one, was begun, has ended, or goes on or not.
    RolloutChanged,
    /// It was recorded what became of tenants of a rollout.
    RolloutProgressed,
    /// A job is queued.
    JobQueued,
    /// A schedule is due before its time.
    ScheduleWoken,
    /// Signals may have been missed: anything may have changed.
    Lost,
}

/// Where signals are handed on from. Clones share the source.
#[derive(Clone, Debug)]
pub struct Signals {
    sender: broadcast::Sender<Signal>,
}

/// Receives signals.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Signal>,
}

impl Default for Signals {
    fn default() -> Self {
        Self { sender: broadcast::channel(QUEUE).0 }
    }
}

impl Signals {
    /// Receives what is signalled from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.sender.subscribe() }
    }

    /// Listens until `cancel`; connects again whenever the connection is lost.
    pub async fn run(self, db: ControlDb, cancel: CancellationToken) {
        let listening = async {
            loop {
                if let Err(error) = self.listen(&db).await {
                    tracing::warn!(error = error.chain(), "not listening to the control database");
                }
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        };
        cancel.run_until_cancelled(listening).await;
    }

    async fn listen(&self, db: &ControlDb) -> Result<()> {
        let mut listener = PgListener::connect_with(db.pool()).await?;
        listener.listen_all(CHANNELS).await?;
        self.send(Signal::Lost);
        loop {
            match listener.try_recv().await? {
                Some(notification) => {
                    if let Some(signal) = parse(notification.channel(), notification.payload()) {
                        self.send(signal);
                    }
                }
                None => self.send(Signal::Lost),
            }
        }
    }

    fn send(&self, signal: Signal) {
        // Without subscribers nobody misses it.
        let _ = self.sender.send(signal);
    }
}

impl Subscription {
    /// The next signal; waits for ever when the source has ended.
    pub async fn next(&mut self) -> Signal {
        match self.receiver.recv().await {
            Ok(signal) => signal,
            Err(broadcast::error::RecvError::Lagged(_)) => Signal::Lost,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn parse(channel: &str, payload: &str) -> Option<Signal> {
    match (channel, payload.split_once(' ')) {
        ("freehold_tenants", None) => payload.parse().ok().map(|id| Signal::Tenant(TenantId::from_uuid(id))),
        ("freehold_plans", _) => Some(Signal::Plans),
        ("freehold_rollouts", None) => {
            Some(if payload == "state" { Signal::RolloutChanged } else { Signal::RolloutProgressed })
        }
        ("freehold_jobs", _) => Some(Signal::JobQueued),
        (super::schedules::CHANNEL, _) => Some(Signal::ScheduleWoken),
        ("freehold_operations", Some(("queued", _))) => Some(Signal::OperationQueued),
        ("freehold_operations", Some((what, id))) => {
            let id = OperationId::from_uuid(id.parse().ok()?);
            let is_under_way = matches!(what, "progress" | "running");
            Some(if is_under_way { Signal::OperationStepped(id) } else { Signal::OperationSettled(id) })
        }
        _ => None,
    }
}
