//! What an operation is made of: steps. Each step has a function that does it and a function that undoes it.
//!
//! A kind is declared once, with [`kind!`], in the file where its steps are written. `operations::kinds` lists all
//! kinds. A step looks at what is already there before it acts. It is idempotent, and so is its undo: a replica may die
//! after the effect and before the record of it. Every step has its crash points for tests.

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

/// The time limit of a step or its undo, unless its kind sets another one. The slowest usual step builds a template
/// database. The limit is needed because a frozen server never answers, not even with an error.
pub(in crate::operations) const USUAL: Duration = Duration::from_secs(90);
/// The time limit of a step that dumps or copies all of a tenant's data. After the limit the step starts over.
pub(in crate::operations) const LONG: Duration = Duration::from_hours(1);
/// The time limit of a step that restores a dump. It is much longer than [`LONG`], so that every dump that could be
/// made can also be restored.
pub(in crate::operations) const RESTORING: Duration = Duration::from_hours(13);

/// A kind of operation.
#[derive(Debug)]
pub(in crate::operations) struct Kind {
    /// Its name: `tenant.provision`.
    pub(in crate::operations) name: &'static str,
    /// What happens to an operation of this kind that cannot go on.
    pub(in crate::operations) on_defect: OnDefect,
    /// Its steps, in order.
    pub(in crate::operations) steps: &'static [Step],
    /// Pairs of a step name of an earlier release and the present step that replaces it. With them this release can
    /// finish an operation that an earlier release recorded.
    pub(in crate::operations) former: &'static [(&'static str, &'static str)],
    /// Codes of errors that a retry cannot fix: at the first one the operation stops going forward.
    pub(in crate::operations) refusals: &'static [&'static str],
}

/// What happens to an operation that fails with a permanent error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operations) enum OnDefect {
    /// It waits for an operator, who fixes the cause and retries it, or cancels it.
    Block,
    /// Its steps are undone, so that everything is as before. If they can no longer be undone, it waits for an
    /// operator.
    Unwind,
}

/// The function of a step, or of its undo.
pub(in crate::operations) type StepFn = for<'a> fn(&'a Run) -> BoxFuture<'a, Result<()>>;

/// A step of an operation.
#[derive(Debug)]
pub(in crate::operations) struct Step {
    /// Its name, within the kind.
    pub(in crate::operations) name: &'static str,
    /// How long it may take. The lease is renewed while it runs.
    pub(in crate::operations) limit: Duration,
    /// How it is done.
    pub(in crate::operations) run: Effect,
    /// How it is undone.
    pub(in crate::operations) undo: Undo,
}

/// How a step is done.
#[derive(Debug)]
pub(in crate::operations) enum Effect {
    /// The transaction that queues the operation does it.
    Recorded,
    /// This function does it. Tests make it fail at these points.
    By(StepFn, StepPoints),
}

/// How a step is undone.
#[derive(Debug)]
pub(in crate::operations) enum Undo {
    /// There is nothing to do: the undo of an earlier step removes whatever this step leaves behind.
    Nothing,
    /// This function undoes it. Tests make it fail at these points.
    By(StepFn, StepPoints),
    /// It cannot be undone: once this step has begun, the operation can only go forward.
    Never,
}

impl Step {
    /// How long it may take in this direction. No undo moves a tenant's data, so every undo has the usual limit.
    pub(in crate::operations) fn limit(&self, direction: Direction) -> Duration {
        match direction {
            Direction::Forward => self.limit,
            Direction::Undo => USUAL,
        }
    }
}

impl Kind {
    /// The step that is recorded under this name, or the one that replaces it.
    ///
    /// # Errors
    /// This release is older than the operation and does not know the step.
    pub(in crate::operations) fn step(&self, name: &str) -> Result<&Step> {
        let now = self.former.iter().find(|(former, _)| *former == name).map_or(name, |(_, now)| now);
        let found = self.steps.iter().find(|step| step.name == now);
        found.ok_or_else(|| Error::defect(format!("this release knows no step {name} of {}", self.name)))
    }

    /// Its steps, as the control database records them. `is_done` says which of them are already done.
    pub(in crate::operations) fn new_steps(&self, is_done: impl Fn(&str) -> bool) -> Vec<NewStep> {
        self.steps.iter().map(|step| NewStep { name: step.name, is_done: is_done(step.name) }).collect()
    }

    /// Whether every recorded step that was begun can be undone. A step that this release does not know counts as one
    /// that cannot.
    pub(in crate::operations) fn can_undo(&self, recorded: &[Recorded]) -> bool {
        let is_final = |step: &Recorded| self.step(&step.name).map_or(true, |step| matches!(step.undo, Undo::Never));
        !recorded.iter().any(|step| step.was_begun() && is_final(step))
    }
}

/// The kinds of operations that this release knows. The caller of the engine hands them over.
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
    /// This release is older than the operation and does not know the kind.
    pub(in crate::operations) fn find(self, name: &str) -> Result<&'static Kind> {
        let found = self.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| Error::defect(format!("this release knows no operation of kind {name}")))
    }
}

/// Declares a kind.
///
/// The first step is `record`: the transaction that queues the operation does it. Every other step has the name of the
/// function that does it. `within` sets a time limit other than `USUAL`. After `=>` stands how the step is undone: a
/// function, `nothing` or `never`. `formerly` maps the steps of earlier releases to the present steps that replace
/// them.
/// `refusals` lists the codes of errors that a retry cannot fix.
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
