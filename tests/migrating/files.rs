//! A file and its row in the history are one, and what a file sets ends with it.

use freehold::migrations::Limits;

use super::subject::{Subject, applied};
use crate::harness::fleet;

#[tokio::test]
async fn a_file_that_ends_its_transaction_changes_nothing() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    for sql in [
        "CREATE TABLE half (id int); COMMIT",
        "CREATE TABLE half (id int); ROLLBACK;",
        "CREATE TABLE half (id int); ROLLBACK; CREATE TABLE half (id int)",
        "BEGIN; CREATE TABLE half (id int); COMMIT;",
        "CREATE TABLE half (id int); end /* of */ transaction AND CHAIN;",
        "CREATE TABLE half (id int);\nabort;",
        "CREATE TABLE half (id int); PREPARE TRANSACTION 'half';",
        "CREATE TABLE half (id int); SAVEPOINT a; DROP TABLE half; ROLLBACK TO a; RELEASE a",
        "CREATE TABLE half (id int); DO $$ BEGIN COMMIT; END $$",
        "CREATE TABLE half (id int); DO $$ BEGIN EXECUTE 'COMMIT'; END $$",
        "CREATE TABLE half (id int);
         CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; CREATE TABLE other (id int); COMMIT; END $$; CALL p()",
    ] {
        let (code, sentence) = subject.refused(&[sql]).await;
        let begins = format!("V{}__more.sql: a file may not begin or end a transaction", subject.version(0));
        assert!(code == "migration_refused" && sentence.starts_with(&begins), "{sql}: {code} {sentence}");
    }
    let (code, sentence) = subject.refused(&["CREATE TABLE half (id int); COPY half FROM STDIN"]).await;
    assert!(code == "migration_refused" && sentence.ends_with("write INSERT"), "{sentence}");
    let allowed = "SELECT 1 AS one INTO kept; -- the end";
    let outcome = subject.apply(&[allowed], &Limits::default()).await.unwrap();
    assert_eq!(
        (applied(&outcome), outcome.from, outcome.to),
        (vec![subject.version(0)], subject.versions(0), subject.versions(1))
    );
    assert!(outcome.files[0].retries == 0 && outcome.files[0].millis < 10_000, "{outcome:?}");
    assert_eq!(subject.database().value::<i32>("SELECT one FROM kept").await, 1);
    subject.finish().await;
}

#[tokio::test]
async fn a_file_that_writes_freeholds_rows_in_a_tenant_changes_nothing() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    // A template has no person, so that these find rows here only.
    for sql in [
        "UPDATE freehold.users SET role = 'owner'",
        "DELETE FROM freehold.sessions; DELETE FROM freehold.credentials",
        "DO $$ BEGIN EXECUTE 'UPDATE freehold.users SET active = false'; END $$",
        "-- freehold:batched\nUPDATE freehold.users SET name = 'x' WHERE id IN (SELECT id FROM freehold.users WHERE name <> 'x' LIMIT $1)",
    ] {
        let (code, sentence) = subject.refused(&[sql]).await;
        assert!(code == "migration_refused" && sentence.contains("it has written to freehold."), "{sql}: {sentence}");
    }
    // It may read them, refer to them, and make what will write them.
    let allowed = "CREATE TABLE pets (id uuid PRIMARY KEY, owner_id uuid REFERENCES freehold.users (id));
        INSERT INTO pets SELECT gen_random_uuid(), id FROM freehold.users;
        CREATE FUNCTION noted() RETURNS void LANGUAGE sql BEGIN ATOMIC
            INSERT INTO freehold.audit_events (id, actor, action) VALUES (gen_random_uuid(), 'a', 'b'); END";
    subject.apply(&[allowed, "SELECT 1"], &Limits::default()).await.unwrap();
    assert!(subject.database().value::<i64>("SELECT count(*) FROM pets").await > 0, "somebody is there");
    subject.finish().await;
}

/// Everything that a file may leave in a session.
const LEAVES: &str = "
    SELECT pg_catalog.set_config('search_path', '', false);
    SET statement_timeout = '1ms';
    SET lock_timeout = '1ms';
    SET idle_in_transaction_session_timeout = 0;
    SET default_transaction_read_only = on;
    SET standard_conforming_strings = off;
    SET datestyle = 'German';
    SET app.note = 'left';
    CREATE TEMP TABLE settled (other text);
    PREPARE leftover AS SELECT 1;
    DECLARE leftover CURSOR WITH HOLD FOR SELECT 1;
    LISTEN leftover;
    SELECT pg_catalog.pg_advisory_unlock_all();
    SET ROLE freehold_owner;
    CREATE TABLE public.first (id int)";

/// Finds nothing of it.
const FINDS: &str = "
    CREATE TABLE settled (id int);
    DO $$ BEGIN
        IF current_user <> 'freehold_owner' OR current_setting('search_path') <> 'public'
           OR current_setting('lock_timeout') <> '500ms' OR current_setting('statement_timeout') <> '10min'
           OR current_setting('transaction_read_only') = 'on' OR current_setting('datestyle') NOT LIKE 'ISO%'
           OR coalesce(current_setting('app.note', true), '') <> '' OR 'settled'::regclass::oid <> 'public.settled'::regclass
           OR EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql) OR EXISTS (SELECT FROM pg_cursors)
           OR EXISTS (SELECT FROM pg_listening_channels())
        THEN RAISE EXCEPTION 'something was left behind'; END IF;
    END $$";

