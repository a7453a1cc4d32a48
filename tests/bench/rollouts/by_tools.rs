//! The same column by what teams use today: `refinery_cli`, a process for each database, and a loop of Alembic.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use secrecy::{ExposeSecret, SecretString};
use tokio::{io::AsyncWriteExt, process::Command, time::Instant};

use crate::{by_hand::ByHand, subject::places};

/// Where the tools are; `ops/bench` installs them.
#[derive(Debug, clap::Args)]
pub(crate) struct Tools {
    /// The program `refinery`. Without it, nothing is held against it.
    #[arg(long)]
    refinery: Option<PathBuf>,
    /// The folder of Python packages with Alembic. Without it, nothing is held against it.
    #[arg(long)]
    alembic: Option<PathBuf>,
}

/// A tool's name, and how long it took.
pub(crate) type Took = (&'static str, Duration);

impl Tools {
    /// How long each tool takes over all databases. Takes its column and its history away again, unmeasured.
    pub(crate) async fn run(&self, by_hand: &ByHand, at_once: usize) -> anyhow::Result<Vec<Took>> {
        let mut took = Vec::new();
        if let Some(program) = &self.refinery {
            let began = Instant::now();
            let urls: Vec<SecretString> = by_hand.urls("postgres").collect();
            stream::iter(&urls).map(|url| refinery(program, url)).buffer_unordered(at_once).try_collect::<()>().await?;
            took.push(("refinery_cli, a process for each, as many at a time", began.elapsed()));
            by_hand.undo(at_once, "ALTER TABLE projects DROP COLUMN by_refinery; DROP TABLE bench_refinery").await?;
        }
        if let Some(packages) = &self.alembic {
            let began = Instant::now();
            alembic(packages, by_hand).await?;
            took.push(("Alembic, one process, one after the other", began.elapsed()));
            by_hand.undo(at_once, "ALTER TABLE projects DROP COLUMN by_alembic; DROP TABLE bench_alembic").await?;
        }
        Ok(took)
    }
}

fn files(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/rollouts").join(name)
}

async fn refinery(program: &Path, url: &SecretString) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(["migrate", "-e", "BENCH_URL", "--table-name", "bench_refinery", "-p"]).arg(files("refinery"));
    command.env_clear().envs(places()).env("BENCH_URL", url.expose_secret()).stdin(Stdio::null());
    let done = command.kill_on_drop(true).output().await.context("refinery cannot be run")?;
    ensure!(done.status.success(), "refinery: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

async fn alembic(packages: &Path, by_hand: &ByHand) -> anyhow::Result<()> {
    let mut command = Command::new("python3");
    command.arg(files("alembic/loop.py")).env_clear().envs(places());
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("python3 cannot be run")?;
    let mut input = child.stdin.take().context("no standard input")?;
    for url in by_hand.urls("postgresql+psycopg") {
        input.write_all(url.expose_secret().as_bytes()).await?;
        input.write_all(b"\n").await?;
    }
    drop(input);
    let done = child.wait_with_output().await?;
    ensure!(done.status.success(), "alembic: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
