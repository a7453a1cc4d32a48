//! Errors, panics, delays and repetitions at every point of every step, in this process.

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
    StepPoint, step_points,
    subject::{Asked, PATIENCE, Subject, cancel, engine, settled},
    tally::{Case, Tally},
};
use crate::harness::fleet::{self, Fleet};

fn cases(point: &StepPoint) -> Vec<Case> {
    let twice = (point.place == "before_effect").then_some(Mode::Twice);
    [Mode::Error, Mode::Panic, Mode::Delay].into_iter().chain(twice).map(|mode| (point.name, mode)).collect()
}

#[tokio::test]
async fn every_step_and_every_undoing_survives_errors_panics_delays_and_repetition() {
    let fleet = fleet::idle().await;
    let mut kinds = BTreeMap::<&str, Vec<StepPoint>>::new();
    for point in step_points() {
        kinds.entry(point.kind).or_default().push(point);
    }
    let mut tally = Tally::of(kinds.values().flatten().flat_map(cases));
    for (kind, points) in &kinds {
        of_kind(&fleet, kind, points, &mut tally).await;
        Subject::of(kind).clean(&fleet).await;
    }
    fleet.assert_clean().await;
    tally.judge("in one process");
}

/// One operation a case, all queued while no engine runs, then all at once.
async fn of_kind(fleet: &Fleet, kind: &str, points: &[StepPoint], tally: &mut Tally) {
    let subject = Subject::of(kind);
    let cases: Vec<_> =
        points.iter().flat_map(|point| cases(point).into_iter().map(move |case| (point, case))).collect();
    let mut ready = subject.prepare(fleet, cases.len()).await;
    let (mut runs, mut turning) = (Vec::new(), Vec::new());
    for (point, case) in cases {
        let asked = subject.ask(fleet, &mut ready).await;
        let tenant = asked.tenant.parse().unwrap();
        faults::arm(case.0, case.1, Some(tenant));
        if point.is_undo {
            turning.extend(plan_to_cancel(fleet, &asked, point).await);
        }
        runs.push((asked, point.is_undo, case));
    }
    let engine = engine(fleet).await;
    cancel_when_braked(fleet, turning).await;
    for (asked, is_undone, case) in &runs {
        let state = settled(fleet, asked).await;
        assert_eq!(state, if *is_undone { "cancelled" } else { "succeeded" }, "{case:?}");
        subject.assert_ended(fleet, asked, *is_undone).await;
    }
    engine.stop().await;
    let tenants: BTreeMap<_, _> = runs.iter().map(|(asked, _, case)| (asked.tenant.clone(), *case)).collect();
    for fired in faults::fired() {
        let case = (fired.point, fired.mode);
        if tenants.get(&fired.tenant.to_string()) == Some(&case) {
            tally.hit(case);
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

/// Has an operation cancelled once it has done the step of the point, or before anybody works on it when that is the
/// recording. What is still to be cancelled is held right after the step.
async fn plan_to_cancel(fleet: &Fleet, asked: &Asked, point: &StepPoint) -> Option<Held> {
    if point.step == "record" {
        cancel(fleet, &asked.operation).await;
        return None;
    }
    let brake = format!("{}.{}.after_record", point.kind, point.step);
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
