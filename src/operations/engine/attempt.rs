//! One attempt to finish an operation: it does the steps in order, or undoes them in reverse order.
//!
//! Every write checks that this replica still holds the claim. Between two steps the attempt checks whether this
//! replica is stopping and whether somebody has asked to cancel the operation.

use tokio_util::sync::CancellationToken;

use super::{
    kind::{Effect, Kind, Kinds, Step as Definition, StepFn, USUAL, Undo},
    run::Run,
};
use crate::{
    control::{
        Keeper,
        operation_claims::{self, Permission},
        operation_states::StepState,
        operation_steps::{self, Step},
        operations::{Direction, Operation},
    },
    error::{Error, Result},
    faults::{self, StepPoints},
    operations::Context,
};

/// What can interrupt an attempt.
pub(super) struct Signals {
    /// This replica is stopping.
    pub(super) stop: CancellationToken,
    /// Somebody asked to cancel the operation.
    pub(super) cancel: CancellationToken,
}

/// Why an attempt ended before the operation did.
pub(super) enum Interrupted {
    /// A step failed, or could not be begun.
    Failed(Error),
    /// Another replica holds the operation now: this one may write nothing more.
    LeaseLost,
    /// This replica is stopping: it releases the operation for another replica.
    Stopping,
    /// A newer release queued the operation. This release does not know the kind or the step, and leaves it to that
    /// one.
    Unknown(Error),
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Does the operation's remaining steps, or undoes those that were begun, and records the operation's end.
pub(super) async fn run(
    ctx: &Context,
    kinds: Kinds,
    operation: &Operation,
    signals: &Signals,
) -> Result<(), Interrupted> {
    let kind = kinds.find(&operation.kind).map_err(Interrupted::Unknown)?;
    let mut records = ctx.db.keep();
    let run = Run::open(ctx, operation, &mut records).await?;
    let mut attempt = Attempt { run: &run, kind, signals, records };
    let mut direction = operation.direction;
    if direction == Direction::Forward && operation.cancel_requested_at.is_some() {
        direction = attempt.begin_undo().await?;
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
            Permission::Cancelled => direction = attempt.begin_undo().await?,
            Permission::ClaimLost => return Err(Interrupted::LeaseLost),
        }
    }
    run.close().await;
    Ok(())
}

struct Attempt<'a> {
    run: &'a Run,
    kind: &'static Kind,
    signals: &'a Signals,
    /// The connection to the control database through which the attempt records its progress.
    records: Keeper,
}

impl Attempt<'_> {
    /// Records that the operation is undone from here on.
    async fn begin_undo(&mut self) -> Result<Direction, Interrupted> {
        let begun = operation_claims::begin_undo(&mut *self.records.connection().await?, self.run.claim()).await?;
        tracing::info!("the operation is cancelled and will be undone");
        if begun { Ok(Direction::Undo) } else { Err(Interrupted::LeaseLost) }
    }

    /// Works through the remaining steps in this direction, until all are done or a permission is refused.
    async fn steps(&mut self, direction: Direction) -> Result<Permission, Interrupted> {
        let mut steps = operation_steps::list(&mut *self.records.connection().await?, self.run.operation.id).await?;
        match direction {
            Direction::Forward => steps.retain(|step| step.state != StepState::Succeeded),
            Direction::Undo => {
                steps.retain(Step::was_begun);
                steps.reverse();
            }
        }
        let mut is_begun = false;
        for (place, step) in steps.iter().enumerate() {
            // A step that is recorded as begun and not as done is released too: the next replica repeats it.
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

    /// Whether one statement may record both the end of a step and the beginning of the next one, `step`.
    ///
    /// A step that cannot be undone begins with a statement of its own, so that a request to cancel counts until the
    /// last moment. A step that this release does not know is left to a newer release.
    fn may_follow_at_once(&self, step: &Step, direction: Direction) -> bool {
        let is_final = |step: &Definition| direction == Direction::Forward && matches!(step.undo, Undo::Never);
        self.kind.step(&step.name).is_ok_and(|step| !is_final(step))
    }

    async fn begin(&mut self, step: &Step, direction: Direction) -> Result<Permission, Interrupted> {
        self.kind.step(&step.name).map_err(Interrupted::Unknown)?;
        let mut connection = self.records.connection().await?;
        Ok(operation_steps::begin(&mut connection, self.run.claim(), (None, step.position), direction).await?)
    }

    /// Does a step that is already recorded as begun, and records its end. If `next` may begin with the same statement,
    /// it is recorded as begun and returned.
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
        // Checked only now: this replica may have been told to stop while the step ran.
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

/// The function and the crash points of a step in this direction, if there are any.
fn side(definition: &Definition, direction: Direction) -> Option<(StepFn, StepPoints)> {
    match (direction, &definition.run, &definition.undo) {
        (Direction::Forward, Effect::By(act, points), _) | (Direction::Undo, _, Undo::By(act, points)) => {
            Some((*act, *points))
        }
        (Direction::Forward, Effect::Recorded, _) | (Direction::Undo, _, Undo::Nothing | Undo::Never) => None,
    }
}
