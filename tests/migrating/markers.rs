//! Files that run outside a transaction, or in many: cut off anywhere, the next run ends where one that was not cut off
//! would have ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use freehold::{
    migrations::{Limits, Progress, Wait, WaitingRequests, apply_tenant},
    operations::schema::ROLES,
};
use tokio::{sync::watch, time::sleep};

use super::subject::{Subject, applied};
use crate::harness::{
    eventually, eventually_within,
    fleet::{self, Fleet},
    programs::{start_postgres, stop_postgres},
};

const MAKE: &str = "CREATE TABLE big (id int PRIMARY KEY, old text, new text);
                    INSERT INTO big SELECT n, 'x' || n FROM generate_series(1, 4000) n";
const INDEX: &str = "-- freehold:no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY big_old_idx ON big (old);";
const FILL: &str = "-- freehold:batched
    UPDATE big SET new = old WHERE id IN (SELECT id FROM big WHERE new IS NULL ORDER BY id LIMIT $1);";

/// Whether the index is whole, if it is there, and which one it is.
const STATE: &str = "SELECT coalesce((SELECT indisvalid || ' ' || indexrelid FROM pg_index
                                       WHERE indexrelid = to_regclass('public.big_old_idx')), 'none')";
const NOTE: &str = "SELECT coalesce(obj_description('public.refinery_schema_history'::regclass), '')";
const RECORDED: &str = "SELECT max(version) FROM refinery_schema_history";

#[tokio::test]
async fn an_index_is_made_beside_the_requests_and_recorded() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let drop = "-- freehold:no-transaction\nDROP INDEX CONCURRENTLY big_old_idx";
    let again = "-- freehold:no-transaction\nREINDEX TABLE CONCURRENTLY big";
    let outcome = subject.apply(&[MAKE, INDEX, again, drop, INDEX], &Limits::default()).await.unwrap();
    assert_eq!(applied(&outcome), (0..5).map(|number| subject.version(number)).collect::<Vec<_>>());
    let owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'big_old_idx'";
    assert_eq!(subject.database().value::<String>(owner).await, "freehold_owner");
    assert!(subject.database().value::<String>(STATE).await.starts_with("true"));
    assert_eq!(subject.database().value::<String>(NOTE).await, "");
    let before = [MAKE, INDEX, again, drop, INDEX];
    for (sql, code, told) in [
        (INDEX, "migration_failed", "already exists"),
        ("-- freehold:no-transaction\nCREATE INDEX CONCURRENTLY ON big (new)", "migration_refused", "needs a name"),
        (
            "-- freehold:no-transaction\nALTER TABLE big ADD more text",
            "migration_refused",
            "holds CREATE, DROP or REINDEX",
        ),
        ("-- freehold:no-transaction\nDROP DATABASE postgres", "migration_refused", "holds CREATE, DROP or REINDEX"),
        ("-- freehold:no-transaction\nVACUUM big; DROP TABLE big", "migration_failed", "multiple commands"),
        ("-- freehold:no-transactions\nVACUUM big", "migration_refused", "no-transactions"),
        ("CREATE INDEX CONCURRENTLY x ON big (new)", "migration_failed", "transaction block"),
    ] {
        let mut files = before.to_vec();
        files.push(sql);
        let refusal = subject.refused(&files).await;
        assert!(refusal.0 == code && refusal.1.contains(told), "{sql}: {refusal:?}");
    }
    let tolerant = "-- freehold:no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS big_old_idx ON big (old)";
    let mut files = before.to_vec();
    files.extend([tolerant, "-- freehold:no-transaction\nVACUUM (ANALYZE) big"]);
    assert_eq!(
        applied(&subject.apply(&files, &Limits::default()).await.unwrap()),
        [subject.version(5), subject.version(6)]
    );
    subject.finish().await;
}