#[tokio::test]
async fn what_a_file_sets_ends_with_it() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let outcome = subject.apply(&[LEAVES, FINDS], &Limits::default()).await.unwrap();
    assert_eq!(applied(&outcome), [subject.version(0), subject.version(1)]);
    let owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE tablename IN ('first', 'settled')";
    assert_eq!(subject.database().values::<String>(owners).await, ["freehold_owner"]);
    let times = "SELECT DISTINCT applied_on::timestamptz BETWEEN now() - interval '1 h' AND now()
                   FROM refinery_schema_history";
    assert_eq!(subject.database().values::<bool>(times).await, [true]);
    let unknown = subject.refused(&[LEAVES, FINDS, "SET ROLE pg_monitor; CREATE TABLE half (id int)"]).await;
    assert!(unknown.0 == "migration_failed" && unknown.1.contains("permission denied"), "{unknown:?}");
    let reset = subject.refused(&[LEAVES, FINDS, "RESET ROLE; CREATE TABLE half (id int)"]).await;
    assert!(reset.0 == "migration_refused" && reset.1.contains("did not stay the owner"), "{reset:?}");
    subject.finish().await;
}

#[tokio::test]
async fn what_no_copy_and_no_dump_would_have_is_refused() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let name = subject.tenant.database_name();
    subject.database().run(&format!("ALTER DATABASE {name} SET work_mem = '8MB'")).await;
    for (statement, catalogue) in [
        ("ALTER DATABASE %I SET timezone = ''Europe/Berlin''", "pg_db_role_setting"),
        ("ALTER DATABASE %I RESET work_mem", "pg_db_role_setting"),
        ("ALTER ROLE freehold_owner SET work_mem = ''5MB''", "pg_db_role_setting"),
        ("ALTER ROLE freehold_owner IN DATABASE %I SET work_mem = ''5MB''", "pg_db_role_setting"),
        ("ALTER DATABASE %I CONNECTION LIMIT 7", "pg_database"),
        ("GRANT CONNECT ON DATABASE %I TO PUBLIC", "pg_database"),
        ("GRANT TEMPORARY ON DATABASE %I TO freehold_tenant", "pg_database"),
        ("COMMENT ON DATABASE %I IS ''mine''", "pg_shdescription"),
        ("ALTER ROLE freehold_owner PASSWORD ''x''", "pg_authid"),
    ] {
        let run = format!("EXECUTE format('{statement}', current_database())");
        let caught = format!("BEGIN {run}; EXCEPTION WHEN division_by_zero THEN NULL; END");
        for run in [run, caught] {
            let sql = format!("CREATE TABLE half (id int); DO $$ BEGIN {run}; END $$");
            let (code, sentence) = subject.refused(&[&sql]).await;
            assert!(code == "migration_refused" && sentence.contains(catalogue), "{sql}: {code} {sentence}");
        }
    }
    // Somebody else's changes are not the file's.
    let other = subject.database().connect().await.unwrap();
    other.batch_execute(&format!("BEGIN; ALTER DATABASE {name} SET work_mem = '9MB'")).await.unwrap();
    other.batch_execute(&format!("GRANT TEMPORARY ON DATABASE {name} TO freehold_owner; COMMIT")).await.unwrap();
    drop(other);
    let rich = "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE SCHEMA more; CREATE TABLE more.t (m mood);
                COMMENT ON TABLE more.t IS 'x'; GRANT SELECT ON more.t TO freehold_tenant; CREATE EXTENSION pg_trgm;
                CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT f()";
    subject.apply(&[rich], &Limits::default()).await.unwrap();
    subject.finish().await;
}

#[tokio::test]
async fn what_a_file_makes_is_the_tenants_whatever_became_of_default_privileges() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let own = subject.own_session(&fleet).await;
    own.batch_execute("DROP OWNED BY freehold_tenant").await.unwrap();
    let makes = "CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY)";
    let again = "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM freehold_tenant; CREATE TABLE hidden (id int)";
    subject.apply(&[makes, again, "CREATE TABLE last (id int)"], &Limits::default()).await.unwrap();
    own.batch_execute("INSERT INTO made DEFAULT VALUES; DELETE FROM made; DELETE FROM last").await.unwrap();
    assert!(own.batch_execute("SELECT FROM hidden").await.is_err(), "a file may decide otherwise, for itself");
    drop(own);
    let kinds = "SELECT string_agg(defaclobjtype::text, '' ORDER BY defaclobjtype) FROM pg_default_acl";
    assert_eq!(subject.database().value::<String>(kinds).await, "STfnr");
    subject.finish().await;
}

#[tokio::test]
async fn a_failure_names_the_file_the_line_and_the_reason_without_data() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let make = "CREATE TABLE notes (n text); INSERT INTO notes VALUES ('the secret')";
    let file = format!("V{}__more.sql", subject.version(1));
    for (sql, told) in [
        (
            "-- ä\nSELECT 1;\n  SELECT * FROM nowhere;",
            ", line 3: relation \"nowhere\" does not exist (PostgreSQL 42P01)",
        ),
        ("SELECT 1;\nCREATE TABL x ()", ", line 2: syntax error at or near \"TABL\" (PostgreSQL 42601)"),
        ("SELECT 1/0", ": division by zero (PostgreSQL 22012)"),
        ("SELECT n::int FROM notes", ": invalid input syntax for type integer: \"…\" (PostgreSQL 22P02)"),
        (
            "CREATE TABLE o (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); INSERT INTO o VALUES (1), (1)",
            ": duplicate key value violates unique constraint \"o_pkey\" (PostgreSQL 23505)",
        ),
    ] {
        subject.apply(&[make], &Limits::default()).await.unwrap();
        assert_eq!(subject.refused(&[make, sql]).await, ("migration_failed", format!("{file}{told}")));
    }
    subject.finish().await;
}
