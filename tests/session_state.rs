//! What somebody leaves on a session with a tenant's database never reaches the next one who gets the session, and a
//! session that nothing can have been left on is not reset.

use std::time::Duration;

use freehold::{
    tenancy::{Statements, TenantConn},
    types::Clock,
};
use serde_json::json;

use crate::harness::{
    actors::Member, eventually, eventually_within, fleet, fleet::Fleet, replica::Replica, sql::Database, tenant::Tenant,
};

/// Everything that can be found on a session.
const FOUND: &str = "SELECT concat_ws(', ',
    CASE WHEN current_user <> session_user THEN 'a role' END,
    CASE WHEN session_user <> current_database() THEN 'a login' END,
    (SELECT string_agg(name || ' = ' || setting, ', ') FROM pg_settings WHERE source = 'session'),
    nullif(current_setting('freehold_test.left', true), ''),
    (SELECT 'a lock' FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' LIMIT 1),
    (SELECT 'a cursor' FROM pg_cursors WHERE is_holdable LIMIT 1),
    (SELECT 'a statement' FROM pg_prepared_statements WHERE from_sql LIMIT 1),
    (SELECT 'a channel' FROM pg_listening_channels() LIMIT 1),
    (SELECT 'a transaction' WHERE statement_timestamp() - now() > interval '20 ms'),
    (SELECT 'a table' FROM pg_class WHERE relnamespace = pg_my_temp_schema() LIMIT 1))";

const PID: &str = "SELECT pg_backend_pid()";

/// Statements that leave something, what that is, and whether it only ends with the session.
const LEAVING: [(&str, &str, bool); 11] = [
    ("SET work_mem = '5MB'", "work_mem = 5120", false),
    ("SELECT set_config('freehold_test.left', 'marker', false)", "marker", false),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "default_transaction_isolation", false),
    ("SELECT pg_advisory_lock(42)", "a lock", false),
    ("SELECT pg_try_advisory_lock_shared(1, 2)", "a lock", false),
    ("CREATE TEMPORARY TABLE left_here (id int)", "a table", false),
    ("SELECT 1 AS id INTO TEMPORARY TABLE left_here", "a table", false),
    ("LISTEN left_here", "a channel", false),
    ("SET ROLE freehold_tenant", "a role", false),
    ("PREPARE left_here AS SELECT 1", "a statement", true),
    ("BEGIN", "a transaction", true),
];

/// A replica with one session a tenant, so that the next one gets what the last one had.
async fn one_session(fleet: &Fleet) -> Replica {
    fleet.another_replica(&[("FREEHOLD_TENANT_POOL_SIZE", "1"), ("FREEHOLD_REPLICA", "single")], Clock::default()).await
}

async fn connect(replica: &Replica, tenant: &Tenant<'_>) -> TenantConn {
    replica.app().operations().tenancy.connect(tenant.id.parse().unwrap()).await.unwrap()
}

async fn found(conn: &TenantConn) -> (i32, String) {
    let pid = conn.row(PID, &[]).await.unwrap().unwrap().get(0);
    // A transaction that is open is older than the statement that looks for it.
    tokio::time::sleep(Duration::from_millis(30)).await;
    (pid, conn.row(FOUND, &[]).await.unwrap().unwrap().get(0))
}

