//! One attempt to bring an operation to its end: its steps in order, or their undoing in the opposite order.
//!
//! The attempt has one administrative session on the server and takes the tenant's advisory lock on it: a replica
//! that lost its lease and wakes up late is refused by the server it would change, and by the control database
//! ([`Run::begin`]). Nothing is written without a claim. Between two steps it heeds a stop of this replica and
//! somebody's wish to cancel.

use std::time::Duration;

use serde::Deserialize;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::kind::{Effect, Kind, Step as Definition, StepFn, USUAL, Undo};
use crate::{
    control::{
        Keeper,
        operation_claims::{self, Claim, Permission},
        operation_steps::{self, Step},
        operations::{Direction, Operation},
        servers::{self, Server},
        tenants::{self, Tenant},
    },
    error::{Error, Result},
    faults::{self, StepPoints},
    operations::{Context, context::Access},
    servers::ServerAdmin,
    types::{DbName, ServerId, TenantId},
};

/// How long the lock of a tenant is waited for: another replica's backend may still be at work under it.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What a step works with.
pub(in crate::operations) struct Run {
    pub(in crate::operations) ctx: Context,
    pub(in crate::operations) operation: Operation,
    /// Where the tenant lives, or will.
    pub(in crate::operations) server: Server,
    pub(in crate::operations) access: Access,
    /// Holds the tenant's lock for as long as it lives.
    pub(in crate::operations) admin: ServerAdmin,
}

/// What an attempt heeds beside its steps.
pub(in crate::operations) struct Signals {
    /// This replica is stopping.
    pub(in crate::operations) stop: CancellationToken,
    /// Somebody asked for the operation's undoing.
    pub(in crate::operations) cancel: CancellationToken,
}

/// Why an attempt ended before the operation did.
pub(in crate::operations) enum Interrupted {
    /// A step failed, or could not be begun.
    Failed(Error),
    /// Another replica holds the operation now: nothing more may be written.
    LeaseLost,
    /// This replica is stopping: the operation is handed back.
    Stopping,
    /// The operation was made by a newer release, which goes on with what this one does not know.
    Unknown(Error),
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Run {
    /// The tenant that the operation changes.
    pub(in crate::operations) const fn tenant_id(&self) -> TenantId {
        self.operation.tenant_id
    }

    /// The name of its database and of its role.
    pub(in crate::operations) fn database(&self) -> DbName {
        self.tenant_id().db_name()
    }

    /// The tenant as it is now.
    pub(in crate::operations) async fn tenant(&self) -> Result<Tenant> {
        let found = tenants::get(&mut *self.ctx.db.acquire().await?, self.tenant_id()).await?;
        found.ok_or_else(|| Error::defect("the operation's tenant is not in the control database"))
    }

    /// The operation's input, typed.
    pub(in crate::operations) fn input<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.operation.input.clone()).map_err(Error::internal)
    }

    /// A transaction in the control database that the operation's claim is kept for. Whatever a step or its undoing
    /// writes there it writes in one: a replica that wakes up late must not take for its own what another one has done.
    ///
    /// # Errors
    /// `claim_lost` when another replica holds the operation by now.
    pub(in crate::operations) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        let mut txn = self.ctx.db.begin().await?;
        if operation_claims::keep_in_txn(&mut txn, self.claim()).await? { Ok(txn) } else { Err(claim_lost()) }
    }

    /// What it is claimed with.
    pub(in crate::operations) const fn claim(&self) -> Claim {
        Claim { id: self.operation.id, generation: self.operation.generation }
    }

    /// Opens an administrative session, or takes one that an earlier operation has left, and takes the tenant's lock on
    /// it.
    async fn open(ctx: &Context, operation: &Operation, records: &mut Keeper) -> Result<Self> {
        let (server, access) = {
            let mut connection = records.connection().await?;
            let server = home(&mut connection, operation).await?;
            let access = ctx.access(&mut connection, &server).await?;
            (server, access)
        };
        let (access, admin) = hold(ctx, operation, (&server, access), operation.tenant_id).await?;
        Ok(Self { ctx: ctx.clone(), operation: operation.clone(), server, access, admin })
    }

    /// The same for another tenant that the operation works with: on its own server, under its own lock.
    pub(in crate::operations) async fn hold(&self, tenant: TenantId) -> Result<(Access, ServerAdmin)> {
        let (server, access) = {
            let mut connection = self.ctx.db.acquire().await?;
            let server = servers::home_of(&mut connection, tenant).await?.ok_or_else(homeless)?;
            let access = self.ctx.access(&mut connection, &server).await?;
            (server, access)
        };
        hold(&self.ctx, &self.operation, (&server, access), tenant).await
    }

    /// The operation has ended: its session is left to the next one.
    async fn close(self) {
        let name = self.ctx.session_name("idle");
        self.ctx.memory.sessions().keep(self.server.id, self.admin, &name).await;
    }
}

