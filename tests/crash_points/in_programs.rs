//! Programs that kill themselves at every point, and programs that stop themselves there and wake up too late.

use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt, path::Path, time::Duration};

use freehold::faults::{self, Mode};
use futures::{StreamExt, stream};
use rustix::process::Signal;

use super::{
    StepPoint, by_kind,
    draw::DRAW,
    step_points,
    subject::{Asked, Subject, ask_each, cancel, engine, hold, settled, slow_engine},
    tally::Tally,
};
use crate::harness::{
    eventually_within,
    fleet::{self, Fleet},
    programs::Program,
    unique,
};

/// How long a program may take to reach its point, and a dozen operations to fail: some dump a database before.
const REACHED: Duration = Duration::from_mins(2);
/// How long woken programs are watched.
const WATCHED: Duration = Duration::from_secs(3);
/// As many programs that do nothing as a small machine bears.
const PROGRAMS: usize = 8;
/// Of how many kinds of operations programs die at a time.
const KINDS: usize = 4;

/// The points of a kind in the order in which an operation passes them, forwards and undoing.
struct Route {
    forward: Vec<StepPoint>,
    undo: Vec<StepPoint>,
}

impl Route {
    async fn of(fleet: &Fleet, points: Vec<StepPoint>, asked: &Asked) -> Self {
        let operation = fleet.operator().get(&format!("/platform/v1/operations/{}", asked.operation)).await.expect(200);
        let steps: Vec<_> = operation["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
        let step = |point: &StepPoint| steps.iter().position(|step| *step == point.step).unwrap();
        let place = |point: &StepPoint| {
            ["before_effect", "after_effect", "after_record"].iter().position(|place| *place == point.place).unwrap()
        };
        let (mut undo, mut forward): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point.is_undo);
        forward.sort_by_key(|point| (step(point), place(point)));
        undo.sort_by_key(|point| (steps.len() - step(point), place(point)));
        Self { forward, undo }
    }

    /// Where an operation has to fail so that there is everything to be undone: after the last step that can be. None
    /// when that is the recording of the operation: then it is cancelled before anybody works on it.
    fn brake(&self) -> Option<&'static str> {
        let last = self.undo[0].step;
        let after = self.forward.iter().find(|point| point.step == last && point.place == "after_record");
        after.map(|point| point.name)
    }
}

/// A replica that works on one operation at a time, of the kind of the point that it has armed.
fn worker(fleet: &Fleet, name: &str, point: &StepPoint, mode: &str) -> Program {
    let armed = format!("{}={mode}", point.name);
    let changes = [
        ("FREEHOLD_OPERATION_CONCURRENCY", "1"),
        ("FREEHOLD_REPLICA", name),
        ("CRASH_POINTS", &armed),
        ("CRASH_KINDS", point.kind),
    ];
    Program::start(fleet.folder(), name, &["serve"], &fleet.settings_with(&changes))
}