#[tokio::test]
async fn nothing_that_a_statement_leaves_reaches_the_next_user_of_the_session() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, one_session(&fleet).await);
    let name = tenant.database_name();
    fleet.on_server("postgres").run(&format!("GRANT TEMPORARY ON DATABASE {name} TO {name}")).await;
    let version = fleet.on_server("postgres").value::<String>("SHOW server_version_num").await;
    for (leaving, what, ends_with_it) in LEAVING {
        // From PostgreSQL 16 on a tenant's role cannot become another one at all.
        if version.parse::<u32>().unwrap() >= 160_000 && what == "a role" {
            let conn = connect(&replica, &tenant).await;
            let refused = conn.rows(leaving, &[]).await.unwrap_err();
            assert!(format!("{refused:?}").contains("permission denied"), "{refused:?}");
            continue;
        }
        let conn = connect(&replica, &tenant).await;
        let (before, nothing) = found(&conn).await;
        assert_eq!(nothing, "", "before {leaving}");
        conn.rows(leaving, &[]).await.unwrap();
        let (_, left) = found(&conn).await;
        assert!(left.contains(what), "{leaving} leaves {left}");
        drop(conn);
        let (after, left) = found(&connect(&replica, &tenant).await).await;
        assert_eq!(left, "", "after {leaving}");
        assert_eq!(before == after, !ends_with_it, "{leaving}: a session too many was closed, or too few");
    }
    replica.stop().await;
    tenant.erase().await;
}

/// What a team's migration may bring: a function that leaves everything at once, and what calls it.
const BRINGS_A_TRIGGER: &str = "
    CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY);
    GRANT ALL ON counted TO PUBLIC;
    CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('freehold_test.left', NEW.name, false), pg_advisory_lock(42);
        EXECUTE 'LISTEN left_here';
        EXECUTE 'DECLARE left_here CURSOR WITH HOLD FOR SELECT 1';
        INSERT INTO counted DEFAULT VALUES;
        SET work_mem = '5MB';
        RETURN NEW;
    END $$;
    CREATE TRIGGER leave BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION leave()";

#[tokio::test]
async fn nothing_that_a_trigger_leaves_reaches_the_next_user_of_the_session() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, one_session(&fleet).await);
    let member = replica.member(&tenant.slug, tenant.admin.bearer());
    let reading = Reading { database: tenant.database(), member: &member, path: made(&member).await };
    reading.is_proven().await;
    reading.database.run(BRINGS_A_TRIGGER).await;
    let (pid, _) = found(&connect(&replica, &tenant).await).await;
    for _ in 0..3 {
        member.post("/v1/projects", &json!({ "name": "marker" })).await.expect(201);
        let conn = connect(&replica, &tenant).await;
        assert_eq!(found(&conn).await, (pid, String::new()));
        let counted = conn.row("SELECT lastval()", &[]).await.unwrap_err();
        assert_eq!(counted.code().unwrap().code(), "55000", "{counted}");
    }
    let counted: i64 = reading.database.value("SELECT count(*) FROM counted").await;
    assert_eq!(counted, 3, "the trigger has run");
    // One that fails leaves a lock and what it has counted.
    reading.database.run("ALTER TABLE projects ADD CHECK (name <> 'refused')").await;
    member.post("/v1/projects", &json!({ "name": "refused" })).await.problem(500, "internal");
    let conn = connect(&replica, &tenant).await;
    assert_eq!(found(&conn).await, (pid, String::new()));
    conn.row("SELECT lastval()", &[]).await.unwrap_err();
    drop(conn);
    replica.stop().await;
    tenant.erase().await;
}

/// Makes a project.
async fn made(member: &Member) -> String {
    let project = member.post("/v1/projects", &json!({ "name": "Read often" })).await.expect(201);
    format!("/v1/projects/{}", project["id"].as_str().unwrap())
}

/// The database of a tenant, and a reader of one of its rows.
struct Reading<'a> {
    database: Database,
    member: &'a Member,
    path: String,
}