/// What a step fails with that would have written under a lost claim.
pub(in crate::operations) fn claim_lost() -> Error {
    Error::unavailable("claim_lost", "another replica is at work on the operation", None)
}

async fn hold(
    ctx: &Context,
    operation: &Operation,
    (server, access): (&Server, Access),
    tenant: TenantId,
) -> Result<(Access, ServerAdmin)> {
    let (access, admin) = administer(ctx, operation, (server, access)).await?;
    // Whoever held this operation before has lost its lease. If it was stopped its session sits idle on the lock:
    // ending the session frees it, and makes sure that nothing more is done there. One at work is waited for.
    let ended =
        if operation.generation > 1 { admin.end_idle_sessions(&format!(":{}:", operation.id)).await? } else { 0 };
    if ended > 0 {
        tracing::warn!(sessions = ended, "ended the sessions of a replica that lost this operation");
    }
    if !admin.lock_tenant(tenant, LOCK_WAIT).await? {
        return Err(Error::unavailable("tenant_locked", "another session is at work on this tenant", None));
    }
    Ok((access, admin))
}

/// A session that was left on the server, or a new one: which it has to be while a password is being replaced, since
/// that settles which one is the present.
async fn administer(
    ctx: &Context,
    operation: &Operation,
    (server, access): (&Server, Access),
) -> Result<(Access, ServerAdmin)> {
    let purpose = format!("{}:{}", operation.id, operation.generation);
    if !access.is_unsettled()
        && let Some(left) = ctx.memory.sessions().take(server.id, &ctx.session_name(&purpose)).await
    {
        return Ok((access, left));
    }
    ctx.administer(server, &purpose).await
}

/// What an operation about something that is no tenant says of itself.
#[derive(Deserialize)]
struct Place {
    server_id: Option<ServerId>,
}

/// Where the tenant lives, or will: before there is a tenant, and after, the operation's input says it.
async fn home(connection: &mut PgConnection, operation: &Operation) -> Result<Server> {
    let place: Place = serde_json::from_value(operation.input.clone()).map_err(Error::internal)?;
    let server = match place.server_id {
        Some(server) => servers::get(connection, server).await?,
        None => servers::home_of(connection, operation.tenant_id).await?,
    };
    server.ok_or_else(homeless)
}

fn homeless() -> Error {
    Error::defect("the operation's tenant or its server is not in the control database")
}

/// Does what is left of the operation's steps, or undoes what was done of them, and records its end.
pub(in crate::operations) async fn run(
    ctx: &Context,
    operation: &Operation,
    signals: &Signals,
) -> Result<(), Interrupted> {
    let kind = Kind::find(&operation.kind).map_err(Interrupted::Unknown)?;
    let mut records = ctx.db.keep();
    let run = Run::open(ctx, operation, &mut records).await?;
    let mut attempt = Attempt { run: &run, kind, signals, records };
    let mut direction = operation.direction;
    if direction == Direction::Forward && operation.cancel_requested_at.is_some() {
        direction = attempt.turn().await?;
    }
    loop {
        let permission = match attempt.steps(direction).await? {
            Permission::Granted => {
                operation_claims::finish(&mut *attempt.records.connection().await?, run.claim()).await?
            }
            refused => refused,
        };
        match permission {
            Permission::Granted => break,
            Permission::Cancelled => direction = attempt.turn().await?,
            Permission::ClaimLost => return Err(Interrupted::LeaseLost),
        }
    }
    run.close().await;
    Ok(())
}

/// Whether all that this operation may have done so far can be undone. What a newer release has begun, and this one
/// does not know, cannot.
pub(in crate::operations) fn can_turn(kind: &Kind, steps: &[Step]) -> bool {
    let is_final =
        |step: &Step| kind.step(&step.name).map_or(true, |definition| matches!(definition.undo, Undo::Never));
    !steps.iter().any(|step| step.was_begun() && is_final(step))
}

struct Attempt<'a> {
    run: &'a Run,
    kind: &'static Kind,
    signals: &'a Signals,
    /// What it writes about itself.
    records: Keeper,
}

