//! Which places a run goes through: all of them, or some that a seed draws.
//!
//! Everything is gone through with `./ops/test --soak`, where the engine has changed, and, of a kind of operation, where
//! the file has changed that its steps are listed in. Otherwise one place is drawn for each step. As many successive seeds
//! as there are places draw each of them once. The seed is the time, is told, and can be given again:
//! `FREEHOLD_TEST_SEED=… ./ops/test`.
//!
//! A file has changed when it differs from the base:
//!
//! | the checkout | its base |
//! |---|---|
//! | has commits that `main` lacks | where it left `main` |
//! | is at `main`, as in CI | what `main` was a day before its newest commit |
//! | anything, with `FREEHOLD_TEST_BASE` set | that commit |

use std::{collections::BTreeSet, env, io::Write as _, process::Command, sync::LazyLock};

use freehold::{faults, types::Clock};

const DAY: i64 = 24 * 60 * 60;

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
    let now = || u64::try_from(Clock::default().now().timestamp()).unwrap();
    let draw = Draw::new(given.unwrap_or_else(now), is_soak(), changed());
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
        self.takes_all || points.into_iter().any(|point| self.changed.contains(files[point]))
    }

    /// One of these, for `what`.
    pub(super) fn one<'a, T>(&self, what: &str, of: &'a [T]) -> &'a T {
        // So that not all steps have their turn at the same place.
        let shift = what.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let choices = u64::try_from(of.len()).unwrap();
        &of[usize::try_from((self.seed % choices + shift % choices) % choices).unwrap()]
    }
}

/// Whether this is a long run.
pub(super) fn is_soak() -> bool {
    env::var_os("FREEHOLD_TEST_SOAK").is_some()
}

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
    if left != head {
        return Some(left);
    }
    let newest: i64 = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?.parse().ok()?;
    let before = format!("--before={}", newest - DAY);
    git(&["rev-list", "--max-count=1", "--first-parent", &before, "HEAD"]).filter(|commit| !commit.is_empty())
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
    assert!(of(&["src/operations/engine/claims.rs"]).takes_all([make]));
    assert!(Draw::new(1, true, BTreeSet::new()).takes_all([make]));
}
