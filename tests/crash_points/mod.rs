//! Every crash point of every operation, in every mode: what was under way ends as it should, and nothing is left
//! behind.
//!
//! One Freehold whose own replica leaves operations to others queues them; engines are started beside it, in this
//! process ([`in_process`]: errors, panics, delays, steps done twice) or as programs of their own that kill or stop
//! themselves ([`in_programs`]). [`subject`] knows, of each kind of operation, how one is asked for and how it ends.
//! The points outside of steps, in requests and the janitor's sweeps, are [`in_requests`]'; [`request`] knows how those
//! come about. [`draw`] says which of the points a run goes through that are much alike. A point that is not hit fails the suite, and so does one that nobody knows how to come to.

mod draw;
mod in_process;
mod in_programs;
mod in_requests;
mod request;
mod subject;
mod tally;

use std::collections::BTreeMap;

use freehold::faults;

pub(crate) use subject::engine;

/// What the point of an undoing ends its step's name with.
const UNDO: &str = ".undo";

/// A crash point of a step: `tenant.provision.create_role.undo.before_effect` in parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StepPoint {
    /// The whole name.
    name: &'static str,
    /// `tenant.provision`.
    kind: &'static str,
    /// `create_role`.
    step: &'static str,
    /// Whether it is of the step's undoing.
    is_undo: bool,
    /// `before_effect`, `after_effect` or `after_record`.
    place: &'static str,
}

impl StepPoint {
    fn parse(name: &'static str) -> Option<Self> {
        let (rest, place) = name.rsplit_once('.')?;
        let (rest, is_undo) = rest.strip_suffix(UNDO).map_or((rest, false), |rest| (rest, true));
        let (kind, step) = rest.rsplit_once('.')?;
        let is_step = ["before_effect", "after_effect", "after_record"].contains(&place);
        is_step.then_some(Self { name, kind, step, is_undo, place })
    }
}

/// Of rollouts, jobs and schedules: `tests/rollouts` and `tests/jobs.rs` go through them.
fn is_of_others(point: &str) -> bool {
    ["rollout.", "job.", "schedule."].iter().any(|others| point.starts_with(others))
}

/// The crash points of all steps, in no order of theirs.
fn step_points() -> Vec<StepPoint> {
    faults::points().into_iter().filter(|point| !is_of_others(point)).filter_map(StepPoint::parse).collect()
}

/// The same by kind.
fn by_kind() -> BTreeMap<&'static str, Vec<StepPoint>> {
    let mut kinds = BTreeMap::<_, Vec<_>>::new();
    for point in step_points() {
        kinds.entry(point.kind).or_default().push(point);
    }
    kinds
}

#[test]
fn names_are_taken_apart() {
    let point = StepPoint::parse("tenant.provision.create_role.undo.before_effect").unwrap();
    assert_eq!((point.kind, point.step, point.is_undo), ("tenant.provision", "create_role", true));
    assert!(StepPoint::parse("tenant.provision.before_commit").is_none());
    assert!(step_points().len() > 20, "the points of the steps are not collected");
}
