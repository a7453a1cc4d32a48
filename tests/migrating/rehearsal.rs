//! Rehearsals: what each statement does to tables that have rows, as PostgreSQL itself tells.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use freehold::{
    migrations::{Limits, RehearsedStatement, rehearse_tenant},
    operations::schema::ROLES,
};

use super::subject::Subject;
use crate::harness::fleet::{self, Fleet};

/// The tables that the dangers are written for, with rows.
const WORLD: &str = "
    CREATE TABLE buyers (id uuid PRIMARY KEY);
    CREATE TABLE orders (id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT orders_pkey PRIMARY KEY, buyer text,
                         buyer_id uuid, total int, state text NOT NULL DEFAULT 'new');
    CREATE INDEX orders_buyer_idx ON orders (buyer);
    CREATE TABLE items (name varchar(20));
    CREATE TABLE parts (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text);
    CREATE TABLE events (id uuid, at timestamptz) PARTITION BY RANGE (at);
    CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE events_2026 (id uuid, at timestamptz);
    CREATE MATERIALIZED VIEW totals AS SELECT sum(total) FROM orders;
    CREATE DOMAIN email AS text;
    CREATE TABLE people (address email);
    CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
    INSERT INTO orders (buyer, total) SELECT 'b' || n, n FROM generate_series(1, 1000) n;
    INSERT INTO items SELECT 'i' || n FROM generate_series(1, 1000) n;
    INSERT INTO parts (name) SELECT 'p' || n FROM generate_series(1, 1000) n;
    INSERT INTO people SELECT n || '@example.com' FROM generate_series(1, 1000) n";

/// The dangers that such tables make visible, without the linter.
const VISIBLE: [&str; 32] = [
    "add-check",
    "add-foreign-key",
    "add-generated-column",
    "add-not-null-column",
    "add-primary-key",
    "add-trigger",
    "add-unique",
    "alter-table-again",
    "change-type",
    "cluster",
    "drop-column",
    "drop-constraint",
    "drop-default",
    "drop-not-null",
    "drop-table",
    "index-drop",
    "index-rebuild",
    "index-without-concurrently",
    "lock-table",
    "partition-attach",
    "partition-detach",
    "policy-change",
    "refresh-without-concurrently",
    "rename",
    "set-not-null",
    "stable-default",
    "statement-after-lock",
    "storage-rewrite",
    "truncate",
    "vacuum-full",
    "volatile-default",
    "whole-table-write",
];

/// What the linter cannot see.
const HIDDEN: &str = "-- freehold:allow do-block: the test
    DO $$ BEGIN EXECUTE 'ALTER TABLE orders ADD COLUMN ' || 'luck double precision DEFAULT random()'; END $$";

/// Copies of one database, each with another file tried on it.
struct Copies<'a> {
    fleet: &'a Fleet,
    subject: &'a Subject<'a>,
    next: u32,
    limits: Limits,
    /// A lock that another session takes before, and gives back after one and a half.
    locked: Option<&'static str>,
}

impl<'a> Copies<'a> {
    fn of(fleet: &'a Fleet, subject: &'a Subject<'a>) -> Self {
        let limits =
            Limits { batches: Duration::from_secs(1), lock_budget: Duration::from_secs(2), ..Limits::default() };
        Self { fleet, subject, next: 0, limits, locked: None }
    }

