//! What the run says in the end.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::figures::{Bound, Goal, Series};

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
    pub(crate) build: &'static str,
    /// The version of the servers.
    pub(crate) postgres: String,
    /// How many requests were told to come again, with a `Retry-After`, and did.
    pub(crate) asked_again: usize,
    pub(crate) series: Vec<Series>,
    pub(crate) goals: Vec<Goal>,
}

impl Report {
    /// Whether every goal is reached and nothing has failed.
    pub(crate) fn is_met(&self) -> bool {
        self.goals.iter().all(|goal| goal.is_met) && self.series.iter().all(|series| series.failures == 0)
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(self)?)?,
            Format::Table => {
                writeln!(out, "{} build, PostgreSQL {}\n\n{}\n", self.build, self.postgres, self.figures())?;
                writeln!(out, "{}\n\nrequests told to come again: {}", self.judgement(), self.asked_again)?;
            }
        }
        Ok(())
    }

    fn figures(&self) -> Table {
        let mut table = table(&["", "n", "p50 ms", "p99 ms", "per s", "failed"]);
        for series in &self.series {
            let rate = series.per_second.map_or(String::new(), |rate| format!("{rate:.1}"));
            let times = [series.p50_ms, series.p99_ms].map(|ms| format!("{ms:.1}"));
            let numbers = [&series.count.to_string(), &times[0], &times[1], &rate, &series.failures.to_string()];
            table.add_row([Cell::new(series.what)].into_iter().chain(numbers.map(right)));
        }
        table
    }

    fn judgement(&self) -> Table {
        let mut table = table(&["goal", "measured", "must be", ""]);
        for goal in &self.goals {
            let bound = match goal.bound {
                Bound::AtMost(most) => format!("≤ {most}"),
                Bound::AtLeast(least) => format!("≥ {least}"),
            };
            let numbers = [format!("{:.2}", goal.measured), bound].map(right);
            let verdict = Cell::new(if goal.is_met { "met" } else { "MISSED" });
            table.add_row([Cell::new(goal.what)].into_iter().chain(numbers).chain([verdict]));
        }
        table
    }
}

fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(titles);
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
