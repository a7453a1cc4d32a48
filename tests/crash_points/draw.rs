//! Which places a run goes through: all of them, or some that a seed draws.
//!
//! Everything is gone through with `./ops/test --soak`, where the engine has changed, and, of a kind of operation, where
//! a file has changed that its steps are in: the one that lists them, and what that uses in the [`ROOMS`] of steps.
//! Otherwise one place is drawn for each step. As many successive seeds as there are places draw each of them once. The
//! seed is random, is told, and can be given again: `FREEHOLD_TEST_SEED=… ./ops/test`.
//!
//! A file has changed when it differs from the base:
//!
//! | the checkout | its base |
//! |---|---|
//! | has commits that `main` lacks | where it left `main` |
//! | is at `main`, as in CI | none: nothing has changed |
//! | anything, with `FREEHOLD_TEST_BASE` set | that commit |

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use freehold::{faults, types::Random};

use crate::{
    harness::is_soak,
    layering::{files_of, paths_from},
};

/// Where steps are written, and what they share.
const ROOMS: [&str; 3] = ["fleet", "schema", "tenants"];
const OPERATIONS: &str = "src/operations";

/// What every operation runs through, and what tests it: a change there has everything gone through.
const COMMON: [&str; 6] = [
    "src/operations/engine",
    "src/operations/kinds.rs",
    "src/control/operation",
    "src/servers/lock",
    "src/faults",
    "tests/crash_points/",
];

/// What this run goes through.
pub(super) static DRAW: LazyLock<Draw> = LazyLock::new(|| {
    let given = env::var_os("FREEHOLD_TEST_SEED");
    let given = given.map(|seed| seed.to_str().unwrap().parse().expect("FREEHOLD_TEST_SEED is a number"));
    // Not the time: runs that begin at whole minutes would all draw the same place of three.
    let random = || u64::from(u32::from_be_bytes(Random.bytes()));
    let draw = Draw::new(given.unwrap_or_else(random), is_soak(), changed());
    // Not captured: whoever runs the suite can run it again.
    let seed = draw.seed;
    let _ = writeln!(std::io::stderr(), "what the crash points draw is repeated by FREEHOLD_TEST_SEED={seed}");
    draw
});

/// A seed, and what it does not decide.
#[derive(Debug)]
pub(super) struct Draw {
    seed: u64,
    takes_all: bool,
    changed: BTreeSet<String>,
}

impl Draw {
    fn new(seed: u64, is_soak: bool, changed: BTreeSet<String>) -> Self {
        let is_common = |file: &String| COMMON.iter().any(|common| file.starts_with(common));
        Self { seed, takes_all: is_soak || changed.iter().any(is_common), changed }
    }

    /// Whether everything is gone through of what has these crash points.
    pub(super) fn takes_all(&self, points: impl IntoIterator<Item = &'static str>) -> bool {
        let files = faults::files();
        self.takes_all || points.into_iter().any(|point| !self.changed.is_disjoint(&step_files(files[point])))
    }

    /// One of these, for `what`.
    pub(super) fn one<'a, T>(&self, what: &str, of: &'a [T]) -> &'a T {
        // So that not all steps have their turn at the same place.
        let shift = what.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let choices = u64::try_from(of.len()).unwrap();
        &of[usize::try_from((self.seed % choices + shift % choices) % choices).unwrap()]
    }
}

/// A module right below a room: `("tenants", "archive")`. It is a file or a folder.
type Module = (String, String);

fn operations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(OPERATIONS)
}

/// The files that the steps listed in `file` are written in: that one, and what it uses of [`ROOMS`], directly or through
/// others.
fn step_files(file: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::from([file.to_owned()]);
    let (mut left, mut seen) = (module_of(file).into_iter().collect::<Vec<_>>(), BTreeSet::new());
    while let Some(module) = left.pop() {
        if seen.insert(module.clone()) {
            let written = &MODULES[&module];
            files.extend(written.files.iter().cloned());
            left.extend(written.uses.iter().cloned());
        }
    }
    files
}

/// The module of [`ROOMS`] that the file belongs to.
fn module_of(file: &str) -> Option<Module> {
    let (room, rest) = file.strip_prefix(OPERATIONS)?.strip_prefix('/')?.split_once('/')?;
    let name = rest.split(['/', '.']).next()?;
    let module = (room.to_owned(), name.to_owned());
    MODULES.contains_key(&module).then_some(module)
}

