//! What the run says in the end.

use std::{io::Write, time::Duration};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::stage::Stage;

/// What the full path must reach of what the bare server does.
const GOAL: f64 = 0.6;

/// How results are printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The program's build; only `release` says something about Freehold.
    build: &'static str,
    /// The version of the servers.
    postgres: String,
    connections: usize,
    acts: Vec<Figures>,
    /// The full path against the bare server, and what that must be at least.
    ratio: f64,
    at_least: f64,
    is_met: bool,
}

/// What one of those who take turns did: medians over its turns.
#[derive(Debug, Serialize)]
struct Figures {
    what: &'static str,
    per_second: f64,
    /// Against the bare server in the same round.
    ratio: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Report {
    /// `turns` are those of each act, in the order of the stage: how long each answer took.
    pub(crate) fn of(stage: &Stage, connections: usize, turn: Duration, turns: Vec<Vec<Vec<Duration>>>) -> Self {
        let counts = |turns: &[Vec<Duration>]| turns.iter().map(|turn| count(turn.len())).collect::<Vec<_>>();
        let bare = turns.first().map(|turns| counts(turns)).unwrap_or_default();
        let figures = |(act, turns): (&crate::stage::Act, Vec<Vec<Duration>>)| {
            let counts = counts(&turns);
            let mut took: Vec<f64> = turns.iter().flatten().map(|took| took.as_secs_f64() * 1_000.0).collect();
            took.sort_by(f64::total_cmp);
            Figures {
                what: act.what,
                per_second: median(counts.iter().map(|count| count / turn.as_secs_f64())),
                ratio: median(counts.iter().zip(&bare).map(|(count, bare)| count / bare)),
                p50_ms: quantile(&took, 50),
                p99_ms: quantile(&took, 99),
            }
        };
        let acts: Vec<Figures> = stage.acts.iter().zip(turns).map(figures).collect();
        let ratio = acts.get(1).map_or(0.0, |full| full.ratio);
        let (build, postgres) = (if cfg!(debug_assertions) { "dev" } else { "release" }, stage.postgres.clone());
        Self { build, postgres, connections, acts, ratio, at_least: GOAL, is_met: ratio >= GOAL }
    }

    /// Whether the goal is reached.
    pub(crate) fn is_met(&self) -> bool {
        self.is_met
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(self)?)?,
            Format::Table => {
                writeln!(
                    out,
                    "{} build, PostgreSQL {}, {} connections\n",
                    self.build, self.postgres, self.connections
                )?;
                let verdict = if self.is_met { "met" } else { "MISSED" };
                writeln!(out, "{}\n", self.figures())?;
                writeln!(out, "full path / bare: {:.2}, must be ≥ {:.2}: {verdict}", self.ratio, self.at_least)?;
            }
        }
        Ok(())
    }

    fn figures(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["", "per s", "of bare", "p50 ms", "p99 ms"]);
        for figures in &self.acts {
            let Figures { per_second, ratio, p50_ms, p99_ms, .. } = figures;
            let numbers =
                [format!("{per_second:.0}"), format!("{ratio:.2}"), format!("{p50_ms:.2}"), format!("{p99_ms:.2}")];
            let numbers = numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right));
            table.add_row([Cell::new(figures.what)].into_iter().chain(numbers));
        }
        table
    }
}

fn count(answers: usize) -> f64 {
    f64::from(u32::try_from(answers).unwrap_or(u32::MAX))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 50)
}

/// The smallest of the sorted `values` that so many percent of them do not exceed.
fn quantile(values: &[f64], percent: usize) -> f64 {
    let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(rank).copied().unwrap_or(0.0)
}
