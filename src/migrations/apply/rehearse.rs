//! A rehearsal: applies what a copy of a tenant's database lacks, and notes what each statement does to the tables that
//! were there before its file: which locks, for how long, how many rows, and whether the table was written anew.
//!
//! What runs in a transaction is run statement by statement, and asked about in between: PostgreSQL keeps every lock
//! until the transaction ends. What runs outside of one, or in batches, is run by the runner itself, and another session
//! looks on. A statement that fails is a result, and the last one.

use std::{collections::BTreeMap, future::Future, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};
use tokio_postgres::{Client, error::SqlState};

use super::{
    Limits, Progress, failure,
    session::{Session, Stop},
    sight::{Before, MODES, Stretch, backend, holdings, locks, more, rewritten, strength, tables},
    stage::{Lacking, Stage},
    transaction::{Change, tag},
};
use crate::{
    error::{Error, Result},
    migrations::{MigrationFile, Mode, Roles, TenantSchema, lint},
    types::Stream,
};

/// How often the other session looks. A lock that is held for less may be missed.
const LOOK: Duration = Duration::from_millis(5);
/// How much of a statement is told.
const TOLD: usize = 160;

/// A statement that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RehearsedStatement {
    /// Of which stream.
    pub stream: Stream,
    /// Its file's name.
    pub file: String,
    /// Where it begins in the file.
    pub line: usize,
    /// How it begins.
    pub statement: String,
    /// How long it took.
    pub millis: u64,
    /// How many rows it touched, where PostgreSQL says so.
    pub rows: u64,
    /// The locks that it took on tables which were there, and that were not held before.
    pub locks: Vec<RehearsedLock>,
    /// The tables that were there and are stored anew.
    pub rewritten: Vec<String>,
    /// Why it failed. It is the last one then.
    pub error: Option<String>,
}

/// A lock on a table or an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RehearsedLock {
    /// On what.
    pub table: String,
    /// PostgreSQL's name of the mode, such as `AccessExclusiveLock`.
    pub mode: String,
    /// For how long, to the end of the transaction.
    pub millis: u64,
}

impl RehearsedLock {
    /// Whether others cannot write to the table meanwhile, or not even read it.
    #[must_use]
    pub fn keeps_writers_out(&self) -> bool {
        strength(&self.mode) >= strength("ShareLock")
    }
}

/// Applies what the database lacks, and tells what each statement did. `onlooker` is another session in the database.
///
/// # Errors
/// The server is away; the history disagrees with the sets; another runner is at work.
pub async fn rehearse_tenant(
    client: &mut Client,
    onlooker: &Client,
    schema: &TenantSchema,
    roles: &Roles,
    limits: &Limits,
) -> Result<Vec<RehearsedStatement>> {
    // Nobody else reads the copy, so nobody waits behind a lock: what holds one is PostgreSQL's own, which gives way to
    // whoever has waited for a second.
    let limits = &Limits { lock: limits.lock_budget, ..limits.clone() };
    let progress = watch::Sender::<Progress>::default();
    let mut session = Session::begin(client, Some(roles), limits, &progress).await?;
    let tried = streams(&mut session, onlooker, schema).await;
    let ended = session.end().await;
    let tried = tried?;
    ended?;
    Ok(tried)
}

async fn streams(
    session: &mut Session<'_>,
    onlooker: &Client,
    schema: &TenantSchema,
) -> Result<Vec<RehearsedStatement>> {
    let mut stages = Vec::new();
    for stream in Stream::ALL {
        let stage = Stage::read(session, schema.stream(stream), Some(stream)).await?;
        *session.versions.of_mut(stream) = stage.version;
        stages.push((stage, stream));
    }
    let mut tried = Vec::new();
    for (stage, stream) in &stages {
        for Lacking { file, change, note } in stage.lacking(schema.stream(*stream)) {
            let mut run = Rehearsal { session, onlooker, stream: *stream, file, tried: Vec::new() };
            run.file(&change, &note).await?;
            tried.append(&mut run.tried);
            if tried.last().is_some_and(|last| last.error.is_some()) {
                return Ok(tried);
            }
            *session.versions.of_mut(*stream) = file.version;
        }
    }
    Ok(tried)
}

