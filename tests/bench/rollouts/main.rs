//! `./ops/bench rollouts`: one column over a fleet, each schema verified, against a tight loop of the same by hand.
//!
//! The loop connects to each of the same databases, adds a column, commits, and reads the same description of the whole
//! schema, with as many databases at a time as a rollout has. It goes before the rollout and after it, and takes its
//! column away again in between, unmeasured. What teams use today ([`by_tools`]) adds one over the same databases. Ends with exit code 1 when a goal is missed.

mod by_hand;
mod by_tools;
#[path = "../subject.rs"]
mod subject;

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use by_hand::ByHand;
use by_tools::Tools;
use subject::Subject;

/// As many at a time as a server's `rollout_concurrency`, by hand too.
const AT_ONCE: usize = 8;
/// How many tenants are asked for at a time while the fleet is made.
const MADE_AT_ONCE: usize = 8;
/// How long the rollout may take.
const PATIENCE: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(50);
/// The share of the loop's rate that a rollout must reach.
const SHARE: f64 = 0.8;
/// How long a rollout with nothing to do may take.
const IDLE: Duration = Duration::from_millis(100);

/// What can be chosen.
#[derive(Debug, Parser)]
#[command(name = "ops/bench rollouts", about = "Measures how fast a fleet is migrated")]
struct Arguments {
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// How many tenants there are. Each takes 8 MB of disk.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=5000))]
    tenants: u32,
    #[command(flatten)]
    tools: Tools,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// The program's build; only `release` says something about Freehold.
    build: &'static str,
    tenants: usize,
    /// Databases a second, by hand, with the description of the schema: before the rollout and after it.
    by_hand_per_second: [f64; 2],
    /// The same without the description.
    unverified_per_second: f64,
    /// Databases a second by what others use, with nothing described.
    tools_per_second: Vec<(&'static str, f64)>,
    /// Databases a second in the rollout.
    rollout_per_second: f64,
    /// The rollout against the mean of the loops.
    share: f64,
    /// A rollout with nothing to do.
    idle_ms: f64,
}

impl Report {
    fn is_met(&self) -> bool {
        self.share >= SHARE && self.idle_ms <= IDLE.as_secs_f64() * 1000.0
    }