impl Reading<'_> {
    /// Reads so often that what can be proven is, and looks whether the session was reset after the last time.
    async fn is_reset(&self) -> bool {
        for _ in 0..60 {
            self.member.get(&self.path).await.expect(200);
        }
        let last = "SELECT query FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'freehold:single'";
        for _ in 0..10 {
            let last: Vec<String> = self.database.values(last).await;
            if last.iter().any(|last| last.starts_with("CLOSE ALL")) {
                return true;
            }
            // A look at the catalogue came last, which hides what came before it.
            if last.iter().any(|last| last.starts_with("-- Which names")) {
                self.member.get(&self.path).await.expect(200);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    async fn is_proven(&self) {
        // A busy machine reads too seldom for proofs to pay, for a while.
        eventually_within("a session that is not reset", Duration::from_mins(1), async || {
            (!self.is_reset().await).then_some(())
        })
        .await;
    }
}

/// What takes the proof away from a statement that reads `projects`, and gives it back.
const TAINTS: [(&str, &str); 10] = [
    (
        "CREATE FUNCTION public.description(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "DROP FUNCTION public.description",
    ),
    (
        "CREATE FUNCTION same(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR public.=== (FUNCTION = same, LEFTARG = text, RIGHTARG = text)",
        "DROP FUNCTION same CASCADE",
    ),
    (
        "ALTER TABLE projects ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON projects USING (true)",
        "DROP POLICY p ON projects; ALTER TABLE projects DISABLE ROW LEVEL SECURITY",
    ),
    (
        "CREATE FUNCTION f(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'; CREATE INDEX i ON projects (f(name))",
        "DROP FUNCTION f CASCADE",
    ),
    (
        "CREATE DOMAIN d AS text CHECK (length(VALUE) < 9); ALTER TABLE projects ADD COLUMN extra d",
        "DROP DOMAIN d CASCADE",
    ),
    (
        "CREATE FUNCTION f(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
         CREATE STATISTICS s ON (lower(name || f('x'))) FROM projects",
        "DROP FUNCTION f CASCADE",
    ),
    (
        "CREATE EXTENSION citext; CREATE DOMAIN d AS text CHECK (length(VALUE) < 9); ALTER EXTENSION citext ADD DOMAIN d;
         ALTER TABLE projects ADD COLUMN extra d",
        "ALTER EXTENSION citext DROP DOMAIN d; DROP DOMAIN d CASCADE; DROP EXTENSION citext",
    ),
    (
        "CREATE EXTENSION isn; ALTER FUNCTION isn_weak(bool) RENAME TO description",
        "DROP EXTENSION isn",
    ),
    // It runs the text that it is given, and says of itself that it is stable.
    ("CREATE EXTENSION tablefunc; ALTER FUNCTION crosstab(text) RENAME TO description", "DROP EXTENSION tablefunc"),
    // Last: PostgreSQL remembers that there was one until the table is analysed.
    ("CREATE TABLE heir () INHERITS (projects)", "DROP TABLE heir; ANALYZE projects"),
];

#[tokio::test]
async fn what_is_proven_to_leave_nothing_is_not_reset_until_the_proof_is_gone() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, one_session(&fleet).await);
    let member = replica.member(&tenant.slug, tenant.admin.bearer());
    let reading = Reading { database: tenant.database(), member: &member, path: made(&member).await };
    for (taint, mend) in TAINTS {
        reading.is_proven().await;
        reading.database.run(taint).await;
        // Proofs hold for a second.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        for _ in 0..3 {
            assert!(reading.is_reset().await, "{taint}");
        }
        reading.database.run(mend).await;
    }
    reading.is_proven().await;
    replica.stop().await;
    tenant.erase().await;
}

#[tokio::test]
async fn what_was_left_under_a_proof_that_a_migration_took_away_goes_with_its_session() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, one_session(&fleet).await);
    let member = replica.member(&tenant.slug, tenant.admin.bearer());
    let reading = Reading { database: tenant.database(), member: &member, path: made(&member).await };
    reading.is_proven().await;
    let swap = "ALTER TABLE projects RENAME TO rows;
        CREATE VIEW projects AS SELECT * FROM rows WHERE (SELECT true FROM pg_advisory_lock(42));
        GRANT SELECT ON projects TO PUBLIC";
    reading.database.run(&format!("BEGIN; {swap}; COMMIT")).await;
    member.get(&reading.path).await.expect(200);
    // Nobody asks for anything any more.
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = 42";
    eventually("the lock to go", async || (reading.database.value::<i64>(held).await == 0).then_some(())).await;
    replica.stop().await;
    tenant.erase().await;
}
