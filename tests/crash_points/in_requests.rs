//! Every point outside of the steps: within requests and the janitor's sweeps, in every mode.
//!
//! What failed before its transaction was committed is as if it had never been asked for; what failed after it is
//! done. Either way whoever got no answer asks again, and it was done once.

use std::{collections::BTreeMap, net::SocketAddr, os::unix::process::ExitStatusExt, time::Duration};

use freehold::{
    faults::{self, Mode},
    types::{Clock, TenantId},
};
use rustix::process::Signal;
use tokio::time::Instant;

use super::{
    StepPoint,
    request::{Request, Target},
    subject::{PATIENCE, work_off},
    tally::Tally,
};
use crate::{
    harness::{
        actors::Caller,
        answer::Answer,
        fleet::{self, Fleet},
        unique,
    },
    process::{Program, eventually, free_addresses},
    rotation::server,
};

/// How long a program may take to serve, to reach its point, and to be let go by PostgreSQL.
const REACHED: Duration = Duration::from_mins(1);

/// How long a janitor may take to sweep for the first time.
const SWEPT: Duration = Duration::from_secs(5);

/// A point, and whether what it is in was committed before.
#[derive(Clone, Copy, Debug)]
struct Place {
    point: &'static str,
    is_committed: bool,
}

/// The points of what is done outside of steps, by its name.
fn places() -> BTreeMap<&'static str, Vec<Place>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for point in faults::points().into_iter().filter(|point| StepPoint::parse(point).is_none()) {
        let (name, place) = point.rsplit_once('.').unwrap();
        places.entry(name).or_default().push(Place { point, is_committed: place == "after_commit" });
    }
    places
}

fn all_in(modes: &[Mode]) -> Tally {
    let points: Vec<_> = places().into_values().flatten().map(|place| place.point).collect();
    Tally::of(points.into_iter().flat_map(|point| modes.iter().map(move |mode| (point, *mode))))
}

#[tokio::test]
async fn what_fails_in_a_request_is_done_wholly_or_not_at_all() {
    let fleet = fleet::idle().await;
    let modes = [Mode::Error, Mode::Panic, Mode::Delay];
    let mut tally = all_in(&modes);
    for (name, places) in places() {
        let request = Request::of(name);
        let mut targets = request.prepare(&fleet, places.len() * modes.len()).await;
        for (place, mode) in places.iter().flat_map(|place| modes.map(|mode| (place, mode))) {
            let target = targets.pop().unwrap();
            faults::arm(place.point, mode, target.id.as_ref().map(|_| tenant(&target)));
            fail(&fleet, request, &target, *place, mode).await;
            repeat(&fleet, request, &target).await;
            let fired = faults::fired().into_iter().any(|fired| (fired.point, fired.mode) == (place.point, mode));
            assert!(fired, "{place:?} {mode:?} was not passed");
            tally.hit((place.point, mode));
        }
    }
    server::restore(&fleet).await;
    work_off(&fleet).await;
    fleet.assert_clean().await;
    tally.judge("in requests and sweeps");
}

/// The tenant, or the server in its stead, as points know it.
fn tenant(target: &Target) -> TenantId {
    TenantId::from_uuid(target.uuid().parse().unwrap())
}

/// Asks once, and looks at what became of it.
async fn fail(fleet: &Fleet, request: &Request, target: &Target, place: Place, mode: Mode) {
    if request.is_chore() {
        return;
    }
    let before = request.effects(fleet, target).await;
    let answer = Answer::to(request.to(&fleet.operator(), target)).await;
    assert_eq!(answer.status() >= 500, mode != Mode::Delay, "{place:?} {mode:?}: {}", answer.text());
    let expected = i64::from(place.is_committed || mode == Mode::Delay);
    assert_eq!(request.effects(fleet, target).await, before + expected, "{place:?} {mode:?}");
}

