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

/// The tables, indexes and materialized views of the database, with where their rows are.
const TABLES: &str = "
    SELECT c.oid AS table, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           pg_catalog.pg_relation_filenode(c.oid) AS file, c.relkind IN ('r', 'm') AS has_rows
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND n.nspname <> 'information_schema'
       AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')";
/// The locks on tables that the session $1 has, with the transaction that it is in.
const LOCKS: &str = "
    SELECT relation AS table, mode, virtualtransaction AS transaction FROM pg_catalog.pg_locks
     WHERE pid = $1 AND locktype = 'relation' AND granted
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// The modes of locks, the weakest first (PostgreSQL manual, Explicit Locking).
const MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

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

/// What is there before a file: by its id the name, where its rows are, and whether it has rows of its own.
type Before = BTreeMap<u32, (String, Option<u32>, bool)>;

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
        if error.code() == Some(&SqlState::QUERY_CANCELED) && spent >= bound {
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

/// For how long a lock was seen.
struct Stretch {
    /// The transaction that had it.
    transaction: String,
    first: Instant,
    last: Instant,
    /// The longest time without a break.
    longest: Duration,
}

impl Stretch {
    const fn new(now: Instant) -> Self {
        Self { transaction: String::new(), first: now, last: now, longest: Duration::ZERO }
    }

    /// The lock is seen `now`. It was given back meanwhile if it was not there at the look before, or is another
    /// transaction's.
    fn see(&mut self, transaction: String, now: Instant, previous: Instant) {
        if self.last < previous || self.transaction != transaction {
            (self.first, self.transaction) = (now, transaction);
        }
        self.last = now;
        self.longest = self.longest.max(now - self.first);
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

async fn backend(client: &Client) -> Result<i32> {
    Ok(client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)?)
}

async fn tables(client: &Client) -> Result<Before> {
    let rows = client.query(TABLES, &[]).await?;
    let table = |row: tokio_postgres::Row| {
        Ok((row.try_get("table")?, (row.try_get("name")?, row.try_get("file")?, row.try_get("has_rows")?)))
    };
    rows.into_iter().map(table).collect()
}

async fn locks(client: &Client, pid: i32) -> Result<Vec<(u32, String)>> {
    Ok(holdings(client, pid).await?.into_iter().map(|(table, mode, _)| (table, mode)).collect())
}

/// The locks, each with the transaction that has it.
async fn holdings(client: &Client, pid: i32) -> Result<Vec<(u32, String, String)>> {
    let rows = client.query(LOCKS, &[&pid]).await?;
    rows.iter().map(|row| Ok((row.try_get("table")?, row.try_get("mode")?, row.try_get("transaction")?))).collect()
}

/// The strongest lock on each table that is stronger than those which were held.
fn more(held: &[(u32, String)], now: &[(u32, String)], before: &Before) -> Vec<(String, String)> {
    let strongest = |locks: &[(u32, String)], table: u32| {
        locks.iter().filter(|(other, _)| *other == table).map(|(_, mode)| strength(mode)).max()
    };
    let mut told = Vec::new();
    for (table, (name, _, has_rows)) in before {
        let Some(mode) = strongest(now, *table).filter(|mode| Some(*mode) > strongest(held, *table)) else { continue };
        // An index is read along with its table.
        if *has_rows || mode > 0 {
            told.push((name.clone(), MODES.get(mode).copied().unwrap_or_default().to_owned()));
        }
    }
    told
}

fn strength(mode: &str) -> usize {
    MODES.iter().position(|known| *known == mode).unwrap_or_default()
}

/// The tables that are still there and are stored elsewhere.
fn rewritten(before: &Before, now: &Before) -> Vec<String> {
    let is_moved = |table: &u32, file: &Option<u32>| now.get(table).is_some_and(|(_, other, _)| other != file);
    let moved = before.iter().filter(|(table, (_, file, has_rows))| *has_rows && is_moved(table, file));
    moved.map(|(_, (name, ..))| name.clone()).collect()
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
    fn only_stronger_locks_on_what_was_there_are_told() {
        let before = Before::from([
            (1, ("public.a".into(), Some(10), true)),
            (2, ("public.a_idx".into(), Some(20), false)),
            (3, ("public.b".into(), Some(30), true)),
        ]);
        let lock = |table, mode: &str| (table, mode.to_owned());
        let held = [lock(1, "RowExclusiveLock")];
        let now = [
            lock(1, "RowExclusiveLock"),
            lock(1, "AccessExclusiveLock"),
            lock(2, "AccessShareLock"),
            lock(3, "AccessShareLock"),
            lock(9, "AccessExclusiveLock"),
        ];
        let told = more(&held, &now, &before);
        let expected = [("public.a", "AccessExclusiveLock"), ("public.b", "AccessShareLock")];
        assert_eq!(told, expected.map(|(table, mode)| (table.to_owned(), mode.to_owned())));
        assert_eq!(more(&now, &now, &before), []);
    }

    #[test]
    fn a_lock_that_is_given_back_in_between_was_held_for_its_longest_stretch() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let longest = |looks: &[(u64, u64, &str)]| {
            let mut stretch = Stretch::new(at(looks[0].0));
            for (now, previous, of) in looks {
                stretch.see((*of).to_owned(), at(*now), at(*previous));
            }
            stretch.longest.as_millis()
        };
        assert_eq!(longest(&[(5, 0, ""), (10, 5, ""), (25, 10, "")]), 20);
        assert_eq!(longest(&[(5, 0, ""), (10, 5, ""), (40, 35, ""), (70, 40, "")]), 30, "it was gone at 35");
        assert_eq!(longest(&[(5, 0, "3/7"), (10, 5, "3/7"), (30, 10, "3/8"), (35, 30, "3/8")]), 5, "another batch");
    }

    #[test]
    fn a_select_into_has_something_after_it_and_tells_no_rows() {
        let text = counted("SELECT 1 INTO t", true);
        assert!(text.contains("SELECT 1 INTO t\n;SELECT$freehold0$") && text.contains("'freehold.touched', '0'"));
        assert!(counted("SELECT 1", false).contains("SELECT 1\n$freehold0$;"));
    }

    #[test]
    fn what_is_stored_elsewhere_was_written_anew() {
        let before = Before::from([(1, ("a".into(), Some(10), true)), (2, ("i".into(), Some(20), false))]);
        let now = Before::from([(1, ("a".into(), Some(11), true)), (2, ("i".into(), Some(21), false))]);
        assert_eq!(rewritten(&before, &now), ["a"]);
        assert_eq!(rewritten(&before, &before), [""; 0]);
    }
}
