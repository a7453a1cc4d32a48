//! A histogram of the program's own `/metrics`, from which quantiles are read as Prometheus does.

use anyhow::Context;

/// How many samples there were up to each bound, in seconds; the last one has none.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// The histogram `name` in a text in Prometheus' format; empty when it has no sample yet.
    pub(crate) fn read(text: &str, name: &str) -> anyhow::Result<Self> {
        let start = format!("{name}_bucket{{");
        let bucket = |line: &str| {
            let (labels, count) = line.rsplit_once(' ')?;
            let (_, bound) = labels.split_once("le=\"")?;
            let bound = bound.trim_end_matches("\"}").replace("+Inf", "inf");
            Some((bound.parse().ok()?, count.parse().ok()?))
        };
        let lines = text.lines().filter(|line| line.starts_with(&start));
        let buckets: Option<Vec<(f64, f64)>> = lines.map(bucket).collect();
        Ok(Self(buckets.with_context(|| format!("{name} is not written as a histogram without labels"))?))
    }

    /// What came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        // All have the same bounds, but for one that had no sample yet and is empty.
        let before = earlier.0.iter().map(|(_, count)| *count).chain(std::iter::repeat(0.0));
        Self(self.0.iter().zip(before).map(|(&(bound, count), before)| (bound, count - before)).collect())
    }

    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// Where this share of the samples ends, in milliseconds, as if they lay evenly within each bucket.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let rank = share * self.count();
        let (mut lower, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below {
                let within = if bound.is_finite() { (bound - lower) * (rank - below) / (count - below) } else { 0.0 };
                return (lower + within) * 1_000.0;
            }
            (lower, below) = (bound, count);
        }
        0.0
    }
}
