//! What an operation is made of: steps, each with what it does and how that is undone.
//!
//! A kind is declared once, with [`kind!`], in the file where its steps are written. `operations::kinds` lists all
//! kinds. A step observes the world before it acts. It can be repeated, and so can its undoing: a replica may die
//! between the effect and the record of it. Every step brings its crash points along.

use std::time::Duration;

use futures::future::BoxFuture;

use super::run::Run;
use crate::{
    control::{
        operation_steps::Step as Recorded,
        operations::{Direction, NewStep},
    },
    error::{Error, Result},
    faults::StepPoints,
};

/// The longest that a step or its undoing may take unless its kind says otherwise: the building of a template, with
/// its own waits. A server that is frozen answers nothing, not even that it gave up.
pub(in crate::operations) const USUAL: Duration = Duration::from_secs(90);
/// The longest that a step may take which moves all of a tenant's data: after that it begins anew.
pub(in crate::operations) const LONG: Duration = Duration::from_hours(1);
/// The longest that a step may take which brings them back: what could be dumped can be restored.
pub(in crate::operations) const RESTORING: Duration = Duration::from_hours(13);

/// A kind of operation.
#[derive(Debug)]
pub(in crate::operations) struct Kind {
    /// Its name: `tenant.provision`.
    pub(in crate::operations) name: &'static str,
    /// What becomes of one that cannot go on.
    pub(in crate::operations) on_defect: OnDefect,
    /// Its steps, in order.
    pub(in crate::operations) steps: &'static [Step],
    /// Steps that earlier releases have recorded, and those of today which do as much: an operation of theirs is
    /// brought to its end.
    pub(in crate::operations) former: &'static [(&'static str, &'static str)],
    /// Codes of errors that no repetition mends: the first one ends its way forward.
    pub(in crate::operations) refusals: &'static [&'static str],
}

/// What becomes of an operation that fails for a reason that no waiting mends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operations) enum OnDefect {
    /// It waits for an operator, who mends the reason and retries, or cancels.
    Block,
    /// It is undone, and what it was to change is as before. What can no longer be undone waits for an operator.
    Unwind,
}

/// Does something to what the operation is about.
pub(in crate::operations) type StepFn = for<'a> fn(&'a Run) -> BoxFuture<'a, Result<()>>;

/// A step of an operation.
#[derive(Debug)]
pub(in crate::operations) struct Step {
    /// Its name, within the kind.
    pub(in crate::operations) name: &'static str,
    /// How long it may take. The lease is renewed meanwhile.
    pub(in crate::operations) limit: Duration,
    /// How it is done.
    pub(in crate::operations) run: Effect,
    /// How it is undone.
    pub(in crate::operations) undo: Undo,
}

/// How a step is done.
#[derive(Debug)]
pub(in crate::operations) enum Effect {
    /// By the transaction that queues the operation.
    Recorded,
    /// By this; tests make it fail at these points.
    By(StepFn, StepPoints),
}

/// How a step is undone.
#[derive(Debug)]
pub(in crate::operations) enum Undo {
    /// It leaves nothing behind that the undoing of an earlier step does not take away.
    Nothing,
    /// By this; tests make it fail at these points.
    By(StepFn, StepPoints),
    /// Not at all: from its beginning on the operation can only go forward.
    Never,
}

impl Step {
    /// How long it may take in this direction: nothing is undone that moves data.
    pub(in crate::operations) fn limit(&self, direction: Direction) -> Duration {
        match direction {
            Direction::Forward => self.limit,
            Direction::Undo => USUAL,
        }
    }
}

impl Kind {
    /// The step that does what was recorded under this name.
    ///
    /// # Errors
    /// A release that is older than the operation does not know it.
    pub(in crate::operations) fn step(&self, name: &str) -> Result<&Step> {
        let now = self.former.iter().find(|(former, _)| *former == name).map_or(name, |(_, now)| now);
        let found = self.steps.iter().find(|step| step.name == now);
        found.ok_or_else(|| Error::defect(format!("this release knows no step {name} of {}", self.name)))
    }

