//! `freehold audit …`: audit logs, listed, exported and verified.

use std::path::PathBuf;

use anyhow::ensure;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::fs::{self, File};

use super::{
    Outcome,
    client::Client,
    new_file,
    output::{self, Column, Output, note},
    progress::Progress,
};

const COLUMNS: [Column; 6] = [
    ("AT", "/at"),
    ("ACTOR", "/actor"),
    ("ACTION", "/action"),
    ("TARGET", "/target"),
    ("FROM", "/ip"),
    ("DETAILS", "/details"),
];

/// Looks at audit logs.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
There are two logs: the platform's own (what operators did to tenants, servers and rollouts), and that of people (who
signed in, whom administrators changed). `--people` names the second one; the key says whose people: operators, or those
of a tenant, at that tenant's own address.

Examples:
  freehold audit list --action tenant --since 2030-01-31T00:00:00Z
  freehold audit export --people --format csv --to log.csv
  freehold audit verify                       # prints the head: note it elsewhere
  freehold audit verify --head 12:5f0c…       # exit code 1 when the chain does not go through what was noted")]
pub(super) enum Command {
    /// List events, the newest first.
    List(List),
    /// Write all events that match to a file.
    Export(Export),
    /// Compare each event with its digest, and each batch of the chain with the one before.
    Verify(Verify),
}

/// Which events.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// The log of people instead of the platform's own.
    #[arg(long)]
    people: bool,
    /// Only what this one did: usr_…, key_…
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, or all of one kind: `user` finds `user.deleted`.
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this.
    #[arg(long)]
    target: Option<String>,
    /// Only from then on (RFC 3339).
    #[arg(long)]
    since: Option<String>,
    /// Only before then (RFC 3339).
    #[arg(long)]
    until: Option<String>,
}

/// The arguments of `freehold audit list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// The arguments of `freehold audit export`.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// What the file is written as.
    #[arg(long, default_value = "ndjson", value_parser = ["ndjson", "csv"])]
    format: String,
    /// The file to write. There must be none of this name; only its owner can read it.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// The arguments of `freehold audit verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The log of people instead of the platform's own.
    #[arg(long)]
    people: bool,
    /// A head that an earlier call has printed.
    #[arg(long, value_name = "NUMBER:DIGEST")]
    head: Option<String>,
}

impl Filter {
    fn path(&self) -> &'static str {
        path(self.people)
    }

    fn query(self) -> Vec<(&'static str, String)> {
        let Self { people: _, actor, action, target, since, until } = self;
        let wanted = [("actor", actor), ("action", action), ("target", target), ("since", since), ("until", until)];
        wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

const fn path(people: bool) -> &'static str {
    if people { "/v1/audit-events" } else { "/platform/v1/audit-events" }
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::List(List { filter, limit }) => {
            let (items, next) = client.items(filter.path(), &filter.query(), limit).await?;
            output.list(&items, next.as_deref(), &COLUMNS)?;
            if next.is_some() && !output.is_json() {
                note("there are more: --limit N shows them, and export all of them");
            }
            Ok(Outcome::Success)
        }
        Command::Export(export) => write(export, &client, output).await,
        Command::Verify(verify) => look(verify, &client, output).await,
    }
}

async fn write(export: Export, client: &Client, output: Output) -> anyhow::Result<Outcome> {
    let Export { filter, format, to } = export;
    ensure!(!fs::try_exists(&to).await?, "{} is there already: name another file", to.display());
    let path = format!("{}/export", filter.path());
    let mut query = filter.query();
    query.push(("format", format));
    let bytes = new_file::write(&to, async |file: &mut File| client.fetch(&path, &query, file).await).await?;
    let exported = json!({ "file": to.display().to_string(), "bytes": bytes });
    output.record(&exported, &[("file", "/file"), ("bytes", "/bytes")])?;
    Ok(Outcome::Success)
}

/// What programs are told.
#[derive(Debug, Default, Serialize)]
struct Report {
    state: &'static str,
    batches: i64,
    events: i64,
    unchained: i64,
    aged_through: Option<i64>,
    head: Option<String>,
    findings: Vec<Value>,
}

async fn look(verify: Verify, client: &Client, output: Output) -> anyhow::Result<Outcome> {
    let path = format!("{}/chain", path(verify.people));
    let mut progress = Progress::begin("verifying");
    let (mut report, mut next, mut head) = (Report::default(), None::<i64>, verify.head);
    loop {
        let mut query: Vec<_> = next.iter().map(|next| ("after", next.to_string())).collect();
        query.extend(head.take().map(|head| ("head", head)));
        let part = Client::patiently(false, async || client.get(&path, &query).await).await?;
        next = part.pointer("/next").and_then(Value::as_i64);
        report.add(&part);
        if next.is_none() {
            break;
        }
        progress.tell(&format!("{} batches, {} events", report.batches, report.events));
    }
    drop(progress);
    report.state = if report.findings.is_empty() { "intact" } else { "broken" };
    output.either(&report, report.text())?;
    Ok(if report.findings.is_empty() { Outcome::Success } else { Outcome::Found })
}

impl Report {
    fn add(&mut self, part: &Value) {
        let number = |name: &str| part.get(name).and_then(Value::as_i64);
        self.batches += number("batches").unwrap_or_default();
        self.events += number("events").unwrap_or_default();
        self.unchained = number("unchained").unwrap_or(self.unchained);
        self.aged_through = number("aged_through");
        let digest = part.pointer("/head/digest").and_then(Value::as_str);
        self.head = part.pointer("/head/number").zip(digest).map(|(number, digest)| format!("{number}:{digest}"));
        self.findings.extend(part.get("findings").and_then(Value::as_array).into_iter().flatten().cloned());
    }

    fn text(&self) -> String {
        let Self { state, batches, events, unchained, .. } = self;
        let mut lines = vec![format!("{state}: {events} events in {batches} batches; {unchained} are not chained yet")];
        lines.extend(self.head.iter().map(|head| format!("head {head}")));
        lines.extend(self.findings.iter().map(|finding| {
            let told = |name: &str| finding.get(name).map(Value::to_string).unwrap_or_default().replace('"', "");
            format!("{}  batch {}  event {}", told("code"), told("batch"), told("event"))
        }));
        lines.iter().map(|line| output::printable(line)).collect::<Vec<_>>().join("\n")
    }
}
