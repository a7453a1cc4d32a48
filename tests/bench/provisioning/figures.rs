//! What was measured, and what it is held against.

use std::time::Duration;

use serde::Serialize;

/// How long the same thing took, many times.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    /// What was done.
    pub(crate) what: &'static str,
    pub(crate) count: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// How many a second, where many were made as fast as possible.
    pub(crate) per_second: Option<f64>,
    /// What did not succeed.
    pub(crate) failures: usize,
}

impl Series {
    pub(crate) fn of(what: &'static str, mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |share| quantile(&took, share).as_secs_f64() * 1_000.0;
        Self { what, count: took.len(), p50_ms: at(0.5), p99_ms: at(0.99), per_second: None, failures: 0 }
    }

    /// The same, all of which together took `elapsed`.
    pub(crate) fn within(mut self, elapsed: Duration) -> Self {
        self.per_second = u32::try_from(self.count).ok().map(|count| f64::from(count) / elapsed.as_secs_f64());
        self
    }

    pub(crate) fn failing(self, failures: usize) -> Self {
        Self { failures, ..self }
    }
}

/// The smallest of the sorted `values` that this share of them does not exceed.
fn quantile(values: &[Duration], share: f64) -> Duration {
    let shares = (1_u32..).zip(values);
    let count = f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX));
    shares.into_iter().find(|(rank, _)| f64::from(*rank) >= share * count).map_or(Duration::ZERO, |(_, value)| *value)
}

/// What must be reached.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    /// What is meant, with its unit.
    pub(crate) what: &'static str,
    pub(crate) measured: f64,
    #[serde(flatten)]
    pub(crate) bound: Bound,
    pub(crate) is_met: bool,
}

/// From where on it is reached.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn new(what: &'static str, measured: f64, bound: Bound) -> Self {
        let is_met = match bound {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
        };
        Self { what, measured, bound, is_met }
    }
}