#[tokio::test]
async fn an_index_that_was_cut_off_is_made_again_and_one_that_was_made_is_kept() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let (database, limits) = (subject.database(), Limits::default());
    subject.apply(&[MAKE], &limits).await.unwrap();

    // Cut off half-way: it waits for a transaction that is older.
    let old = database.connect().await.unwrap();
    old.batch_execute("BEGIN; UPDATE big SET new = '' WHERE id = 1").await.unwrap();
    let files = [MAKE, INDEX];
    let cut = async {
        eventually("half an index", async || database.value::<String>(STATE).await.starts_with("false").then_some(()))
            .await;
        subject.end_session().await;
    };
    let (ended, ()) = tokio::join!(subject.apply(&files, &limits), cut);
    ended.unwrap_err();
    old.batch_execute("ROLLBACK").await.unwrap();
    let half: String = database.value(STATE).await;
    assert!(half.starts_with("false"), "{half}");
    subject.apply(&files, &limits).await.unwrap();
    let whole: String = database.value(STATE).await;
    assert!(whole.starts_with("true") && whole[5..] != half[6..], "{half}, then {whole}");
    assert_eq!(database.value::<i32>(RECORDED).await, subject.version(1));

    // Cut off between the index and its row: somebody else is about to write the same row.
    let second = INDEX.replace("big_old_idx", "big_second_idx");
    let state = STATE.replace("big_old_idx", "big_second_idx");
    let files = [MAKE, INDEX, &second];
    old.batch_execute(&format!(
        "BEGIN; INSERT INTO refinery_schema_history VALUES ({}, 'x', '', '')",
        subject.version(2)
    ))
    .await
    .unwrap();
    let cut = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO public.ref%'
                          AND datname = current_database() AND pid <> pg_backend_pid()";
        eventually("its row", async || (database.value::<i64>(waiting).await > 0).then_some(())).await;
        subject.end_session().await;
    };
    let (ended, ()) = tokio::join!(subject.apply(&files, &limits), cut);
    ended.unwrap_err();
    old.batch_execute("ROLLBACK").await.unwrap();
    drop(old);
    let made: String = database.value(&state).await;
    assert!(made.starts_with("true") && database.value::<String>(NOTE).await.contains(" has begun"), "{made}");
    assert_eq!(applied(&subject.apply(&files, &limits).await.unwrap()), [subject.version(2)]);
    assert_eq!(database.value::<String>(&state).await, made, "it was not made twice");
    assert_eq!(database.value::<String>(NOTE).await, "");
    subject.finish().await;
}

#[tokio::test]
async fn an_index_that_the_data_refuse_leaves_nothing_behind() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let files = [MAKE, "INSERT INTO big VALUES (0, 'x1')", INDEX];
    let error = subject.apply(&files, &Limits::default()).await.unwrap_err();
    let told =
        format!("V{}__more.sql: could not create unique index \"big_old_idx\" (PostgreSQL 23505)", subject.version(2));
    assert_eq!((error.code(), error.to_string()), ("migration_failed", told));
    assert_eq!(subject.database().value::<String>(STATE).await, "none");
    subject.database().run("DELETE FROM big WHERE id = 0").await;
    assert_eq!(applied(&subject.apply(&files, &Limits::default()).await.unwrap()), [subject.version(2)]);
    assert!(subject.database().value::<String>(STATE).await.starts_with("true"));
    subject.finish().await;
}

