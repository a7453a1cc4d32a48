//! Every point outside of the steps: within requests and the janitor's sweeps, in every mode. An error at each in every
//! run; where [`DRAW`] does not take all, panics, delays and deaths at one of the points of each thing.
//!
//! What failed before its transaction was committed is as if it had never been asked for; what failed after it is
//! done. Either way whoever got no answer asks again, and it was done once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use freehold::{
    faults::{self, Fired, Mode},
    types::{Clock, TenantId},
};
use futures::{StreamExt, stream};
use rustix::process::Signal;
use tokio::time::Instant;

use super::{
    StepPoint,
    draw::DRAW,
    is_of_others,
    request::{Request, Target, prepare},
    subject::{PATIENCE, work_off},
    tally::Tally,
};
use crate::{
    harness::{
        actors::{Caller, Operator},
        answer::Answer,
        eventually_within,
        fleet::{self, Fleet},
        programs::{Program, free_addresses},
        unique,
    },
    rotation::server,
};

/// How long a program may take to serve, to reach its point, and to be let go by PostgreSQL.
const REACHED: Duration = Duration::from_mins(1);

/// How long a delayed point takes at least.
const DELAY: Duration = Duration::from_millis(250);

/// How many requests, and programs that are killed in one, there are at a time.
const AT_ONCE: usize = 3;

/// How long a janitor may take to sweep for the first time.
const SWEPT: Duration = Duration::from_secs(5);

/// A point, and whether what it is in was committed before.
#[derive(Clone, Copy, Debug)]
struct Place {
    point: &'static str,
    is_committed: bool,
}

impl Place {
    /// What it is in.
    fn name(&self) -> &'static str {
        self.point.rsplit_once('.').unwrap().0
    }
}

/// The points of what is done outside of steps, by its name.
fn places() -> BTreeMap<&'static str, Vec<Place>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    let is_outside = |point: &&'static str| StepPoint::parse(point).is_none() && !is_of_others(point);
    for point in faults::points().into_iter().filter(is_outside) {
        let (name, place) = point.rsplit_once('.').unwrap();
        places.entry(name).or_default().push(Place { point, is_committed: place == "after_commit" });
    }
    places
}

fn all_in(modes: &[Mode]) -> Vec<(Place, Mode)> {
    let places = places().into_values().flatten();
    places.flat_map(|place| modes.iter().map(move |mode| (place, *mode))).collect()
}

/// One of the places of each thing, where [`DRAW`] does not take all.
fn drawn(mode: Mode) -> Vec<(Place, Mode)> {
    let of_one = |(name, places): (&str, Vec<Place>)| {
        if DRAW.takes_all(places.iter().map(|place| place.point)) {
            places
        } else {
            vec![*DRAW.one(&format!("{mode:?} {name}"), &places)]
        }
    };
    places().into_iter().flat_map(of_one).map(|place| (place, mode)).collect()
}

fn tally(cases: &[(Place, Mode)]) -> Tally {
    Tally::of(cases.iter().map(|(place, mode)| (place.point, *mode)))
}

/// What the places are in, in their order, and what each can be asked of.
async fn targets(fleet: &Fleet, cases: &[(Place, Mode)]) -> Vec<(&'static Request, Target)> {
    let requests: Vec<_> = cases.iter().map(|(place, _)| Request::of(place.name())).collect();
    let targets = prepare(fleet, &requests).await;
    requests.into_iter().zip(targets).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_in_a_request_is_done_wholly_or_not_at_all() {
    let fleet = fleet::idle().await;
    let cases: Vec<_> =
        all_in(&[Mode::Error]).into_iter().chain(drawn(Mode::Panic)).chain(drawn(Mode::Delay)).collect();
    let mut tally = tally(&cases);
    let targets = targets(&fleet, &cases).await;
    for_each(&targets, &cases, |what, case| meet(&fleet, what, case)).await;
    for (place, mode) in &cases {
        tally.hit((place.point, *mode));
    }
    server::restore(&fleet).await;
    work_off(&fleet).await;
    fleet.assert_clean().await;
    tally.judge("in requests and sweeps");
}

/// Does something about each of them, several at a time where they do not get into each other's way.
async fn for_each<'a, F: Future<Output = ()>>(
    targets: &'a [(&'static Request, Target)],
    cases: &[(Place, Mode)],
    act: impl Fn(&'a (&'static Request, Target), (Place, Mode)) -> F,
) {
    let both = targets.iter().zip(cases.iter().copied());
    let (solitary, others): (Vec<_>, Vec<_>) = both.partition(|((request, _), _)| request.is_solitary());
    let others = stream::iter(others).for_each_concurrent(AT_ONCE, |(what, case)| act(what, case));
    let solitary = stream::iter(solitary).for_each(|(what, case)| act(what, case));
    tokio::join!(others, solitary);
}