/// One file of a rehearsal.
struct Rehearsal<'a, 'b> {
    session: &'a Session<'b>,
    onlooker: &'a Client,
    stream: Stream,
    file: &'a MigrationFile,
    tried: Vec<RehearsedStatement>,
}

impl Rehearsal<'_, '_> {
    async fn file(&mut self, change: &Change<'_>, note: &str) -> Result<()> {
        let (session, before) = (self.session, tables(self.onlooker).await?);
        let at = Some((self.stream, self.file.version));
        session.progress.send_replace(Progress { file: at, ..Progress::default() });
        match Mode::of(&self.file.sql) {
            Ok(Mode::Transaction) => self.in_a_transaction(change, &before).await,
            Ok(Mode::NoTransaction) => self.watched(session.carry_out_alone(change, note), &before, false).await,
            Ok(Mode::Batched) => self.watched(session.carry_out_batched(change), &before, true).await,
            Err(invalid) => {
                self.push(1, &self.file.sql, Duration::ZERO);
                self.fail(invalid.message);
                Ok(())
            }
        }
    }

    /// Runs the statements one after another, as parts of one transaction. Together they get the time of one: a rollout
    /// has the whole file executed as a single statement.
    async fn in_a_transaction(&mut self, change: &Change<'_>, before: &Before) -> Result<()> {
        let transaction = match self.session.open(change.schema, &self.session.defaults()).await {
            Ok(transaction) => transaction,
            Err(stop) => return Err(cause(stop)),
        };
        let pid = backend(self.session.client).await?;
        let (mut held, mut since, mut spent) = (locks(self.session.client, pid).await?, Vec::new(), Duration::ZERO);
        for lint::Statement { line, text, is_select_into } in lint::statements(&self.file.sql) {
            self.session.client.batch_execute(&self.session.limits.of_a_statement_after(spent)).await?;
            let started = Instant::now();
            let done = self.session.client.batch_execute(&counted(&text, is_select_into)).await;
            self.push(line, &text, started.elapsed());
            spent += started.elapsed();
            if let Err(error) = done {
                self.session.roll_back().await;
                return self.refused(&error, spent);
            }
            let now = locks(self.session.client, pid).await?;
            let index = self.tried.len() - 1;
            since.extend(more(&held, &now, before).into_iter().map(|(table, mode)| (index, table, mode, started)));
            held = now;
            let rewritten = rewritten(before, &tables(self.session.client).await?);
            let known: Vec<_> = self.tried.iter().flat_map(|tried| tried.rewritten.clone()).collect();
            let touched = touched(self.session.client).await?;
            if let Some(last) = self.tried.last_mut() {
                last.rows = touched;
                last.rewritten = rewritten.into_iter().filter(|table| !known.contains(table)).collect();
            }
        }
        let ended = async {
            self.session.examine(change, &transaction).await?;
            Ok::<_, Stop>(self.session.client.batch_execute(&format!("{}; COMMIT", change.record)).await?)
        };
        if let Err(stop) = ended.await {
            self.session.roll_back().await;
            match stop {
                Stop::Postgres(error) => self.refused(&error, spent)?,
                Stop::Error(error) => self.ended(error)?,
            }
        }
        for (index, table, mode, started) in since {
            let held = RehearsedLock { table, mode, millis: millis(started.elapsed()) };
            if let Some(tried) = self.tried.get_mut(index) {
                tried.locks.push(held);
            }
        }
        Ok(())
    }