/// What a module is written in.
#[derive(Default)]
struct Written {
    files: BTreeSet<String>,
    /// The modules of [`ROOMS`] that it uses.
    uses: BTreeSet<Module>,
}

/// All modules of [`ROOMS`].
static MODULES: LazyLock<BTreeMap<Module, Written>> = LazyLock::new(|| {
    let mut modules = BTreeMap::<Module, Written>::new();
    for room in ROOMS {
        for entry in fs::read_dir(operations().join(room)).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            modules.entry((room.to_owned(), name)).or_default();
        }
    }
    let names: BTreeSet<Module> = modules.keys().cloned().collect();
    for ((room, name), Written { files, uses }) in &mut modules {
        for path in files_of(&operations().join(room), name) {
            let relative = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
            files.insert(relative.to_str().unwrap().to_owned());
            let text = fs::read_to_string(&path).unwrap();
            let absolute = paths_from(&text, "crate::").into_iter().filter(|path| path[0] == "operations");
            uses.extend(absolute.filter_map(|path| Some((path.get(1)?.clone(), path.get(2)?.clone()))));
            // However far `super` leads: whatever of the room is called so.
            let relative = paths_from(&text, "super::").into_iter().flatten();
            uses.extend(relative.map(|word| (room.clone(), word)));
        }
        uses.retain(|module| names.contains(module) && module.1 != "mod");
    }
    modules
});

/// The files that differ from the base; none where that is not known, as in a copy without history.
fn changed() -> BTreeSet<String> {
    let given = env::var_os("FREEHOLD_TEST_BASE").map(|base| base.into_string().unwrap());
    let Some(base) = given.or_else(usual_base) else { return BTreeSet::new() };
    let listed = [git(&["diff", "--name-only", &base]), git(&["ls-files", "--others", "--exclude-standard"])];
    listed.into_iter().flatten().flat_map(|files| files.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn usual_base() -> Option<String> {
    let head = git(&["rev-parse", "HEAD"])?;
    let left = ["origin/main", "main"].into_iter().find_map(|main| git(&["merge-base", "HEAD", main]))?;
    (left != head).then_some(left)
}

/// What git answers to this question, without the line's end; nothing where it cannot.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let answer = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(answer.trim_end().to_owned())
}

#[test]
fn successive_seeds_draw_every_place_and_what_has_changed_is_gone_through_whole() {
    let places = ["before_effect", "after_effect", "after_record"];
    for what in ["tenant.erase.drop_role", "tenant.erase.drop_database", "tenant.clone.copy_database.undo"] {
        for first in [0, 17, u64::MAX - 5] {
            let drawn: BTreeSet<_> =
                (first..first + 3).map(|seed| *Draw::new(seed, false, BTreeSet::new()).one(what, &places)).collect();
            assert_eq!(drawn.len(), places.len(), "{what} from {first}: {drawn:?}");
        }
    }
    let (erase, make) = ("tenant.erase.drop_role.before_effect", "warm.make.create_role.before_effect");
    let of = |changed: &[&str]| Draw::new(1, false, changed.iter().map(|&file| file.to_owned()).collect());
    let file = faults::files()[erase];
    assert!(file.starts_with("src/operations/"), "{file}");
    assert!(!of(&["src/http/router.rs"]).takes_all([erase, make]));
    assert!(of(&[file]).takes_all([erase]));
    assert!(!of(&[file]).takes_all([make]));
    // What the steps of a kind are made with counts for that kind, however far from the list of its steps.
    let point = |name: &'static str| *faults::files().keys().find(|point| point.starts_with(name)).unwrap();
    let (archive, restore) = (point("tenant.archive.rehearse."), point("tenant.restore.restore_database."));
    let provision = point("tenant.provision.");
    for (changed, expected) in [
        ("src/operations/tenants/rehearsal.rs", [true, false, false]),
        ("src/operations/tenants/transfer.rs", [true, true, false]),
        ("src/operations/tenants/restoring.rs", [true, true, false]),
        ("src/operations/tenants/provision/first_admin.rs", [false, false, true]),
        ("src/operations/fleet/provisioning_steps.rs", [true, true, true]),
        ("src/operations/fleet/placement.rs", [false, false, true]),
        ("src/operations/schema/template.rs", [true, true, true]),
    ] {
        let taken = [archive, restore, provision].map(|point| of(&[changed]).takes_all([point]));
        assert_eq!(taken, expected, "{changed}");
    }
    assert!(of(&["src/operations/engine/claims.rs"]).takes_all([make]));
    assert!(Draw::new(1, true, BTreeSet::new()).takes_all([make]));
}