/// Asks once while the point is armed, and again.
async fn meet(fleet: &Fleet, (request, target): &(&'static Request, Target), (place, mode): (Place, Mode)) {
    if target.id.is_none() {
        // Nobody knows the id yet that the point would be armed for: in this process others could come to it.
        let (_program, operator) = serve(fleet, (place.point, mode)).await;
        fail(fleet, &operator, (request, target), (place, mode)).await;
        return repeat(fleet, request, target).await;
    }
    faults::arm(place.point, mode, Some(tenant(target)));
    fail(fleet, &fleet.operator(), (request, target), (place, mode)).await;
    repeat(fleet, request, target).await;
    let is_it = |fired: &Fired| (fired.point, fired.mode, fired.tenant) == (place.point, mode, tenant(target));
    assert!(faults::fired().iter().any(is_it), "{place:?} {mode:?} was not passed");
}

/// The tenant, or the server in its stead, as points know it.
fn tenant(target: &Target) -> TenantId {
    TenantId::from_uuid(target.uuid().parse().unwrap())
}

/// Asks once, and looks at what became of it.
async fn fail(
    fleet: &Fleet,
    operator: &Operator,
    (request, target): (&Request, &Target),
    (place, mode): (Place, Mode),
) {
    if request.is_chore() {
        return;
    }
    let before = request.effects(fleet, target).await;
    let began = Instant::now();
    let answer = Answer::to(request.to(operator, target)).await;
    assert_eq!(answer.status() >= 500, mode != Mode::Delay, "{place:?} {mode:?}: {}", answer.text());
    assert!(mode != Mode::Delay || began.elapsed() >= DELAY, "{place:?}: answered in {:?}", began.elapsed());
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
            409 | 503 if Instant::now() < deadline && answer.retry_after().is_some() => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
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
    let cases = drawn(Mode::Abort);
    let mut tally = tally(&cases);
    let targets = targets(&fleet, &cases).await;
    for_each(&targets, &cases, |what, (place, _)| die(&fleet, what, place)).await;
    for (place, mode) in &cases {
        tally.hit((place.point, *mode));
    }
    server::restore(&fleet).await;
    work_off(&fleet).await;
    fleet.assert_clean().await;
    tally.judge("programs that killed themselves in requests and sweeps");
}

async fn die(fleet: &Fleet, (request, target): &(&'static Request, Target), place: Place) {
    let before = request.effects(fleet, target).await;
    let (mut dying, _) = bring(fleet, (place.point, Mode::Abort), request, target).await;
    assert_eq!(dying.ended(REACHED).await.signal(), Some(9), "{place:?}");
    if request.is_chore() {
        faults::disarm(tenant(target));
    }
    let done = request.effects(fleet, target).await - before;
    assert_eq!(done, i64::from(place.is_committed), "{place:?}");
    repeat(fleet, request, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./ops/test --soak"]
async fn a_program_that_stops_itself_in_a_request_keeps_nobody_up_and_writes_nothing_when_it_wakes() {
    let fleet = fleet::idle().await;
    let cases = all_in(&[Mode::Stop]);
    let mut tally = tally(&cases);
    for ((request, target), (place, _)) in targets(&fleet, &cases).await.iter().zip(&cases) {
        let before = request.effects(&fleet, target).await;
        let (stopped, client) = bring(&fleet, (place.point, Mode::Stop), request, target).await;
        let what = format!("a program stops at {}", place.point);
        eventually_within(&what, REACHED, async || stopped.is_stopped().then_some(())).await;
        if request.is_chore() {
            faults::disarm(tenant(target));
        }
        client.store(true, Ordering::Relaxed);
        if request.name == "server.rotate_credentials" {
            // It has the lock and goes on with what it began: what comes after it waits.
            stopped.signal(Signal::CONT);
            let is_done = async || (request.effects(&fleet, target).await > before).then_some(());
            eventually_within("it is done", REACHED, is_done).await;
        }
        repeat(&fleet, request, target).await;
        let after = request.effects(&fleet, target).await;
        stopped.signal(Signal::CONT);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(request.effects(&fleet, target).await, after, "woken at {place:?}");
        tally.hit((place.point, Mode::Stop));
    }
    server::restore(&fleet).await;
    work_off(&fleet).await;
    fleet.assert_clean().await;
    tally.judge("programs that stopped themselves in requests and sweeps");
}

/// A program that does not take up operations and comes to an armed point: asked for what leads there, or when it
/// sweeps for the first time. Nobody waits for its answer: none comes. With what tells its client to ask no more.
async fn bring(fleet: &Fleet, armed: (&str, Mode), request: &Request, target: &Target) -> (Program, Arc<AtomicBool>) {
    let is_enough = Arc::new(AtomicBool::new(false));
    if request.is_chore() {
        // The janitor of this process is kept from it, more often than it sweeps until the other program does, however
        // busy the machine is.
        for _ in 0..2_000 {
            faults::arm(&format!("{}.before_commit", request.name), Mode::Error, Some(tenant(target)));
        }
        request.make_due(fleet, target).await;
        return (start(fleet, armed, true).0, is_enough);
    }
    let (program, operator) = serve(fleet, armed).await;
    tokio::spawn(insist(request.to(&operator, target), Arc::clone(&is_enough)));
    (program, is_enough)
}

/// Sends the request until it is not told to come again: on a machine that has much to do, a program that has just begun
/// may not get a connection in time, and would never come to its point.
async fn insist(request: reqwest::RequestBuilder, is_enough: Arc<AtomicBool>) {
    for _ in 0..20 {
        let answer = request.try_clone().unwrap().send().await;
        // One that has ended answers nothing, and its address may be another one's by now.
        if is_enough.load(Ordering::Relaxed) || !answer.is_ok_and(|answer| answer.status() == 503) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A program with a point armed that serves operators and does nothing by itself.
async fn serve(fleet: &Fleet, armed: (&str, Mode)) -> (Program, Operator) {
    let (program, address) = start(fleet, armed, false);
    let caller = Caller::new(address, address.to_string()).with(fleet.operator().bearer());
    eventually_within("the replica is ready", REACHED, async || {
        let answer = caller.request(reqwest::Method::GET, "/health/ready").send().await;
        answer.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    (program, caller.into())
}

/// A program with a point armed, with a janitor or without one, and where its operators reach it.
fn start(fleet: &Fleet, (point, mode): (&str, Mode), has_janitor: bool) -> (Program, SocketAddr) {
    let (name, armed) = (unique("mortal"), format!("{point}={}", format!("{mode:?}").to_lowercase()));
    let (public, admin) = free_addresses();
    let changes = [
        ("FREEHOLD_PUBLIC_LISTEN", &*public),
        ("FREEHOLD_ADMIN_LISTEN", &*admin),
        ("FREEHOLD_REPLICA", &name),
        ("FREEHOLD_JANITOR", if has_janitor { "true" } else { "false" }),
        ("CRASH_POINTS", &armed),
    ];
    let program = Program::start(fleet.folder(), &name, &["serve"], &fleet.settings_with(&changes));
    (program, admin.parse().unwrap())
}
