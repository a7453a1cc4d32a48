//! Hands out the tenants of one server, and takes in what became of them.
//!
//! Tenants are claimed up to [`BATCH`] at a time, fewer where few are migrated at a time, so that something is left for
//! other replicas; and outcomes are recorded together, each with one statement, so that
//! the control database hears of a rollout a few times a second and not a few times a tenant.

use std::{collections::VecDeque, time::Duration};

use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{change::audit_in_txn, outcome, start::NOBODY, waves};
use crate::{
    control::{
        bounded,
        rollout_claims::{self, Claimed, Record},
        rollout_tenants::MemberState,
    },
    error::{Error, Result},
    faults::crash_point,
    operations::Context,
    types::{RolloutId, ServerId},
};

/// How many are claimed, or recorded, with one statement at most.
const BATCH: usize = 16;

/// The desk of one server.
pub(super) struct Desk {
    ctx: Context,
    rollout: RolloutId,
    server: ServerId,
    /// How many are claimed at a time.
    at_a_time: i64,
    halt: CancellationToken,
    trays: Mutex<Trays>,
}

#[derive(Default)]
struct Trays {
    claimed: VecDeque<Claimed>,
    outcomes: Vec<Record>,
    /// Whether nothing was due at the last look.
    is_dry: bool,
}

impl Desk {
    /// The desk of a server where so many tenants are migrated at a time.
    pub(super) fn new(
        ctx: &Context,
        (rollout, server): (RolloutId, ServerId),
        places: u16,
        halt: CancellationToken,
    ) -> Self {
        let at_a_time = i64::from(places) * 2;
        let at_a_time = at_a_time.clamp(1, i64::try_from(BATCH).unwrap_or(i64::MAX));
        Self { ctx: ctx.clone(), rollout, server, at_a_time, halt, trays: Mutex::default() }
    }

    /// Takes in an outcome.
    pub(super) async fn put(&self, outcome: Record) {
        self.trays.lock().await.outcomes.push(outcome);
    }

    /// The next tenant; none when none is due, or the work comes to an end.
    pub(super) async fn next(&self) -> Option<Claimed> {
        let mut trays = self.trays.lock().await;
        if self.halt.is_cancelled() {
            return None;
        }
        if trays.outcomes.len() >= BATCH || trays.claimed.is_empty() {
            self.record(&mut trays).await;
        }
        self.refill(&mut trays).await;
        trays.claimed.pop_front()
    }

    /// Whether there is nothing to do at present. Looks again.
    pub(super) async fn is_dry(&self) -> bool {
        let mut trays = self.trays.lock().await;
        if !self.halt.is_cancelled() {
            self.refill(&mut trays).await;
        }
        self.halt.is_cancelled() || trays.is_dry
    }

    async fn refill(&self, trays: &mut Trays) {
        if !trays.claimed.is_empty() {
            return;
        }
        match bounded(self.ctx.settings.pace.claim, self.claim()).await {
            Ok(claimed) => trays.claimed = claimed.into(),
            Err(error) => tracing::warn!(error = error.chain(), "no tenant of a rollout can be claimed"),
        }
        trays.is_dry = trays.claimed.is_empty();
    }

    async fn claim(&self) -> Result<Vec<Claimed>> {
        let mut connection = self.ctx.db.acquire().await?;
        let of = (self.rollout, self.server);
        rollout_claims::claim(&mut connection, of, &self.ctx.replica, self.ctx.settings.pace.lease, self.at_a_time)
            .await
    }

    /// Has all that are due come again later, for this reason: the server is away.
    pub(super) async fn turn_away(&self, error: &Error) {
        while let Some(claimed) = self.next().await {
            self.put(outcome::not_done(&self.ctx, &claimed, error, Duration::ZERO)).await;
        }
        self.close().await;
    }

    /// Records what has been taken in.
    pub(super) async fn flush(&self) {
        let mut trays = self.trays.lock().await;
        self.record(&mut trays).await;
    }

    /// Records what has been taken in, and gives back what was not begun.
    pub(super) async fn close(&self) {
        let mut trays = self.trays.lock().await;
        self.record(&mut trays).await;
        let left: Vec<_> = trays.claimed.drain(..).collect();
        if left.is_empty() {
            return;
        }
        let released = async { rollout_claims::release(&mut *self.ctx.db.acquire().await?, self.rollout, &left).await };
        if let Err(error) = bounded(self.ctx.settings.pace.claim, released).await {
            tracing::warn!(error = error.chain(), "tenants of a rollout wait for the end of their leases");
        }
    }

    /// What cannot be recorded stays for the next time. If that comes after the leases have run out, the next replica
    /// finds the databases as they are.
    async fn record(&self, trays: &mut Trays) {
        if trays.outcomes.is_empty() {
            return;
        }
        match bounded(self.ctx.settings.pace.claim, self.write(&trays.outcomes)).await {
            Ok(()) => {
                let failed = trays.outcomes.iter().any(|outcome| outcome.state == MemberState::Failed);
                trays.outcomes.clear();
                if failed {
                    self.judge().await;
                }
            }
            Err(error) => tracing::warn!(error = error.chain(), "what became of tenants could not be recorded"),
        }
    }

    async fn write(&self, outcomes: &[Record]) -> Result<()> {
        crash_point!("rollout.record.before", NOBODY);
        let adopted = outcomes.iter().filter(|outcome| outcome.adopted);
        if adopted.clone().next().is_none() {
            rollout_claims::record(&mut *self.ctx.db.acquire().await?, self.rollout, outcomes).await?;
        } else {
            let (mut txn, origin) = (self.ctx.db.begin().await?, self.ctx.origin());
            let held = rollout_claims::record(&mut txn, self.rollout, outcomes).await?;
            for outcome in adopted.filter(|outcome| held.contains(&outcome.tenant_id)) {
                let versions = outcome.versions.unwrap_or_default();
                let details = json!({
                    "rollout_id": self.rollout, "freehold_version": versions.freehold,
                    "schema_version": versions.product,
                });
                let subject = ("tenant.adopt_schema", &*outcome.tenant_id.to_string());
                audit_in_txn(&self.ctx, &mut txn, &origin, subject, &details).await?;
            }
            txn.commit().await?;
        }
        crash_point!("rollout.record.after", NOBODY);
        Ok(())
    }

    /// A failure may be one too many.
    async fn judge(&self) {
        let judged = bounded(self.ctx.settings.pace.claim, waves::advance(&self.ctx, self.rollout)).await;
        if let Err(error) = judged {
            tracing::warn!(error = error.chain(), "the failures of a rollout could not be judged");
        }
    }
}
