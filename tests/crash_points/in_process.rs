//! Errors, panics, delays and repetitions at the points of every step, in this process.
//!
//! An error at each point and the repetition of each step in every run; a panic and a delay at each point where
//! [`DRAW`] takes all, else at one point of a step. There one operation meets all of a step's [`Case`]s, one attempt
//! after another; where all is taken each case has an operation of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use freehold::{
    faults::{self, Mode},
    types::TenantId,
};
use tokio::time::Instant;

use super::{
    StepPoint, by_kind,
    draw::DRAW,
    subject::{Asked, PATIENCE, Subject, ask_each, cancel, engine, settled},
    tally::{Case, Tally},
};
use crate::harness::fleet::{self, Fleet};

/// How many operations are under way at once: their databases lie beside one another.
const AT_ONCE: usize = 150;

/// What one operation meets at one of its steps, or at its undoing.
struct Trial {
    kind: &'static str,
    step: &'static str,
    is_undo: bool,
    cases: Vec<Case>,
}

impl Trial {
    /// Its name, which is what its points' names begin with.
    fn name(&self) -> String {
        format!("{}.{}{}", self.kind, self.step, if self.is_undo { super::UNDO } else { "" })
    }

    /// Whether the operation would come to this case after all the others.
    fn has_room_for(&self, case: Case) -> bool {
        // The record of a step is passed once, however that ends.
        let is_record = |case: &Case| case.0.ends_with(".after_record");
        !(is_record(&case) && self.cases.iter().any(is_record))
    }
}

/// The trials of one step, or of its undoing.
fn trials(points: &[&StepPoint]) -> Vec<Trial> {
    let StepPoint { kind, step, is_undo, .. } = *points[0];
    let trial = |cases| Trial { kind, step, is_undo, cases };
    let twice = points.iter().find(|point| point.place == "before_effect").map(|point| (point.name, Mode::Twice));
    let mut cases: Vec<_> = points.iter().map(|point| (point.name, Mode::Error)).chain(twice).collect();
    if DRAW.takes_all(points.iter().map(|point| point.name)) {
        let others = points.iter().flat_map(|point| [(point.name, Mode::Panic), (point.name, Mode::Delay)]);
        cases.extend(others);
        return cases.into_iter().map(|case| trial(vec![case])).collect();
    }
    for (mode, name) in [(Mode::Panic, "panic"), (Mode::Delay, "delay")] {
        cases.push((DRAW.one(&format!("{name} {kind}.{step}.{is_undo}"), points).name, mode));
    }
    let mut trials = vec![trial(Vec::new())];
    for case in cases {
        match trials.iter_mut().find(|trial| trial.has_room_for(case)) {
            Some(trial) => trial.cases.push(case),
            None => trials.push(trial(vec![case])),
        }
    }
    trials
}

/// Whole kinds together, as many as may be under way at once; a kind that has more comes alone.
fn batches() -> Vec<Vec<Trial>> {
    let mut batches = vec![Vec::<Trial>::new()];
    for points in by_kind().into_values() {
        let mut steps = BTreeMap::<_, Vec<_>>::new();
        for point in &points {
            steps.entry((point.step, point.is_undo)).or_default().push(point);
        }
        let of_kind: Vec<_> = steps.into_values().flat_map(|points| trials(&points)).collect();
        match batches.last_mut() {
            Some(last) if last.len() + of_kind.len() <= AT_ONCE => last.extend(of_kind),
            _ => batches.push(of_kind),
        }
    }
    batches
}

#[tokio::test]
async fn every_step_and_every_undoing_survives_errors_panics_delays_and_repetition() {
    let fleet = fleet::idle().await;
    let batches = batches();
    let mut tally = Tally::of(batches.iter().flatten().flat_map(|trial| trial.cases.iter().copied()));
    for trials in batches {
        go_through(&fleet, trials, &mut tally).await;
        Subject::clean(&fleet).await;
    }
    fleet.assert_clean().await;
    tally.judge("in one process");
}

/// One operation a trial, all queued while no engine runs, then all at once.
async fn go_through(fleet: &Fleet, trials: Vec<Trial>, tally: &mut Tally) {
    let kinds: Vec<_> = trials.iter().map(|trial| trial.kind).collect();
    let asked = ask_each(fleet, &kinds).await;
    let runs: Vec<_> = trials.into_iter().zip(asked).collect();
    let mut turning = Vec::new();
    for (trial, asked) in &runs {
        for (point, mode) in &trial.cases {
            faults::arm(point, *mode, Some(asked.tenant.parse().unwrap()));
        }
        if trial.is_undo {
            turning.extend(plan_to_cancel(fleet, asked, trial).await);
        }
    }
    let engine = engine(fleet).await;
    cancel_when_braked(fleet, turning).await;
    for (trial, asked) in &runs {
        let state = settled(fleet, asked).await;
        assert_eq!(state, if trial.is_undo { "cancelled" } else { "succeeded" }, "{}", trial.name());
        Subject::of(trial.kind).assert_ended(fleet, asked, trial.is_undo).await;
    }
    engine.stop().await;
    let fired: BTreeSet<_> =
        faults::fired().iter().map(|fired| (fired.tenant.to_string(), (fired.point, fired.mode))).collect();
    for (trial, asked) in &runs {
        for case in trial.cases.iter().filter(|case| fired.contains(&(asked.tenant.clone(), **case))) {
            tally.hit(*case);
        }
    }
}

/// An operation that is held at a point, to be cancelled there.
#[derive(Debug)]
struct Held {
    operation: String,
    tenant: TenantId,
    brake: String,
}

/// Has an operation cancelled once it has done the step of the trial, or before anybody works on it when that is the
/// recording. What is still to be cancelled is held right after the step.
async fn plan_to_cancel(fleet: &Fleet, asked: &Asked, trial: &Trial) -> Option<Held> {
    if trial.step == "record" {
        cancel(fleet, &asked.operation).await;
        return None;
    }
    let brake = format!("{}.{}.after_record", trial.kind, trial.step);
    let tenant = asked.tenant.parse().unwrap();
    faults::arm(&brake, Mode::Hold, Some(tenant));
    Some(Held { operation: asked.operation.clone(), tenant, brake })
}

async fn cancel_when_braked(fleet: &Fleet, mut waiting: Vec<Held>) {
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        assert!(Instant::now() < deadline, "never held: {waiting:?}");
        let fired: BTreeSet<_> = faults::fired().iter().map(|fired| (fired.point, fired.tenant)).collect();
        let is_held = |held: &Held| fired.iter().any(|(point, tenant)| *point == held.brake && *tenant == held.tenant);
        let (stopped, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_held);
        for held in stopped {
            cancel(fleet, &held.operation).await;
            faults::release(held.tenant);
        }
        waiting = others;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