#[tokio::test]
async fn batches_are_small_and_a_run_that_was_cut_off_goes_on() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let database = subject.database();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0005); RETURN new; END $$;
                CREATE TRIGGER slow BEFORE UPDATE ON big FOR EACH ROW EXECUTE FUNCTION slow()";
    let files = [MAKE, slow, FILL];
    let limits = Limits { batch: Duration::from_millis(150), ..Limits::default() };
    subject.apply(&[MAKE, slow], &limits).await.unwrap();
    let done = "SELECT count(*) FROM big WHERE new IS NOT NULL";
    let cut = async {
        eventually_within("some batches", Duration::from_secs(30), async || {
            (database.value::<i64>(done).await > 1_000).then_some(())
        })
        .await;
        subject.end_session().await;
    };
    let (ended, ()) = tokio::join!(subject.apply(&files, &limits), cut);
    ended.unwrap_err();
    let kept: i64 = database.value(done).await;
    assert!((1_000..4_000).contains(&kept), "{kept}");
    assert_eq!(database.value::<i32>(RECORDED).await, subject.version(1));
    assert_eq!(applied(&subject.apply(&files, &limits).await.unwrap()), [subject.version(2)]);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM big WHERE new = old").await, 4_000);
    let sizes: Vec<i64> = database.values("SELECT count(*) FROM big GROUP BY xmin ORDER BY min(id)").await;
    let large = sizes.iter().filter(|size| **size > 450).count();
    assert!(sizes.len() >= 8 && large <= 2, "each run begins with a large one: {sizes:?}");
    let mut files = files.to_vec();
    files.push("");
    for (sql, told) in [
        ("-- freehold:batched\nSELECT 1 LIMIT $1", "holds one UPDATE"),
        ("-- freehold:batched\nUPDATE big SET new = NULL", "as in LIMIT $1"),
        ("-- freehold:batched\nUPDATE big SET new = $1 WHERE id = $2", "as in LIMIT $1"),
    ] {
        files[3] = sql;
        let refusal = subject.refused(&files).await;
        assert!(refusal.0 == "migration_refused" && refusal.1.contains(told), "{sql}: {refusal:?}");
    }
    files[3] = "-- freehold:batched\nUPDATE big SET new = old WHERE id IN (SELECT id FROM big LIMIT $1)";
    let endless = Limits { batches: Duration::from_millis(500), ..limits };
    let refusal = subject.apply(&files, &endless).await.unwrap_err();
    assert!(refusal.code() == "migration_unfinished" && refusal.is_transient(), "{refusal}");
    subject.finish().await;
}