    async fn rehearse(&mut self, sql: &str) -> Vec<RehearsedStatement> {
        self.next += 1;
        let (name, server) = (format!("rehearsed_{}", self.next), self.fleet.on_server("postgres"));
        let of = self.subject.tenant.database_name();
        let copy = format!("CREATE DATABASE {name} TEMPLATE {of} OWNER freehold_owner");
        // Nobody may be in it: neither the session that made the world, nor the replica's own, which chain its audit log.
        let alone = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{of}'");
        crate::harness::eventually("a copy", async || {
            let session = server.connect().await.unwrap();
            session.batch_execute(&alone).await.unwrap();
            session.batch_execute(&copy).await.ok()
        })
        .await;
        let mut session = self.subject.session_in(self.fleet, &name).await;
        let onlooker = self.subject.session_in(self.fleet, &name).await;
        let schema = self.subject.schema(&[WORLD, sql]);
        let disturber = match self.locked {
            Some(lock) => {
                let disturber = self.fleet.on_server(&name).connect().await.unwrap();
                disturber.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
                Some(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1_500)).await;
                    disturber.batch_execute("COMMIT").await.unwrap();
                }))
            }
            None => None,
        };
        let tried = rehearse_tenant(&mut session, &onlooker, &schema, &ROLES, &self.limits).await.unwrap();
        if let Some(disturber) = disturber {
            disturber.await.unwrap();
        }
        drop((session, onlooker));
        server.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        tried
    }
}

/// Whether others are kept out, a table is written anew or as a whole, or the rows refuse it.
fn is_seen(tried: &[RehearsedStatement]) -> bool {
    tried.iter().any(|tried| {
        let keeps_out = tried.locks.iter().any(freehold::migrations::RehearsedLock::keeps_writers_out);
        keeps_out || !tried.rewritten.is_empty() || tried.rows >= 1_000 || tried.error.is_some()
    })
}

#[tokio::test]
async fn each_statement_is_told_with_its_locks_rows_and_rewrites() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    subject.apply(&[WORLD], &Limits::default()).await.unwrap();
    let mut copies = Copies::of(&fleet, &subject);
    let sql = "CREATE TABLE fresh (id int);\nALTER TABLE fresh ADD more text; -- nobody reads it yet\n
               UPDATE orders SET state = 'old';\nALTER TABLE orders ADD luck double precision DEFAULT random();
               SELECT pg_sleep(0.2)";
    let tried = copies.rehearse(sql).await;
    assert_eq!(tried.len(), 5, "{tried:#?}");
    assert!(tried.iter().all(|tried| tried.error.is_none()), "{tried:#?}");
    assert_eq!(tried.iter().map(|tried| tried.line).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
    assert!(tried[0].locks.is_empty() && tried[1].locks.is_empty(), "of no interest to others: {tried:#?}");
    let lock = |tried: &RehearsedStatement, table: &str| {
        let found = tried.locks.iter().find(|lock| lock.table == table);
        found.map(|lock| (lock.mode.clone(), lock.millis))
    };
    let (mode, held) = lock(&tried[2], "public.orders").unwrap();
    assert!(mode == "RowExclusiveLock" && held >= 200 && tried[2].rows == 1_000, "{tried:#?}");
    assert_eq!(tried[2].rewritten, [""; 0]);
    let (mode, held) = lock(&tried[3], "public.orders").unwrap();
    assert!(mode == "AccessExclusiveLock" && held >= 200, "{tried:#?}");
    assert_eq!(tried[3].rewritten, ["public.orders"]);
    assert!(tried[4].millis >= 200 && tried[4].locks.is_empty());

    let concurrently = "-- freehold:no-transaction\nCREATE INDEX CONCURRENTLY orders_total_idx ON orders (total)";
    let tried = copies.rehearse(concurrently).await;
    assert!(tried.len() == 1 && !is_seen(&tried), "{tried:#?}");
    let batched = "-- freehold:batched\nUPDATE orders SET buyer_id = id WHERE id IN
                   (SELECT id FROM orders WHERE buyer_id IS NULL LIMIT $1)";
    let tried = copies.rehearse(batched).await;
    assert!(tried.len() == 1 && tried[0].rows == 1_000 && tried[0].error.is_none(), "{tried:#?}");
    let tried = copies.rehearse("ALTER TABLE orders ADD CHECK (total < 10);\nSELECT 1").await;
    let error = tried.last().unwrap().error.as_deref().unwrap();
    assert!(tried.len() == 1 && error.contains("is violated by some row"), "{tried:#?}");
    let tried = copies.rehearse("CREATE TABLE a (id int); COMMIT; DROP TABLE orders").await;
    let error = tried.last().unwrap().error.as_deref().unwrap();
    assert!(tried.len() == 2 && error.contains("may not begin or end a transaction"), "{tried:#?}");
    subject.finish().await;
}

