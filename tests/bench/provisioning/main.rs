//! `./ops/bench provisioning`: how long a new tenant takes, against what PostgreSQL alone takes to copy the template.
//!
//! Everything is measured in one run on one machine, on `freehold dev` in a folder of its own: what counts are ratios.
//! The bare copies are made in between, so that a machine that is busy for a while is so for both sides. Ends with exit
//! code 1 when a goal is missed.

mod bench;
mod figures;
mod measure;
mod metrics;
mod operator;
mod report;
#[path = "../subject.rs"]
mod subject;

use std::process::ExitCode;

use clap::Parser;

use bench::Bench;
use measure::Counts;
use report::{Format, Report};
use subject::Subject;

/// What can be chosen.
#[derive(Debug, Parser)]
#[command(name = "ops/bench provisioning", about = "Measures how fast tenants are made")]
struct Arguments {
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// How many tenants are asked for in one go; all other counts are fractions of it. Each takes 8 MB of disk.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(50..=5000))]
    tenants: u32,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut subject = Subject::start(&[("FREEHOLD_LOG", "warn")]).await?;
    let measured = tokio::select! {
        measured = measure(&subject, arguments.tenants) => measured,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted"))),
    };
    subject.stop().await?;
    let report = measured?;
    report.print(arguments.output)?;
    Ok(if report.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(subject: &Subject, tenants: u32) -> anyhow::Result<Report> {
    let bench = Bench::new(subject).await?;
    measure::all(&bench, Counts::of(tenants)).await
}
