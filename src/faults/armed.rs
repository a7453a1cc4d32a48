//! What tests have armed, and what has fired. Only compiled with the feature `crash-points`.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

use crate::{
    error::{Error, Result},
    types::{Invalid, TenantId},
};

/// How long a delayed point takes.
const DELAY: Duration = Duration::from_millis(300);
/// How long a point holds at most.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// A crash point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// The file that it is declared in, as the compiler was given it: `src/operations/…`.
    pub file: &'static str,
}

inventory::collect!(Point);

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// An error, as if something had gone wrong.
    Error,
    /// A panic.
    Panic,
    /// The process kills itself (SIGKILL): nothing is cleaned up.
    Abort,
    /// The process stops itself (SIGSTOP): the zombie that wakes up later.
    Stop,
    /// It takes a while.
    Delay,
    /// The step is done twice. Armed at the point before its effect.
    Twice,
    /// It waits until it is released, half a minute at most.
    Hold,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 7] =
        [Self::Error, Self::Panic, Self::Abort, Self::Stop, Self::Delay, Self::Twice, Self::Hold];
}

impl FromStr for Mode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let modes = ["error", "panic", "abort", "stop", "delay", "twice", "hold"].into_iter().zip(Self::ALL);
        let mut modes = modes.filter(|(name, _)| *name == text);
        modes.next().map(|(_, mode)| mode).ok_or_else(|| Invalid::new("invalid", "is not a mode of a crash point"))
    }
}

/// A point that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fired {
    /// Its name.
    pub point: &'static str,
    /// What happened there.
    pub mode: Mode,
    /// For whom.
    pub tenant: TenantId,
}

struct Armed {
    point: String,
    mode: Mode,
    tenant: Option<TenantId>,
}

static ARMED: Mutex<Vec<Armed>> = Mutex::new(Vec::new());
static FIRED: Mutex<Vec<Fired>> = Mutex::new(Vec::new());
static KINDS: Mutex<Option<BTreeSet<String>>> = Mutex::new(None);
static RELEASED: Mutex<BTreeSet<TenantId>> = Mutex::new(BTreeSet::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of all crash points of this program.
#[must_use]
pub fn points() -> BTreeSet<&'static str> {
    files().into_keys().collect()
}

/// The same, each with the file that it is declared in.
#[must_use]
pub fn files() -> BTreeMap<&'static str, &'static str> {
    inventory::iter::<Point>().map(|point| (point.name, point.file)).collect()
}

/// From now on this process takes up operations of these kinds only: `kind,kind`.
pub fn restrict_to(kinds: &str) {
    *lock(&KINDS) = Some(kinds.split(',').map(str::to_owned).collect());
}

pub(super) fn restricted(mut kinds: Vec<String>) -> Vec<String> {
    if let Some(only) = &*lock(&KINDS) {
        kinds.retain(|kind| only.contains(kind));
    }
    kinds
}

/// Forgets what is armed for the tenant.
pub fn disarm(tenant: TenantId) {
    lock(&ARMED).retain(|armed| armed.tenant != Some(tenant));
}

/// Makes a point fire once, for one tenant or for whoever comes first. To hold a tenant takes back its release.
pub fn arm(point: &str, mode: Mode, tenant: Option<TenantId>) {
    if let (Mode::Hold, Some(tenant)) = (mode, tenant) {
        lock(&RELEASED).remove(&tenant);
    }
    lock(&ARMED).push(Armed { point: point.to_owned(), mode, tenant });
}

/// Arms what `text` names: `point=mode,point=mode`.
///
/// # Errors
/// When it is written otherwise, or names a point that this program does not have.
pub fn arm_from_text(text: &str) -> Result<(), Invalid> {
    let known = points();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let wrong = || Invalid::new("invalid", format!("{item} is not a crash point and its mode"));
        let (point, mode) = item.split_once('=').ok_or_else(wrong)?;
        if !known.contains(point) {
            return Err(wrong());
        }
        arm(point, mode.parse()?, None);
    }
    Ok(())
}

/// Everything that fired so far in this process, in that order.
#[must_use]
pub fn fired() -> Vec<Fired> {
    lock(&FIRED).clone()
}

/// Passes a point: what is armed there for this tenant happens, once.
///
/// # Panics
/// When a test armed it so.
pub async fn hit(point: &'static str, tenant: TenantId) -> Result<()> {
    let Some(mode) = take(point, tenant, |mode| mode != Mode::Twice) else { return Ok(()) };
    tracing::warn!(crash_point = point, crash_mode = ?mode, tenant.id = %tenant, "a crash point fires");
    match mode {
        Mode::Error => Err(Error::defect(format!("the crash point {point} fired"))),
        Mode::Panic => panic!("the crash point {point} fired"),
        Mode::Abort => signal(Signal::KILL),
        Mode::Stop => signal(Signal::STOP),
        Mode::Delay | Mode::Twice => {
            tokio::time::sleep(DELAY).await;
            Ok(())
        }
        Mode::Hold => {
            // Nobody to release it: it goes on by itself.
            let _ = tokio::time::timeout(LONGEST_HOLD, held(tenant)).await;
            Ok(())
        }
    }
}

async fn held(tenant: TenantId) {
    while !lock(&RELEASED).contains(&tenant) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets go on what is held for the tenant, and what will be at points that are armed already.
pub fn release(tenant: TenantId) {
    lock(&RELEASED).insert(tenant);
}

/// Whether the step whose first point this is is to be done twice.
#[must_use]
pub fn repeats(point: &'static str, tenant: TenantId) -> bool {
    take(point, tenant, |mode| mode == Mode::Twice).is_some()
}

fn signal(signal: Signal) -> Result<()> {
    kill_process(getpid(), signal).map_err(Error::internal)
}

fn take(point: &'static str, tenant: TenantId, wanted: impl Fn(Mode) -> bool) -> Option<Mode> {
    let mut armed = lock(&ARMED);
    let fits = |armed: &Armed| {
        armed.point == point && wanted(armed.mode) && armed.tenant.is_none_or(|wanted| wanted == tenant)
    };
    let mode = armed.iter().position(fits).map(|index| armed.remove(index).mode)?;
    lock(&FIRED).push(Fired { point, mode, tenant });
    Some(mode)
}
