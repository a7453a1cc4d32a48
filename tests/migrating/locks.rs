//! A file that waits for locks gets out of the way of everybody else.

use std::time::Duration;

use freehold::migrations::Limits;
use tokio::time::{Instant, sleep};

use super::subject::{Subject, applied, code};
use crate::harness::fleet;

/// How long the other session keeps its lock.
const HELD: Duration = Duration::from_secs(4);

#[tokio::test]
async fn reads_go_on_while_a_file_waits_for_its_lock() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let [holder, reader] = [subject.database().connect().await.unwrap(), subject.database().connect().await.unwrap()];
    holder.batch_execute("BEGIN; LOCK TABLE projects IN ACCESS SHARE MODE").await.unwrap();
    let hold = async {
        sleep(HELD).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let read = async {
        let (began, mut longest) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < HELD {
            let asked = Instant::now();
            reader.batch_execute("SELECT count(*) FROM projects").await.unwrap();
            longest = longest.max(asked.elapsed());
            sleep(Duration::from_millis(20)).await;
        }
        longest
    };
    let limits = Limits { lock: Duration::from_millis(300), ..Limits::default() };
    let alter = subject.apply(&["CREATE TABLE before (id int); ALTER TABLE projects ADD extra text"], &limits);
    let (outcome, (), longest) = tokio::join!(alter, hold, read);
    drop((holder, reader));
    let outcome = outcome.unwrap();
    assert_eq!(applied(&outcome), [subject.version(0)]);
    assert!(outcome.retries() >= 2, "{outcome:?}");
    assert!(longest > Duration::from_millis(100), "the file stood before nobody: {longest:?}");
    assert!(longest < Duration::from_secs(1), "a read waited for {longest:?}");
    subject.finish().await;
}

#[tokio::test]
async fn the_server_itself_ends_a_transaction_that_is_open_for_too_long() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let version = "SELECT current_setting('server_version_num')::int4";
    // Older servers know no such bound.
    if subject.database().value::<i32>(version).await >= 170_000 {
        let limits = Limits { transaction: Duration::from_millis(600), ..Limits::default() };
        let refusal = subject.apply(&["CREATE TABLE half (id int); SELECT pg_sleep(5)"], &limits).await.unwrap_err();
        assert_eq!(refusal.code(), "migration_timeout", "{refusal}");
        assert!(refusal.to_string().ends_with("it was stopped after 0.6 s"), "{refusal}");
        assert!(!subject.database().value::<bool>("SELECT to_regclass('half') IS NOT NULL").await);
        let outcome = subject.apply(&["CREATE TABLE half (id int)"], &limits).await.unwrap();
        assert_eq!(applied(&outcome), [subject.version(0)]);
    }
    subject.finish().await;
}

#[tokio::test]
async fn a_file_gives_up_after_its_budget_and_a_slow_one_is_stopped() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let holder = subject.database().connect().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE projects IN ACCESS SHARE MODE").await.unwrap();
    let limits = Limits {
        lock: Duration::from_millis(50),
        lock_budget: Duration::from_millis(900),
        statement: Duration::from_millis(700),
        ..Limits::default()
    };
    let refusal =
        subject.apply(&["CREATE TABLE half (id int); DROP TABLE projects CASCADE"], &limits).await.unwrap_err();
    assert_eq!(refusal.code(), "migration_lock_timeout");
    assert!(
        refusal.is_transient() && refusal.to_string().starts_with(&format!("V{}__more.sql: ", subject.version(0))),
        "{refusal}"
    );
    drop(holder);
    for sql in [
        "SELECT pg_sleep(20)",
        "SET statement_timeout = 0; SELECT pg_sleep(20)",
        "SELECT pg_sleep(0.4), 1; SELECT pg_sleep(0.4)",
    ] {
        let started = Instant::now();
        assert_eq!(code(subject.apply(&[sql], &limits).await), "migration_timeout", "{sql}");
        assert!(started.elapsed() < Duration::from_secs(5), "{sql}");
    }
    assert!(!subject.database().value::<bool>("SELECT to_regclass('half') IS NOT NULL").await);
    subject.finish().await;
}

#[tokio::test]
async fn two_runners_apply_each_file_once() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let files = ["CREATE TABLE a (id int); SELECT pg_sleep(0.3)", "CREATE TABLE b (id int)", "CREATE TABLE c (id int)"];
    let limits = Limits::default();
    let (one, other) = tokio::join!(subject.apply(&files, &limits), subject.apply(&files, &limits));
    let mut all = [applied(&one.unwrap()), applied(&other.unwrap())].concat();
    all.sort_unstable();
    assert_eq!(all, [subject.version(0), subject.version(1), subject.version(2)]);
    let holder = subject.database().connect().await.unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(7382074225431899236)").await.unwrap();
    let impatient = Limits { runner: Duration::from_millis(300), ..Limits::default() };
    assert_eq!(code(subject.apply(&files, &impatient).await), "migration_locked");
    drop(holder);
    subject.finish().await;
}
