//! `freehold migration …`: the migrations of tenants' databases.

use std::{
    collections::HashSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use serde_json::{Value, json};

use super::{
    Environment, Outcome,
    client::Client,
    output::{Column, Output, printable},
    problem::ClientError,
    process,
};
use crate::migrations::{
    MigrationSet, Sent,
    lint::{self, Finding},
};

const PATH: &str = "/platform/v1/migrations";

/// How much that is new a request holds at most, in bytes: well within what the route takes.
const PART: usize = 3 * 1024 * 1024;
/// Longer than a server takes to try migrations (22 min).
const TRIAL: Duration = Duration::from_mins(23);

const COLUMNS: [Column; 6] = [
    ("STREAM", "/stream"),
    ("VERSION", "/version"),
    ("NAME", "/name"),
    ("UNDO", "/undoable"),
    ("PUBLISHED", "/published_at"),
    ("BY", "/published_by"),
];

/// Looks after migrations.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what in a folder of migrations would lock, lose or break something; exit code 1 on errors. Asks no server.
    #[command(after_help = "\
Every rule has a reason and a safe form: see docs/MIGRATIONS.md. A comment right before a statement waives a rule:
  -- freehold:allow drop-column: no release since 2.4 reads it

Example:
  freehold migration lint tenant-migrations/product")]
    Lint {
        /// The folder.
        dir: PathBuf,
    },
    /// Publish the product's migrations out of a folder: from then on new tenants are made with them.
    #[command(after_help = "\
The folder holds V1__first.sql, V2__second.sql, …: every published file of the product unchanged, followed by new ones.
U2__second.sql beside V2__second.sql undoes it: it may be added later, and never changes once it is published.
Of the published ones only digests are sent. More than 3 MiB of new files are published in several parts, one after the
other. New files are linted, and the set is tried on a scratch database first, which takes minutes where the history is
long. Freehold's own migrations come with the program and stay as they are.

Example:
  freehold migration publish --dir tenant-migrations/product")]
    Publish {
        /// The folder.
        #[arg(long, default_value = "tenant-migrations/product")]
        dir: PathBuf,
    },
    /// List the published migrations: Freehold's own, then the product's.
    List,
}

/// What asks no server does not need to know one.
pub(super) fn run(command: Command, environment: &Environment, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Lint { dir } => run_lint(&dir, output),
        remote => process::block_on(run_remote(remote, Client::from_environment(environment)?, output)),
    }
}

fn run_lint(dir: &Path, output: Output) -> anyhow::Result<Outcome> {
    ensure!(dir.is_dir(), "there is no folder {}: say the folder of the migrations", dir.display());
    let findings = lint::lint_directory(dir)?;
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    output.either(&json!({ "findings": findings, "errors": errors }), written(&findings, errors))?;
    Ok(if errors == 0 { Outcome::Success } else { Outcome::Found })
}

/// `file:line: rule: message`, and the safe form in a line of its own.
fn written(findings: &[Finding], errors: usize) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { file, line, rule, message, safe_form, level } = finding;
        let (file, message) = (printable(file), printable(message));
        let _ = writeln!(text, "{file}:{line}: {rule}: {message}\n    {}; instead: {safe_form}", level.as_str());
    }
    let others = findings.len() - errors;
    let _ = write!(text, "{errors} errors, {others} warnings and pieces of advice");
    text
}

async fn run_remote(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Lint { .. } => {}
        Command::Publish { dir } => {
            ensure!(dir.is_dir(), "there is no folder {}: say --dir and the folder of the migrations", dir.display());
            let published = publish(&client, &MigrationSet::from_directory(&dir)?).await?;
            output.record(&published, &[("version", "/version"), ("added", "/added")])?;
        }
        Command::List => {
            let items = client.whole(PATH).await?;
            output.list(&items, None, &COLUMNS)?;
        }
    }
    Ok(Outcome::Success)
}

/// Sends what is published already as digests, and what is new in parts that each fit into a request.
async fn publish(client: &Client, set: &MigrationSet) -> anyhow::Result<Value> {
    // Whoever may not read what is published sends everything.
    let listed = client.whole(PATH).await.ok();
    let mut known: Option<HashSet<String>> = listed.map(|files| files.iter().flat_map(names).collect());
    let (texts, mut added) = (set.texts(), 0);
    loop {
        let (files, count) = part(&texts, known.as_ref());
        let mut answer = match client.post_within(PATH, &json!({ "files": files }), TRIAL).await {
            Err(error) if known.is_some() && differs(&error) && size(&texts) < PART => {
                // Only the texts tell in which line.
                known = None;
                continue;
            }
            answer => answer?,
        };
        added += answer.get("added").and_then(Value::as_u64).unwrap_or_default();
        if count == texts.len() {
            answer["added"] = added.into();
            return Ok(answer);
        }
        known.get_or_insert_default().extend(texts.iter().take(count).map(|(name, _)| name.clone()));
    }
}

/// Whether a published file is another here.
fn differs(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| problem.code == "migrations_diverged")
}

fn size(texts: &[(String, &str)]) -> usize {
    texts.iter().map(|(name, sql)| json!({ "name": name, "sql": sql }).to_string().len()).sum()
}

/// The names of a published migration's files.
fn names(file: &Value) -> Vec<String> {
    let is_product = file.get("stream").is_some_and(|stream| stream == "product");
    let name = file.get("name").and_then(Value::as_str).filter(|_| is_product);
    let undo = file.get("undoable").and_then(Value::as_bool).unwrap_or_default();
    let undo_name = name.filter(|_| undo).and_then(|name| name.strip_prefix('V')).map(|rest| format!("U{rest}"));
    name.map(str::to_owned).into_iter().chain(undo_name).collect()
}

/// The files of one request, and how many of the set's they are: those that are known to be published as digests, and of
/// the others as many as fit. Everything, where it is not known what is published.
fn part(texts: &[(String, &str)], known: Option<&HashSet<String>>) -> (Vec<Value>, usize) {
    let (mut part, mut size, mut new) = (Vec::new(), 0, 0);
    for (name, sql) in texts {
        if known.is_some_and(|known| known.contains(name)) {
            part.push(json!({ "name": name, "sha256": Sent::digest(sql) }));
            continue;
        }
        let whole = json!({ "name": name, "sql": sql });
        size += whole.to_string().len();
        if size > PART && new > 0 && known.is_some() {
            break;
        }
        new += 1;
        part.push(whole);
    }
    let count = part.len();
    (part, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_is_sent_in_parts_that_each_fit() {
        let sql = "x".repeat(200_000);
        let texts: Vec<_> = (1..=40).map(|version| (format!("V{version}__a.sql"), sql.as_str())).collect();
        let mut known: HashSet<_> = texts[..3].iter().map(|(name, _)| name.clone()).collect();
        let (mut sent, mut parts) = (0, 0);
        while sent < texts.len() {
            let (part, end) = part(&texts, Some(&known));
            assert!(end > sent && json!({ "files": part }).to_string().len() < 4 * 1024 * 1024);
            assert!(part[..3].iter().all(|file| file.get("sql").is_none()));
            known.extend(texts[..end].iter().map(|(name, _)| name.clone()));
            (sent, parts) = (end, parts + 1);
        }
        assert!((2..=4).contains(&parts), "{parts}");
        assert_eq!(part(&texts, Some(&known)).1, 40);
        assert_eq!(part(&texts, None).1, 40);
        let undoable = json!({ "stream": "product", "name": "V2__a.sql", "undoable": true });
        assert_eq!(names(&undoable), ["V2__a.sql", "U2__a.sql"]);
    }
}
