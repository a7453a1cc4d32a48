//! What was hit, held against what there is to hit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
};

use freehold::faults::Mode;

/// Which point is to be hit in which mode.
pub(super) type Case = (&'static str, Mode);

/// Counts hits.
#[derive(Default)]
pub(super) struct Tally {
    wanted: BTreeSet<Case>,
    hit: BTreeMap<Case, usize>,
}

impl Tally {
    /// Everything that has to be hit.
    pub(super) fn of(wanted: impl IntoIterator<Item = Case>) -> Self {
        Self { wanted: wanted.into_iter().collect(), hit: BTreeMap::new() }
    }

    /// Counts a hit.
    pub(super) fn hit(&mut self, case: Case) {
        *self.hit.entry(case).or_default() += 1;
    }

    /// Prints points × modes and hits by kind, and fails when one was never hit.
    pub(super) fn judge(&self, title: &str) {
        let mut kinds = BTreeMap::<&str, (BTreeSet<&str>, BTreeSet<Mode>, usize, usize)>::new();
        for case @ (point, mode) in &self.wanted {
            let kind: usize = point.match_indices('.').nth(1).map_or(point.len(), |(at, _)| at);
            let row = kinds.entry(&point[..kind]).or_default();
            row.0.insert(point);
            row.1.insert(*mode);
            row.2 += 1;
            row.3 += usize::from(self.hit.contains_key(case));
        }
        let mut text = format!("\ncrash points, {title}\n  {:<32} points modes wanted   hit\n", "operation");
        for (kind, (points, modes, wanted, hit)) in &kinds {
            writeln!(text, "  {kind:<32} {:>6} {:>5} {wanted:>6} {hit:>5}", points.len(), modes.len()).unwrap();
        }
        let missed: Vec<_> = self.wanted.iter().filter(|case| !self.hit.contains_key(case)).collect();
        let hit = self.wanted.len() - missed.len();
        let all = self.wanted.len();
        writeln!(text, "  {hit} of {all} hit: {} %", 100 * hit / all.max(1)).unwrap();
        // Not captured: whoever runs the suite sees what was gone through.
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        assert!(missed.is_empty(), "never hit: {missed:?}");
    }
}