#[tokio::test]
async fn batches_pause_while_the_table_is_needed_and_say_so() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let database = subject.database();
    subject.apply(&[MAKE], &Limits::default()).await.unwrap();
    let vacuum = database.connect().await.unwrap();
    // What VACUUM holds, and ANALYZE, and autovacuum.
    vacuum.batch_execute("BEGIN; LOCK TABLE big IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let progress = watch::Sender::<Progress>::default();
    let mut seen = progress.subscribe();
    let (limits, schema) = (Limits::default(), subject.schema(&[MAKE, FILL]));
    let run = async { apply_tenant(&mut subject.session().await, &schema, &ROLES, &limits, &progress).await };
    let look = async {
        let paused = *seen.wait_for(|now| now.wait == Some(Wait::Vacuum)).await.unwrap();
        let rows = "SELECT count(*) FROM big WHERE new IS NOT NULL";
        let before: i64 = database.value(rows).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(database.value::<i64>(rows).await, before, "it pauses");
        assert_eq!((paused.rows, paused.file.map(|file| file.1)), (before.unsigned_abs(), Some(subject.version(1))));
        vacuum.batch_execute("COMMIT").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(run, look);
    assert_eq!(applied(&outcome.unwrap()), [subject.version(1)]);
    let impatient = Limits { quiet: Duration::from_millis(100), ..limits };
    vacuum.batch_execute("BEGIN; LOCK TABLE big IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let again = FILL.replace("new = old", "new = NULL").replace("new IS NULL", "new IS NOT NULL");
    subject.apply(&[MAKE, FILL, &again], &impatient).await.unwrap();
    drop(vacuum);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM big WHERE new IS NULL").await, 4_000, "for a bounded time");
    subject.finish().await;
}

#[tokio::test]
async fn batches_pause_while_sessions_wait_for_the_table_and_requests_for_connections() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let database = subject.database();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0005); RETURN new; END $$;
                CREATE TRIGGER slow BEFORE UPDATE ON big FOR EACH ROW EXECUTE FUNCTION slow()";
    subject.apply(&[MAKE, slow], &Limits::default()).await.unwrap();
    let (reader, changer) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let is_crowded = Arc::new(AtomicBool::new(false));
    let crowd = WaitingRequests::told_by({
        let is_crowded = Arc::clone(&is_crowded);
        move || is_crowded.load(Ordering::SeqCst)
    });
    let progress = watch::Sender::<Progress>::default();
    let mut seen = progress.subscribe();
    let (limits, schema) = (Limits { crowd, ..Limits::default() }, subject.schema(&[MAKE, slow, FILL]));
    let run = async { apply_tenant(&mut subject.session().await, &schema, &ROLES, &limits, &progress).await };
    let look = async {
        seen.wait_for(|now| now.rows > 0).await.unwrap();
        is_crowded.store(true, Ordering::SeqCst);
        seen.wait_for(|now| now.wait == Some(Wait::Connections)).await.unwrap();
        // One reads, and another one waits for it: whoever comes after both waits too.
        reader.batch_execute("BEGIN; SELECT count(*) FROM big").await.unwrap();
        let change = async { changer.batch_execute("BEGIN; LOCK TABLE big; COMMIT").await.unwrap() };
        let free = async {
            let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass AND NOT granted";
            eventually("somebody who waits", async || (database.value::<i64>(waiting).await > 0).then_some(())).await;
            is_crowded.store(false, Ordering::SeqCst);
            seen.wait_for(|now| now.wait == Some(Wait::Sessions)).await.unwrap();
            reader.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(change, free);
    };
    let (outcome, ()) = tokio::join!(run, look);
    assert_eq!(applied(&outcome.unwrap()), [subject.version(2)]);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM big WHERE new = old").await, 4_000);
    drop((reader, changer));
    subject.finish().await;
}

#[tokio::test]
async fn batches_pause_while_the_server_cannot_archive() {
    let fleet = fleet::alone().await;
    let server = fleet.on_server("postgres");
    for sql in ["ALTER SYSTEM SET archive_mode = on", "ALTER SYSTEM SET archive_command = 'false'"] {
        server.run(sql).await;
    }
    restart(&fleet);
    let subject = Subject::make(&fleet).await;
    let database = subject.database();
    subject.apply(&[MAKE], &Limits::default()).await.unwrap();
    server.run("SELECT pg_switch_wal()").await;
    let failed = "SELECT failed_count FROM pg_stat_archiver";
    eventually_within("a failure to archive", Duration::from_secs(30), async || {
        (server.value::<i64>(failed).await > 0).then_some(())
    })
    .await;
    let progress = watch::Sender::<Progress>::default();
    let mut seen = progress.subscribe();
    let (limits, schema) = (Limits::default(), subject.schema(&[MAKE, FILL]));
    let run = async { apply_tenant(&mut subject.session().await, &schema, &ROLES, &limits, &progress).await };
    let look = async {
        let paused = *seen.wait_for(|now| now.wait == Some(Wait::Archiving)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let rows = "SELECT count(*) FROM big WHERE new IS NOT NULL";
        assert_eq!(database.value::<i64>(rows).await.unsigned_abs(), paused.rows, "it pauses");
        server.run("ALTER SYSTEM SET archive_command = 'true'").await;
        server.run("SELECT pg_reload_conf()").await;
        eventually_within("the archiver to catch up", Duration::from_mins(2), async || {
            server.run("SELECT pg_switch_wal()").await;
            let behind =
                "SELECT last_archived_time IS NULL OR last_failed_time > last_archived_time FROM pg_stat_archiver";
            (!server.value::<bool>(behind).await).then_some(())
        })
        .await;
    };
    let (outcome, ()) = tokio::join!(run, look);
    assert_eq!(applied(&outcome.unwrap()), [subject.version(1)]);
    subject.finish().await;
    for sql in ["ALTER SYSTEM RESET archive_mode", "ALTER SYSTEM RESET archive_command"] {
        server.run(sql).await;
    }
    restart(&fleet);
    fleet.tenant().await;
}

/// Some settings are read when a server starts.
fn restart(fleet: &Fleet) {
    stop_postgres(&fleet.server_data());
    start_postgres(&fleet.server_data());
}