    /// Its steps, as they are recorded.
    pub(in crate::operations) fn new_steps(&self, is_done: impl Fn(&str) -> bool) -> Vec<NewStep> {
        self.steps.iter().map(|step| NewStep { name: step.name, is_done: is_done(step.name) }).collect()
    }

    /// Whether everything can be undone that an operation with these recorded steps may have done so far. What a newer
    /// release has begun, and this one does not know, cannot.
    pub(in crate::operations) fn can_undo(&self, recorded: &[Recorded]) -> bool {
        let is_final = |step: &Recorded| self.step(&step.name).map_or(true, |step| matches!(step.undo, Undo::Never));
        !recorded.iter().any(|step| step.was_begun() && is_final(step))
    }
}

/// The kinds of operations that a release knows. The engine is handed them, and knows none by itself.
#[derive(Clone, Copy, Debug)]
pub struct Kinds(&'static [&'static Kind]);

impl Kinds {
    /// These and no others.
    pub(in crate::operations) const fn new(kinds: &'static [&'static Kind]) -> Self {
        Self(kinds)
    }

    /// Each of them.
    pub(in crate::operations) fn iter(self) -> impl Iterator<Item = &'static Kind> {
        self.0.iter().copied()
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// A release that is older than the operation does not know it.
    pub(in crate::operations) fn find(self, name: &str) -> Result<&'static Kind> {
        let found = self.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| Error::defect(format!("this release knows no operation of kind {name}")))
    }
}

/// Declares a kind. The first step is `record`, which the transaction that queues the operation has done; every other
/// is the name of the function that does it, with `within` what it may take if that is more than usual. How a step is
/// undone comes after it: by another function, or `nothing`, or `never`. `formerly` names steps of earlier releases,
/// each with the one that does now as much as it did; `refusals` the codes of errors that no repetition mends.
macro_rules! kind {
    (
        $kind:literal, $on_defect:ident,
        { record => $unrecord:ident, $($step:ident $(within $limit:ident)? => $undo:ident),+ $(,)? }
        $(, formerly { $($former:ident => $now:ident),+ $(,)? })?
        $(, refusals $refusals:ident)?
    ) => {
        $crate::operations::engine::kind::Kind {
            name: $kind,
            on_defect: $crate::operations::engine::kind::OnDefect::$on_defect,
            steps: &[
                $crate::operations::engine::kind::Step {
                    name: "record",
                    limit: $crate::operations::engine::kind::limit!(),
                    run: $crate::operations::engine::kind::Effect::Recorded,
                    undo: $crate::operations::engine::kind::undo!($kind, record, $unrecord),
                },
                $($crate::operations::engine::kind::Step {
                    name: stringify!($step),
                    limit: $crate::operations::engine::kind::limit!($($limit)?),
                    run: $crate::operations::engine::kind::Effect::By(
                        |run| Box::pin($step(run)),
                        $crate::faults::step_points!($kind, ".", stringify!($step)),
                    ),
                    undo: $crate::operations::engine::kind::undo!($kind, $step, $undo),
                }),+
            ],
            former: &[$($((stringify!($former), stringify!($now))),+)?],
            refusals: $crate::operations::engine::kind::refusals!($($refusals)?),
        }
    };
}

macro_rules! limit {
    () => {
        $crate::operations::engine::kind::USUAL
    };
    ($limit:ident) => {
        $limit
    };
}

macro_rules! refusals {
    () => {
        &[]
    };
    ($refusals:ident) => {
        &$refusals
    };
}

macro_rules! undo {
    ($kind:literal, $step:ident, nothing) => {
        $crate::operations::engine::kind::Undo::Nothing
    };
    ($kind:literal, $step:ident, never) => {
        $crate::operations::engine::kind::Undo::Never
    };
    ($kind:literal, $step:ident, $undo:ident) => {
        $crate::operations::engine::kind::Undo::By(
            |run| Box::pin($undo(run)),
            $crate::faults::step_points!($kind, ".", stringify!($step), ".undo"),
        )
    };
}

pub(in crate::operations) use {kind, limit, refusals, undo};