impl Attempt<'_> {
    /// From here on the operation is undone.
    async fn turn(&mut self) -> Result<Direction, Interrupted> {
        let turned = operation_claims::turn(&mut *self.records.connection().await?, self.run.claim()).await?;
        tracing::info!("the operation is cancelled and will be undone");
        if turned { Ok(Direction::Undo) } else { Err(Interrupted::LeaseLost) }
    }

    /// Everything that is left to do in this direction, until it is done or may not go on.
    async fn steps(&mut self, direction: Direction) -> Result<Permission, Interrupted> {
        let mut steps = operation_steps::list(&mut *self.records.connection().await?, self.run.operation.id).await?;
        match direction {
            Direction::Forward => steps.retain(|step| step.state != "succeeded"),
            Direction::Undo => {
                steps.retain(Step::was_begun);
                steps.reverse();
            }
        }
        let mut is_begun = false;
        for (place, step) in steps.iter().enumerate() {
            // One that is recorded as begun and not done is handed over like any other: it can be repeated.
            if self.signals.stop.is_cancelled() {
                return Err(Interrupted::Stopping);
            }
            if !is_begun {
                match self.begin(step, direction).await? {
                    Permission::Granted => {}
                    refused => return Ok(refused),
                }
            }
            match self.step(step, steps.get(place + 1), direction).await? {
                (Permission::Granted, begun) => is_begun = begun.is_some(),
                (refused, _) => return Ok(refused),
            }
        }
        Ok(Permission::Granted)
    }

    /// Whether a step may be recorded as begun together with the end of the one before it: not the one after which
    /// there is no way back, so that a wish to cancel is heard until the moment before it, and not what a newer release
    /// is to do.
    fn may_follow_at_once(&self, step: &Step, direction: Direction) -> bool {
        let is_final = |step: &Definition| direction == Direction::Forward && matches!(step.undo, Undo::Never);
        self.kind.step(&step.name).is_ok_and(|step| !is_final(step))
    }

    async fn begin(&mut self, step: &Step, direction: Direction) -> Result<Permission, Interrupted> {
        self.kind.step(&step.name).map_err(Interrupted::Unknown)?;
        let mut connection = self.records.connection().await?;
        Ok(operation_steps::begin(&mut connection, self.run.claim(), (None, step.position), direction).await?)
    }

    /// Does a step that is recorded as begun, and records its end, and together with that the beginning of the next one
    /// if that may be: then it answers with it.
    async fn step<'s>(
        &mut self,
        step: &Step,
        next: Option<&'s Step>,
        direction: Direction,
    ) -> Result<(Permission, Option<&'s Step>), Interrupted> {
        let definition = self.kind.step(&step.name).map_err(Interrupted::Unknown)?;
        tracing::debug!(step = step.name, ?direction, "a step begins");
        if definition.limit(direction) > USUAL {
            self.records.rest();
        }
        let outcome = self.effect(definition, direction).await;
        // Asked now: this replica may have been told to stop meanwhile.
        let next = next.filter(|next| self.may_follow_at_once(next, direction) && !self.signals.stop.is_cancelled());
        let permission = match (&outcome, next) {
            (Ok(()), Some(next)) => self.advance((step, next), direction).await?,
            (Ok(()), None) => self.end(step, direction, None).await?,
            (Err(error), _) => self.end(step, direction, Some(error)).await?,
        };
        if permission == Permission::ClaimLost {
            return Ok((permission, None));
        }
        outcome?;
        if self.run.operation.abandoned > 0 {
            operation_claims::clear_abandoned(&mut *self.records.connection().await?, self.run.claim()).await?;
        }
        if let Some((_, points)) = side(definition, direction) {
            faults::pass(points.after_record, self.run.tenant_id()).await?;
        }
        Ok((permission, next))
    }

    async fn advance(&mut self, (step, next): (&Step, &Step), direction: Direction) -> Result<Permission> {
        let places = (Some(step.position), next.position);
        let mut connection = self.records.connection().await?;
        operation_steps::begin(&mut connection, self.run.claim(), places, direction).await
    }

    async fn end(&mut self, step: &Step, direction: Direction, error: Option<&Error>) -> Result<Permission> {
        let error = error.map(Error::summary);
        let mut connection = self.records.connection().await?;
        let is_recorded =
            operation_steps::end(&mut connection, self.run.claim(), step.position, direction, error.as_deref()).await?;
        Ok(if is_recorded { Permission::Granted } else { Permission::ClaimLost })
    }

    async fn effect(&self, definition: &Definition, direction: Direction) -> Result<()> {
        let Some((act, points)) = side(definition, direction) else { return Ok(()) };
        let tenant = self.run.tenant_id();
        let acting = async {
            faults::pass(points.before_effect, tenant).await?;
            act(self.run).await?;
            if faults::is_doubled(points.before_effect, tenant) {
                act(self.run).await?;
            }
            faults::pass(points.after_effect, tenant).await
        };
        let limit = definition.limit(direction);
        let late = |_| Err(Error::unavailable("step_timeout", "a step did not end in time", None));
        let acting = async { tokio::time::timeout(limit, acting).await.unwrap_or_else(late) };
        if limit <= USUAL {
            return acting.await;
        }
        // Whoever calls off what takes an hour does not wait for its end.
        let cancelled = || Err(Error::conflict("operation_cancelled", "somebody asked for the operation's undoing"));
        self.signals.cancel.run_until_cancelled(acting).await.unwrap_or_else(cancelled)
    }
}

/// What a step does in this direction, if it does anything.
fn side(definition: &Definition, direction: Direction) -> Option<(StepFn, StepPoints)> {
    match (direction, &definition.run, &definition.undo) {
        (Direction::Forward, Effect::By(act, points), _) | (Direction::Undo, _, Undo::By(act, points)) => {
            Some((*act, *points))
        }
        (Direction::Forward, Effect::Recorded, _) | (Direction::Undo, _, Undo::Nothing | Undo::Never) => None,
    }
}
