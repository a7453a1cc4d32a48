//! `./ops/bench path`: what a request for one row of one tenant takes, against what it takes without Freehold.
//!
//! Everything is measured in one run on one machine, on `freehold dev` in a folder of its own, in short turns one after
//! the other: what counts are ratios within a round, and their median over all rounds. Ends with exit code 1 when a goal
//! is missed.

mod bare;
mod load;
mod replica;
mod report;
mod stage;
#[path = "../subject.rs"]
mod subject;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use bare::Recycling;
use report::{Format, Report};
use stage::Stage;
use subject::Subject;

/// What can be chosen.
#[derive(Debug, Parser)]
#[command(name = "ops/bench path", about = "Measures what a request for one row takes")]
struct Arguments {
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// How many connections ask at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// How many turns each has.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=1000))]
    rounds: u16,
    /// How long a turn is, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    turn: u64,
    /// Be the server that Freehold is held against, on this database.
    #[arg(long, hide = true)]
    bare: Option<String>,
    #[arg(long, hide = true, default_value_t = 4)]
    pool_size: usize,
    #[arg(long, hide = true, value_enum, default_value_t = Recycling::Fast)]
    recycling: Recycling,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(url) = &arguments.bare {
        // On all cores, as a replica is.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(bare::serve(url, arguments.pool_size, arguments.recycling))?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut subject = Subject::start(&[]).await?;
    let measured = tokio::select! {
        measured = measure(&subject, arguments) => measured,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted"))),
    };
    subject.stop().await?;
    let report = measured?;
    report.print(arguments.output)?;
    Ok(if report.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(subject: &Subject, arguments: &Arguments) -> anyhow::Result<Report> {
    let stage = Stage::set(subject).await?;
    let (connections, turn) = (usize::from(arguments.connections), Duration::from_millis(arguments.turn));
    let mut turns = vec![Vec::new(); stage.acts.len()];
    // The first round is not counted: connections are new, and statements not planned yet.
    for round in 0..=arguments.rounds {
        for (act, turns) in stage.acts.iter().zip(&mut turns) {
            let took = act.target.ask(connections, turn).await?;
            if round > 0 {
                turns.push(took);
            }
        }
    }
    Ok(Report::of(&stage, connections, turn, turns))
}