/// Brings operations as far as they can be undone, each to its brake, and has them cancelled while nobody works on them.
async fn turn(fleet: &Fleet, operations: &[(&Asked, Option<&'static str>)]) {
    let ids = |has_brake: bool| {
        let some = operations.iter().filter(|(_, brake)| brake.is_some() == has_brake);
        some.map(|(asked, _)| format!("'{}'", asked.operation.replace("op_", ""))).collect::<Vec<_>>().join(",")
    };
    let (control, unbraked) = (fleet.control(), ids(false));
    if !unbraked.is_empty() {
        // Cancelled below, before anybody has worked on them.
        control
            .run(&format!("UPDATE operations SET run_after = now() + interval '1 hour' WHERE id IN ({unbraked})"))
            .await;
    }
    if operations.iter().any(|(_, brake)| brake.is_some()) {
        let braked: Vec<_> = operations.iter().filter_map(|(asked, brake)| Some((*asked, (*brake)?))).collect();
        fail_once(fleet, &braked, &ids(true)).await;
    }
    for (asked, _) in operations {
        cancel(fleet, &asked.operation).await;
    }
}

/// Brings operations to their brakes, where they fail, and stops working on them.
async fn fail_once(fleet: &Fleet, operations: &[(&Asked, &'static str)], ids: &str) {
    for (asked, brake) in operations {
        // More often than they are tried before the engine stops.
        for _ in 0..4 {
            faults::arm(brake, Mode::Error, Some(asked.tenant.parse().unwrap()));
        }
    }
    let control = fleet.control();
    // Half a minute's pause follows, not a second's.
    control.run(&format!("UPDATE operations SET attempts = 5 WHERE id IN ({ids})")).await;
    let engine = slow_engine(fleet).await;
    eventually_within("all have failed there", REACHED, async || {
        // Elsewhere they may fail too, on a busy machine, and must go on.
        let fired: BTreeSet<_> = faults::fired().iter().map(|fired| (fired.point, fired.tenant.to_string())).collect();
        let are_there = operations.iter().filter(|(asked, brake)| fired.contains(&(brake, asked.tenant.clone())));
        let names: Vec<_> = are_there.map(|(asked, _)| asked.operation.clone()).collect();
        (!names.is_empty() && hold(fleet, &names).await.len() == operations.len()).then_some(())
    })
    .await;
    engine.stop().await;
    let busy = format!("SELECT count(*) FROM operations WHERE state <> 'queued' AND id IN ({ids})");
    eventually_within("nobody works on them", REACHED, async || (control.value::<i64>(&busy).await == 0).then_some(()))
        .await;
}

/// Those of a route's points at which programs are to die: all, or one of each step. To die right after the record of a
/// step is to die right before the effect of the next one, so of the records only the last one has a place of its own.
fn drawn(route: &[StepPoint]) -> Vec<StepPoint> {
    if DRAW.takes_all(route.iter().map(|point| point.name)) {
        return route.to_vec();
    }
    let last = route.last().map(|point| point.step);
    let of_step = |points: &[StepPoint]| {
        let StepPoint { kind, step, is_undo, .. } = points[0];
        let is_its_own = |point: &&StepPoint| point.place != "after_record" || Some(point.step) == last;
        let points: Vec<_> = points.iter().filter(is_its_own).cloned().collect();
        DRAW.one(&format!("abort {kind}.{step}.{is_undo}"), &points).clone()
    };
    route.chunk_by(|one, other| one.step == other.step).map(of_step).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_kills_itself_at_any_point_is_followed_by_one_that_goes_on() {
    let fleet = fleet::idle().await;
    let (mut wanted, mut died) = (Vec::new(), Vec::new());
    for is_undone in [false, true] {
        // What is never undone has no such points.
        let kinds: Vec<_> =
            by_kind().into_iter().filter(|(_, points)| points.iter().any(|point| point.is_undo == is_undone)).collect();
        let names: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
        let operations = ask_each(&fleet, &names).await;
        let (mut places, mut braked) = (Vec::new(), Vec::new());
        for ((_, points), asked) in kinds.into_iter().zip(&operations) {
            let route = Route::of(&fleet, points, asked).await;
            if is_undone {
                braked.push((asked, route.brake()));
            }
            places.push(drawn(if is_undone { &route.undo } else { &route.forward }));
        }
        turn(&fleet, &braked).await;
        wanted.extend(places.iter().flatten().map(|point| (point.name, Mode::Abort)));
        let dying = places.into_iter().map(|places| die_at_each(&fleet, places));
        died.extend(stream::iter(dying).buffer_unordered(KINDS).collect::<Vec<_>>().await.into_iter().flatten());
        let operations: Vec<_> = names.into_iter().map(Subject::of).zip(operations).collect();
        finish(&fleet, &operations, is_undone).await;
        Subject::clean(&fleet).await;
    }
    fleet.assert_clean().await;
    let mut tally = Tally::of(wanted);
    for point in died {
        tally.hit((point, Mode::Abort));
    }
    tally.judge("programs that killed themselves");
}

/// The same operation goes on in one program after another, each of which dies a little further on.
async fn die_at_each(fleet: &Fleet, points: Vec<StepPoint>) -> Vec<&'static str> {
    // The next program under the same name takes up at once what the one before it left.
    let name = unique("mortal");
    let mut died = Vec::new();
    for point in points {
        let ended = worker(fleet, &name, &point, "abort").ended(REACHED).await;
        assert_eq!(ended.signal(), Some(9), "{}", point.name);
        died.push(point.name);
    }
    died
}

/// A replica that nothing stops brings the operations to their end.
async fn finish(fleet: &Fleet, operations: &[(&Subject, Asked)], is_undone: bool) {
    let engine = engine(fleet).await;
    for (subject, asked) in operations {
        assert_eq!(settled(fleet, asked).await, if is_undone { "cancelled" } else { "succeeded" }, "{asked:?}");
        subject.assert_ended(fleet, asked, is_undone).await;
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./ops/test --soak"]
async fn programs_that_stop_themselves_at_any_point_lose_their_work_and_write_nothing_when_they_wake() {
    let fleet = fleet::idle().await;
    let server = fleet.on_server("postgres");
    server.run("ALTER SYSTEM SET log_statement = 'ddl'").await;
    server.run("SELECT pg_reload_conf()").await;
    let mut tally = Tally::of(step_points().iter().map(|point| (point.name, Mode::Stop)));
    for (kind, points) in by_kind() {
        let subject = Subject::of(kind);
        let first = ask_each(&fleet, &[kind]).await.remove(0);
        let route = Route::of(&fleet, points, &first).await;
        finish(&fleet, &[(subject, first)], false).await;
        for (points, is_undone) in [(&route.forward, false), (&route.undo, true)] {
            for points in points.chunks(PROGRAMS) {
                let operations = ask_each(&fleet, &vec![kind; points.len()]).await;
                if is_undone {
                    let braked: Vec<_> = operations.iter().map(|asked| (asked, route.brake())).collect();
                    turn(&fleet, &braked).await;
                }
                stop_at_each(&fleet, points, &mut tally).await;
                let operations: Vec<_> = operations.into_iter().map(|asked| (subject, asked)).collect();
                finish(&fleet, &operations, is_undone).await;
            }
        }
        Subject::clean(&fleet).await;
    }
    fleet.assert_clean().await;
    tally.judge("programs that stopped themselves");
}

/// One program a point; every one takes an operation and stops with it. Others have to take that over.
async fn stop_at_each(fleet: &Fleet, points: &[StepPoint], tally: &mut Tally) {
    let prefix = unique("zombie");
    let mut programs = Vec::new();
    // One after another, in the order of the points: whatever operation a program gets, be it one that an earlier
    // program has lost or has failed over on a busy machine, has the program's point still before it.
    for (n, point) in points.iter().enumerate() {
        let name = format!("{prefix}-{n}");
        let program = worker(fleet, &name, point, "stop");
        let what = format!("a program stops at {}", point.name);
        eventually_within(&what, REACHED, async || program.is_stopped().then_some(())).await;
        tally.hit((point.name, Mode::Stop));
        programs.push((program, name, point));
    }
    let control = fleet.control();
    let held = format!("SELECT count(*) FROM operations WHERE state = 'running' AND lease_owner LIKE '{prefix}-%'");
    let survivor = engine(fleet).await;
    eventually_within("their work is taken over", REACHED, async || {
        (control.value::<i64>(&held).await == 0).then_some(())
    })
    .await;
    // Who takes an operation over ends the sessions of who has lost it, before anything else.
    let left = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'freehold:{prefix}-%:op\\_%' AND state <> 'active'"
    );
    let server = fleet.on_server("postgres");
    eventually_within("their sessions are ended", REACHED, async || {
        (server.value::<i64>(&left).await == 0).then_some(())
    })
    .await;
    let before = server_log(fleet);
    assert!(before.contains("statement: "), "PostgreSQL's log would tell of statements");
    for (program, ..) in &programs {
        program.signal(Signal::CONT);
    }
    tokio::time::sleep(WATCHED).await;
    let log = server_log(fleet).split_off(before.len());
    for (_, name, point) in &programs {
        let by_it = |line: &&str| line.contains(&format!("freehold:{name}:op_")) && line.contains("statement: ");
        let written: Vec<_> = log.lines().filter(by_it).collect();
        assert!(written.is_empty(), "woken at {}: {written:?}", point.name);
    }
    survivor.stop().await;
}

/// What PostgreSQL has logged so far: the second witness.
fn server_log(fleet: &Fleet) -> String {
    fs::read_to_string::<&Path>(fleet.server_log().as_ref()).unwrap()
}