/// Has janitors sweep until it is done. One sweeps when it begins: nobody has to wait for the next time.
async fn sweep(fleet: &Fleet, request: &Request, target: &Target) {
    let deadline = Instant::now() + PATIENCE;
    if request.effects(fleet, target).await == 0 {
        request.make_due(fleet, target).await;
    }
    let fired = || faults::fired().iter().filter(|fired| fired.tenant == tenant(target)).count();
    while request.effects(fleet, target).await == 0 {
        assert!(Instant::now() < deadline, "{}: nobody does what is due", request.name);
        let _janitor = fleet.another_replica(&[("FREEHOLD_REPLICA", &unique("janitor"))], Clock::default()).await;
        let (before, swept) = (fired(), Instant::now() + SWEPT);
        while request.effects(fleet, target).await == 0 && fired() == before && Instant::now() < swept {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Asks until it is answered, and sees that it was done once; twice when that is what asking again means.
async fn repeat(fleet: &Fleet, request: &Request, target: &Target) {
    let deadline = Instant::now() + PATIENCE;
    if request.is_chore() {
        return sweep(fleet, request, target).await;
    }
    let before = request.effects(fleet, target).await;
    loop {
        let answer = Answer::to(request.to(&fleet.operator(), target)).await;
        match answer.status() {
            200..300 => break,
            // It is under way, since the first time.
            409 if before == 1 && answer.json()["code"] == "operation_in_progress" => break,
            // What a program that died or stopped holds is let go when PostgreSQL finds out.
            503 if Instant::now() < deadline => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => panic!("{}: {}", request.name, answer.text()),
        }
    }
    let after = request.effects(fleet, target).await;
    let expected = if request.repeats { before + 1 } else { 1 };
    assert_eq!(after, expected, "{}: {target:?}", request.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_kills_itself_in_a_request_has_done_it_wholly_or_not_at_all() {
    let fleet = fleet::idle().await;
    let mut tally = all_in(&[Mode::Abort]);
    for (name, places) in places() {
        let request = Request::of(name);
        let targets = request.prepare(&fleet, places.len()).await;
        for (place, target) in places.into_iter().zip(&targets) {
            let before = request.effects(&fleet, target).await;
            let mut dying = bring(&fleet, (place.point, "abort"), request, target).await;
            assert_eq!(dying.ended(REACHED).await.signal(), Some(9), "{place:?}");
            if request.is_chore() {
                faults::disarm(tenant(target));
            }
            let done = request.effects(&fleet, target).await - before;
            assert_eq!(done, i64::from(place.is_committed), "{place:?}");
            repeat(&fleet, request, target).await;
            tally.hit((place.point, Mode::Abort));
        }
    }
    server::restore(&fleet).await;
    work_off(&fleet).await;
    fleet.assert_clean().await;
    tally.judge("programs that killed themselves in requests and sweeps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./ops/test --soak"]
async fn a_program_that_stops_itself_in_a_request_keeps_nobody_up_and_writes_nothing_when_it_wakes() {
    let fleet = fleet::idle().await;
    let mut tally = all_in(&[Mode::Stop]);
    for (name, places) in places() {
        let request = Request::of(name);
        let targets = request.prepare(&fleet, places.len()).await;
        for (place, target) in places.into_iter().zip(&targets) {
            let before = request.effects(&fleet, target).await;
            let stopped = bring(&fleet, (place.point, "stop"), request, target).await;
            let what = format!("a program stops at {}", place.point);
            eventually(&what, REACHED, async || stopped.is_stopped().then_some(())).await;
            if request.is_chore() {
                faults::disarm(tenant(target));
            }
            if name == "server.rotate_credentials" {
                // It has the lock and goes on with what it began: what comes after it waits.
                stopped.signal(Signal::CONT);
                let is_done = async || (request.effects(&fleet, target).await > before).then_some(());
                eventually("it is done", REACHED, is_done).await;
            }
            repeat(&fleet, request, target).await;
            let after = request.effects(&fleet, target).await;
            stopped.signal(Signal::CONT);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(request.effects(&fleet, target).await, after, "woken at {place:?}");
            tally.hit((place.point, Mode::Stop));
        }
    }
    server::restore(&fleet).await;
    work_off(&fleet).await;
    fleet.assert_clean().await;
    tally.judge("programs that stopped themselves in requests and sweeps");
}

/// A program that does not take up operations and comes to an armed point: asked for what leads there, or when it
/// sweeps for the first time. Nobody waits for its answer: none comes.
async fn bring(fleet: &Fleet, armed: (&str, &str), request: &Request, target: &Target) -> Program {
    if request.is_chore() {
        // The janitor of this process is kept from it, more often than that one sweeps meanwhile.
        for _ in 0..100 {
            faults::arm(&format!("{}.before_commit", request.name), Mode::Error, Some(tenant(target)));
        }
        request.make_due(fleet, target).await;
        return start(fleet, armed).0;
    }
    let (program, address) = start(fleet, armed);
    let caller = Caller::new(address, address.to_string()).with(fleet.operator().bearer());
    eventually("the replica is ready", REACHED, async || {
        let answer = caller.request(reqwest::Method::GET, "/health/ready").send().await;
        answer.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    let request = request.to(&caller.into(), target);
    tokio::spawn(async move { request.send().await.map(drop) });
    program
}

/// A program with a point armed, and where its operators reach it.
fn start(fleet: &Fleet, (point, mode): (&str, &str)) -> (Program, SocketAddr) {
    let (name, armed) = (unique("mortal"), format!("{point}={mode}"));
    let (public, admin) = free_addresses();
    let changes = [
        ("FREEHOLD_PUBLIC_LISTEN", &*public),
        ("FREEHOLD_ADMIN_LISTEN", &*admin),
        ("FREEHOLD_REPLICA", &name),
        ("CRASH_POINTS", &armed),
    ];
    let program = Program::start(fleet.folder(), &name, &["serve"], &fleet.settings_with(&changes));
    (program, admin.parse().unwrap())
}
