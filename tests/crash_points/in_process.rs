//! Errors, panics, delays and repetitions at every point of every step, in this process.

use std::{collections::BTreeMap, time::Duration};

use freehold::faults::{self, Mode};
use tokio::time::Instant;

use super::{
    StepPoint, step_points,
    subject::{Asked, PATIENCE, Subject, assert_clean, cancel, engine, hold, release, settled},
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
    assert_clean(&fleet).await;
    tally.judge("in one process");
}

/// One operation a case, all queued while no engine runs, then all at once.
async fn of_kind(fleet: &Fleet, kind: &str, points: &[StepPoint], tally: &mut Tally) {
    let subject = Subject::of(kind);
    let cases: Vec<_> =
        points.iter().flat_map(|point| cases(point).into_iter().map(move |case| (point, case))).collect();
    let mut ready = subject.prepare(fleet, cases.len()).await;
    let mut runs = Vec::new();
    for (point, case) in cases {
        let asked = subject.ask(fleet, &mut ready).await;
        let tenant = asked.tenant.parse().unwrap();
        faults::arm(case.0, case.1, Some(tenant));
        if point.is_undo {
            faults::arm(&brake(fleet, &asked, point).await, Mode::Error, Some(tenant));
        }
        runs.push((asked, point.is_undo, case));
    }
    let turning: Vec<_> = runs.iter().filter(|run| run.1).map(|run| run.0.operation.clone()).collect();
    hold(fleet, turning.iter().map(String::as_str)).await;
    let engine = engine(fleet).await;
    cancel_when_braked(fleet, turning).await;
    release(fleet).await;
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

/// Where the operation is made to fail once, right after the step whose undoing is meant: in the pause that follows,
/// it is cancelled.
async fn brake(fleet: &Fleet, asked: &Asked, point: &StepPoint) -> String {
    if point.step != "record" {
        return format!("{}.{}.after_record", point.kind, point.step);
    }
    let operation = fleet.operator().get(&format!("/platform/v1/operations/{}", asked.operation)).await.expect(200);
    format!("{}.{}.before_effect", point.kind, operation["steps"][1]["name"].as_str().unwrap())
}

async fn cancel_when_braked(fleet: &Fleet, mut waiting: Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        assert!(Instant::now() < deadline, "never failed: {waiting:?}");
        let braked: Vec<String> = fleet
            .control()
            .values(
                "SELECT 'op_' || replace(id::text, '-', '') FROM operations
                  WHERE state = 'queued' AND error IS NOT NULL AND cancel_requested_at IS NULL",
            )
            .await;
        for operation in braked.iter().filter(|operation| waiting.contains(operation)) {
            cancel(fleet, operation).await;
        }
        waiting.retain(|operation| !braked.contains(operation));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