    /// Lets the runner work, and looks on. Each batch is a transaction, with which its locks end.
    async fn watched(
        &mut self,
        work: impl Future<Output = Result<u32>>,
        before: &Before,
        is_batched: bool,
    ) -> Result<()> {
        let (pid, started) = (backend(self.session.client).await?, Instant::now());
        let (mut seen, mut previous) = (BTreeMap::<(u32, String), Stretch>::new(), started);
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(LOOK) => {
                    let (held, now) = (holdings(self.onlooker, pid).await?, Instant::now());
                    for (table, mode, transaction) in held {
                        let transaction = if is_batched { transaction } else { String::new() };
                        let stretch = seen.entry((table, mode)).or_insert_with(|| Stretch::new(now));
                        stretch.see(transaction, now, previous);
                    }
                    previous = now;
                }
            }
        };
        self.push(1, &self.file.sql, started.elapsed());
        let rewritten = rewritten(before, &tables(self.onlooker).await?);
        let rows = self.session.progress.borrow().rows;
        if let Some(tried) = self.tried.last_mut() {
            (tried.rewritten, tried.rows) = (rewritten, rows);
            for ((table, mode), stretch) in seen {
                let Some((name, ..)) = before.get(&table).filter(|(.., rows)| *rows || mode != MODES[0]) else {
                    continue;
                };
                tried.locks.push(RehearsedLock { table: name.clone(), mode, millis: millis(stretch.longest + LOOK) });
            }
        }
        done.map_or_else(|error| self.ended(error), |_| Ok(()))
    }

    /// Notes why PostgreSQL refused the last statement, `spent` after its file began.
    fn refused(&mut self, error: &tokio_postgres::Error, spent: Duration) -> Result<()> {
        let bound = self.session.limits.statement;
        if is_away(error) {
            return Err(error.into());
        }
        // The server was given what was left in whole milliseconds.
        if error.code() == Some(&SqlState::QUERY_CANCELED) && spent + Duration::from_millis(1) >= bound {
            let bound = bound.as_secs_f32();
            self.fail(format!(
                "the statements of the file take longer than {bound} s together: a rollout stops it then"
            ));
        } else {
            self.fail(failure::sentence(error));
        }
        Ok(())
    }

    /// Notes what the runner stopped for. That the server is away, or another runner at work, says nothing of the file.
    fn ended(&mut self, error: Error) -> Result<()> {
        if matches!(error, Error::Unavailable { .. }) {
            return Err(error);
        }
        self.fail(error.to_string());
        Ok(())
    }

    fn push(&mut self, line: usize, text: &str, took: Duration) {
        let words = text.lines().filter(|line| !line.trim_start().starts_with("--")).flat_map(str::split_whitespace);
        let statement: String = words.collect::<Vec<_>>().join(" ").chars().take(TOLD).collect();
        self.tried.push(RehearsedStatement {
            stream: self.stream,
            file: self.file.file_name(),
            line,
            statement,
            millis: millis(took),
            rows: 0,
            locks: Vec::new(),
            rewritten: Vec::new(),
            error: None,
        });
    }

    fn fail(&mut self, error: String) {
        if let Some(last) = self.tried.last_mut() {
            last.error = Some(error);
        }
    }
}

/// The statement as a text that PostgreSQL executes within a function, as the runner has whole files executed, and how
/// many rows it touched as a setting of the transaction. A SELECT INTO is told by nobody: PostgreSQL takes one at the end
/// for the function's own, so that another statement has to stand after it.
fn counted(sql: &str, is_select_into: bool) -> String {
    let tag = tag(sql);
    let (after, touched) = if is_select_into { (";SELECT", "'0'") } else { ("", "touched::pg_catalog.text") };
    format!(
        "DO {tag}_do$ DECLARE touched pg_catalog.int8; BEGIN EXECUTE {tag}$;{sql}\n{after}{tag}$;
         GET DIAGNOSTICS touched = ROW_COUNT;
         PERFORM pg_catalog.set_config('freehold.touched', {touched}, true); END {tag}_do$"
    )
}

/// Whether the server is away, full, or about to stop (PostgreSQL manual, appendix A).
fn is_away(error: &tokio_postgres::Error) -> bool {
    error.code().is_none_or(|state| ["08", "53", "57P"].iter().any(|class| state.code().starts_with(class)))
}

async fn touched(client: &Client) -> Result<u64> {
    let sql = "SELECT pg_catalog.current_setting('freehold.touched', true)";
    let touched: Option<String> = client.query_one(sql, &[]).await?.try_get(0)?;
    Ok(touched.and_then(|touched| touched.parse().ok()).unwrap_or_default())
}

fn cause(stop: Stop) -> Error {
    match stop {
        Stop::Postgres(error) => error.into(),
        Stop::Error(error) => error,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_into_has_something_after_it_and_tells_no_rows() {
        let text = counted("SELECT 1 INTO t", true);
        assert!(text.contains("SELECT 1 INTO t\n;SELECT$freehold0$") && text.contains("'freehold.touched', '0'"));
        assert!(counted("SELECT 1", false).contains("SELECT 1\n$freehold0$;"));
    }
}