#[tokio::test]
async fn what_a_rollout_would_carry_out_does_not_fail_on_a_copy_and_what_it_would_stop_does() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    subject.apply(&[WORLD], &Limits::default()).await.unwrap();
    let mut copies = Copies::of(&fleet, &subject);
    let sql =
        "UPDATE items SET name = 'x';\nSELECT id INTO chosen FROM orders;\nWITH all_ids AS (SELECT id FROM orders)
               SELECT id INTO others FROM all_ids;\nALTER TABLE chosen ADD more text";
    let tried = copies.rehearse(sql).await;
    assert!(tried.len() == 4 && tried.iter().all(|tried| tried.error.is_none()), "{tried:#?}");
    assert_eq!(tried.iter().map(|tried| tried.rows).collect::<Vec<_>>()[..3], [1_000, 0, 0], "{tried:#?}");

    // Locks of autovacuum's kind, which are there for longer than a rollout waits at a time.
    copies.limits.lock_budget = Duration::from_secs(20);
    copies.locked = Some("LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE");
    let tried = copies.rehearse("ALTER TABLE orders ADD more text").await;
    assert!(tried[0].error.is_none() && tried[0].millis >= 500, "{tried:#?}");
    copies.locked = None;

    copies.limits.statement = Duration::from_secs(1);
    let tried = copies.rehearse("SELECT pg_sleep(0.7);\nSELECT pg_sleep(0.7);\nSELECT 1").await;
    let error = tried.last().unwrap().error.as_deref().unwrap_or_default();
    assert!(tried.len() == 2 && error.contains("longer than 1 s together"), "{tried:#?}");
    let two = "SET LOCAL statement_timeout = 0;\nSELECT pg_sleep(1.5)";
    assert!(copies.rehearse(two).await[1].error.is_some(), "no file lifts the bound of its time");
    copies.limits.statement = Limits::default().statement;

    // Many short batches hold a lock for no longer than one of them.
    copies.limits.batches = Duration::from_mins(1);
    let slow = "-- freehold:batched\nWITH batch AS MATERIALIZED
                    (SELECT id, pg_sleep(0.0004) FROM orders WHERE buyer_id IS NULL LIMIT $1)
                UPDATE orders SET buyer_id = orders.id FROM batch WHERE batch.id = orders.id";
    let tried = copies.rehearse(slow).await;
    let lock = tried[0].locks.iter().find(|lock| lock.mode == "RowExclusiveLock").unwrap();
    assert!(tried[0].rows == 1_000 && lock.millis < tried[0].millis * 3 / 4, "{tried:#?}");
    subject.finish().await;
}

#[tokio::test]
async fn the_linter_and_a_rehearsal_together_miss_no_danger() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    subject.apply(&[WORLD], &Limits::default()).await.unwrap();
    let mut copies = Copies::of(&fleet, &subject);
    let mut dangers = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dangers")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !name.contains(".safe") {
            dangers.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    assert!(dangers.len() >= 60, "{}", dangers.len());
    let (mut missed, mut unseen) = (Vec::new(), Vec::new());
    for (name, text) in &dangers {
        // That the linter finds what the first line says is tested where it is written.
        let is_linted = !text.starts_with("-- finds: nothing");
        let is_one = !text.contains("\n-- file: ") && text.lines().count() > 1;
        let is_rehearsed = is_one && VISIBLE.contains(&name.as_str());
        let is_seen = is_rehearsed && is_seen(&copies.rehearse(text).await);
        if is_rehearsed && !is_seen {
            unseen.push(name);
        }
        if !is_linted && !is_seen {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "neither sees {missed:?}");
    assert!(unseen.is_empty(), "the rehearsal does not see {unseen:?}");
    assert!(VISIBLE.iter().all(|name| dangers.contains_key(*name)));
    let tried = copies.rehearse(HIDDEN).await;
    assert_eq!(tried[0].rewritten, ["public.orders"], "{tried:#?}");
    subject.finish().await;
}