    fn print(&self, format: Format) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if matches!(format, Format::Json) {
            return Ok(writeln!(out, "{}", serde_json::to_string_pretty(self)?)?);
        }
        let [before, after] = self.by_hand_per_second;
        writeln!(out, "{} build, {} tenants, databases a second:\n", self.build, self.tenants)?;
        writeln!(out, "  by hand, schema described: {before:.1} before the rollout, {after:.1} after it")?;
        writeln!(out, "  by hand, nothing described: {:.1}", self.unverified_per_second)?;
        for (tool, rate) in &self.tools_per_second {
            writeln!(out, "  {tool}: {rate:.1}")?;
        }
        writeln!(out, "  rollout, schema verified: {:.1}\n", self.rollout_per_second)?;
        let verdict = |is_met: bool| if is_met { "met" } else { "MISSED" };
        let (share, idle) = (self.share, self.idle_ms);
        writeln!(out, "  share of the rate by hand: {share:.2}, must be ≥ {SHARE}: {}", verdict(share >= SHARE))?;
        let most = IDLE.as_millis();
        writeln!(out, "  nothing to do: {idle:.1} ms, must be ≤ {most}: {}", verdict(self.is_met() || share < SHARE))?;
        Ok(())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut subject = Subject::start(&[("FREEHOLD_LOG", "warn")]).await?;
    let measured = tokio::select! {
        measured = measure(&subject, &arguments) => measured,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted"))),
    };
    subject.stop().await?;
    let report = measured?;
    report.print(arguments.output)?;
    Ok(if report.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(subject: &Subject, arguments: &Arguments) -> anyhow::Result<Report> {
    let fleet = Fleet { subject };
    fleet.make(arguments.tenants).await?;
    let by_hand = ByHand::prepare(subject).await?;
    let tenants = by_hand.count();
    // The first session of a database makes PostgreSQL build a cache file: nobody is to be measured with that.
    by_hand.run(AT_ONCE, true).await?;
    let before = by_hand.run(AT_ONCE, true).await?;
    let unverified = by_hand.run(AT_ONCE, false).await?;
    let tools = arguments.tools.run(&by_hand, AT_ONCE).await?;
    fleet.publish().await?;
    let took = fleet.roll_out().await?;
    let idle = fleet.roll_out_nothing().await?;
    let after = by_hand.run(AT_ONCE, true).await?;
    let rate = |took: Duration| f64::from(u32::try_from(tenants).unwrap_or(u32::MAX)) / took.as_secs_f64();
    let rolled = rate(took);
    Ok(Report {
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        tenants,
        by_hand_per_second: [rate(before), rate(after)],
        unverified_per_second: rate(unverified),
        tools_per_second: tools.into_iter().map(|(tool, took)| (tool, rate(took))).collect(),
        rollout_per_second: rolled,
        share: rolled / f64::midpoint(rate(before), rate(after)),
        idle_ms: idle.as_secs_f64() * 1000.0,
    })
}

/// The tenants, and what is asked of them all.
struct Fleet<'a> {
    subject: &'a Subject,
}

impl Fleet<'_> {
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.subject.told("/admin_url")?);
        let request = self.subject.http.request(method, url).bearer_auth(self.subject.told("/operator/api_key")?);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let answer = request.header("prefer", "wait=10").send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn make(&self, count: u32) -> anyhow::Result<()> {
        let make = |number: u32| async move {
            let body = json!({ "slug": format!("bench-{number}"), "name": "A tenant" });
            let made = self.ask(Method::POST, "/platform/v1/tenants", Some(&body)).await?;
            let id = made["id"].as_str().context("a tenant without an id")?.to_owned();
            let deadline = Instant::now() + PATIENCE;
            while self.ask(Method::GET, &format!("/platform/v1/tenants/{id}"), None).await?["state"] != "active" {
                ensure!(Instant::now() < deadline, "the tenant {id} is never made");
                sleep(POLL).await;
            }
            Ok(())
        };
        stream::iter(0..count).map(make).buffer_unordered(MADE_AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
    }

    /// Publishes one more file: a column, as by hand.
    async fn publish(&self) -> anyhow::Result<()> {
        let (control, session) =
            tokio_postgres::connect(self.subject.told("/control/database_url")?, tokio_postgres::NoTls).await?;
        tokio::spawn(session);
        let sql = "SELECT version, name, sql FROM migrations WHERE stream = 'product' ORDER BY version";
        let rows = control.query(sql, &[]).await?;
        let file = |row: &tokio_postgres::Row| {
            let (version, name, sql): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
            json!({ "name": format!("V{version}__{name}.sql"), "sql": sql })
        };
        let mut files: Vec<_> = rows.iter().map(file).collect();
        let next = files.len() + 1;
        files.push(
            json!({ "name": format!("V{next}__bench.sql"), "sql": "ALTER TABLE projects ADD COLUMN bench text" }),
        );
        self.ask(Method::POST, "/platform/v1/migrations", Some(&json!({ "files": files }))).await.map(drop)
    }

    /// How long a rollout takes, from the request to its end.
    async fn roll_out(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let started = self.ask(Method::POST, "/platform/v1/rollouts", Some(&json!({ "waves": ["100%"] }))).await?;
        let path = format!("/platform/v1/rollouts/{}", started["id"].as_str().context("a rollout without an id")?);
        loop {
            let rollout = self.ask(Method::GET, &path, None).await?;
            match rollout["state"].as_str() {
                Some("succeeded") => return Ok(began.elapsed()),
                Some("planned" | "running") if began.elapsed() < PATIENCE => sleep(POLL).await,
                _ => bail!("the rollout is not done: {rollout}"),
            }
        }
    }

    async fn roll_out_nothing(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let rollout = self.ask(Method::POST, "/platform/v1/rollouts", Some(&json!({}))).await?;
        ensure!(rollout["state"] == "succeeded", "there was something to do: {rollout}");
        Ok(began.elapsed())
    }
}
