//! A tenant's database has two streams of migrations, Freehold's and the product's: neither can be in the other's way.

use freehold::{Product, migrations::FreeholdPart};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

use crate::{
    archives::{GRANTS, contents},
    archiving::done,
    cloning::{database_of, made},
    harness::{
        PASSWORD, eventually,
        fleet::{self, Fleet},
        sql::Database,
        tenant::{Tenant, new_tenant},
        unique,
    },
    migrations::{MIGRATIONS, published, set, waived},
};

/// What a team may call its tables: what Freehold calls its own.
const NAMESAKES: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, person uuid REFERENCES freehold.users (id) ON DELETE CASCADE);
    CREATE INDEX users_person_idx ON users (person);
    CREATE TABLE roles (id int);
    CREATE TABLE sessions (id int);
    CREATE TABLE audit_events (id int);
    CREATE TABLE idempotency_keys (id int);
    CREATE TABLE settings (name text)";

/// A session of the tenant's own role in its own database.
async fn own_session(fleet: &Fleet, tenant: &Tenant<'_>) -> tokio_postgres::Client {
    let password = fleet.database_password(&tenant.id).await;
    let own = tenant.database().logged_in_as(&tenant.database_name(), password.expose_secret());
    own.connect().await.unwrap()
}

async fn shown(fleet: &Fleet, id: &str) -> (Value, Value) {
    let tenant = fleet.patiently(&format!("/platform/v1/tenants/{id}"), 0).await;
    (tenant["freehold_version"].clone(), tenant["schema_version"].clone())
}

/// The files of a stream, as they are published.
async fn of_stream(fleet: &Fleet, stream: &str) -> Vec<String> {
    let sql = format!("SELECT version || name || md5(sql) FROM migrations WHERE stream = '{stream}' ORDER BY version");
    fleet.control().values(&sql).await
}

async fn count(database: &Database, table: &str) -> i64 {
    database.value(&format!("SELECT count(*) FROM {table}")).await
}

#[tokio::test]
async fn each_stream_has_its_history_in_its_own_schema() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let database = tenant.database();
    let histories = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'refinery_schema_history'
                     ORDER BY 1";
    assert_eq!(database.values::<String>(histories).await, ["freehold", "public"]);
    let versions: (i64, i64) = (
        count(&database, "freehold.refinery_schema_history").await,
        count(&database, "public.refinery_schema_history").await,
    );
    assert_eq!(shown(fleet, &tenant.id).await, (json!(versions.0), json!(versions.1)));
    let first = "SELECT name::text FROM freehold.refinery_schema_history WHERE version = 1
                 UNION ALL SELECT name FROM public.refinery_schema_history WHERE version = 1";
    assert_eq!(
        database.values::<String>(first).await,
        ["identity", "projects_and_tasks"],
        "both have a V1 of their own"
    );
    let session = own_session(fleet, &tenant).await;
    for schema in ["freehold", "public"] {
        session.batch_execute(&format!("SELECT * FROM {schema}.refinery_schema_history")).await.unwrap();
    }
    let path: String = session.query_one("SHOW search_path", &[]).await.unwrap().get(0);
    assert_eq!(path, "public", "a product's statements name no schema");
}

#[tokio::test]
async fn a_tenants_role_adds_to_the_audit_log_and_changes_nothing_in_it() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let session = own_session(fleet, &tenant).await;
    let add = "INSERT INTO freehold.audit_events (id, actor, action) VALUES (gen_random_uuid(), 'test', 'x')";
    session.batch_execute(add).await.unwrap();
    let lines = session.query("SELECT actor FROM freehold.audit_events WHERE action = 'x'", &[]).await.unwrap();
    assert_eq!(lines.len(), 1);
    for refused in [
        "UPDATE freehold.audit_events SET actor = 'nobody'",
        "UPDATE freehold.audit_events SET actor = actor WHERE false",
        "DELETE FROM freehold.audit_events",
        "TRUNCATE freehold.audit_events",
        "INSERT INTO freehold.audit_events (id, actor, action) SELECT id, 'nobody', action FROM freehold.audit_events
           ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
        "ALTER TABLE freehold.audit_events DISABLE TRIGGER ALL",
    ] {
        let refusal = session.batch_execute(refused).await.map(|()| refused).unwrap_err();
        assert_eq!(refusal.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
    }
    assert_eq!(session.query("SELECT FROM freehold.audit_events WHERE actor = 'test'", &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_product_may_name_its_tables_as_freehold_does_and_refer_to_freeholds() {
    let fleet = fleet::alone().await;
    let (operator, before) = (fleet.operator(), fleet.tenant().await);
    let (freehold, files) = (of_stream(&fleet, "freehold").await, published(&fleet).await);
    let next = files.len() + 1;
    let extended = set(&files, &format!("V{next}__namesakes.sql"), NAMESAKES);
    assert_eq!(operator.post(MIGRATIONS, &extended).await.expect(200), json!({ "version": next, "added": 1 }));
    assert_eq!(of_stream(&fleet, "freehold").await, freehold, "an operator publishes the product's stream only");
    let tenant = fleet.tenant().await;
    let (old, new) = (shown(&fleet, &before.id).await, shown(&fleet, &tenant.id).await);
    assert_eq!((&new.0, &new.1), (&old.0, &json!(next)));
    assert_eq!(json!(freehold.len()), new.0);

    let session = own_session(&fleet, &tenant).await;
    session
        .batch_execute("INSERT INTO users SELECT 1, id FROM freehold.users; INSERT INTO sessions VALUES (7)")
        .await
        .unwrap();
    tenant.login().await;
    let (rows, grants) = (contents(&tenant.database()).await, tenant.database().values::<String>(GRANTS).await);
    assert!(rows.iter().any(|table| table.starts_with("public.users 1 ")), "{rows:?}");

    let clone = made(&fleet, &tenant).await;
    let copy = database_of(&fleet, &clone);
    assert_eq!((count(&copy, "users").await, count(&copy, "sessions").await), (1, 1), "a product's are no namesake's");
    assert_eq!((count(&copy, "freehold.users").await, count(&copy, "freehold.sessions").await), (1, 0));
    assert_eq!(shown(&fleet, clone["id"].as_str().unwrap()).await, new);

    done(&fleet, &tenant, "archive").await;
    done(&fleet, &tenant, "restore").await;
    assert_eq!(contents(&tenant.database()).await, rows);
    assert_eq!(tenant.database().values::<String>(GRANTS).await, grants);
    assert_eq!(shown(&fleet, &tenant.id).await, new);
    tenant.anonymous().login(&tenant.admin_email, PASSWORD).await.expect(200);
    tenant.database().run("DELETE FROM freehold.users").await;
    assert_eq!(count(&tenant.database(), "public.users").await, 0, "the reference works after all that");
    let isolation = operator.get("/platform/v1/isolation").await.expect(200);
    assert_eq!(isolation["successes"], 0, "{isolation}");
    fleet.assert_clean().await;
}

#[tokio::test]
async fn freeholds_own_files_are_no_part_of_a_products_set() {
    let fleet = fleet::alone().await;
    let (operator, freehold) = (fleet.operator(), of_stream(&fleet, "freehold").await);
    let file = fleet.control().connect().await.unwrap();
    let file = file.query_one("SELECT name, sql FROM migrations WHERE stream = 'freehold' AND version = 1", &[]).await;
    let file = file.unwrap();
    let name = format!("V1__{}.sql", file.get::<_, &str>(0));
    let own = json!({ "files": [{ "name": name, "sql": file.get::<_, &str>(1) }] });
    operator.post(MIGRATIONS, &own).await.problem(409, "migrations_diverged");
    assert_eq!(of_stream(&fleet, "freehold").await, freehold);
}

/// What a product's file may do to Freehold's, with the rules that it breaks, and how it is told.
const INTRUSIONS: [(&str, &str, &str); 9] = [
    ("freehold-schema", "ALTER TABLE freehold.users ADD nickname text", "column freehold.users.nickname"),
    ("", "CREATE TABLE freehold.mine (id uuid PRIMARY KEY)", "table freehold.mine"),
    ("grant-to-public", "GRANT CREATE ON SCHEMA freehold TO PUBLIC", "schema freehold"),
    (
        "default-privileges",
        "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM freehold_tenant",
        "default privileges for role freehold_owner on tables",
    ),
    (
        "freehold-schema",
        "CREATE RULE silent AS ON INSERT TO freehold.audit_events DO INSTEAD NOTHING",
        "rule silent on freehold.audit_events",
    ),
    (
        "freehold-schema",
        "INSERT INTO freehold.refinery_schema_history VALUES (99, 'x', '', '')",
        "version 99 of Freehold's",
    ),
    (
        "freehold-schema whole-table-write",
        "UPDATE freehold.refinery_schema_history SET checksum = '1'",
        "freehold.refinery_schema_history",
    ),
    (
        "freehold-schema",
        "INSERT INTO freehold.users (id, email, name, role, active, email_verified_at)
         VALUES (gen_random_uuid(), 'backdoor@x.example', 'b', 'owner', true, now())",
        "it has written to freehold.users: the rows",
    ),
    (
        "freehold-schema whole-table-write",
        "UPDATE freehold.roles SET permissions = permissions",
        "written to freehold.roles",
    ),
];

#[tokio::test]
async fn what_is_freeholds_is_not_the_products_to_change() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    for (rules, sql, told) in INTRUSIONS {
        let sql = &waived(&[(rules, sql)]);
        let answer =
            fleet.operator().post(MIGRATIONS, &set(&files, &format!("V{}__x.sql", files.len() + 1), sql)).await;
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains(told), "{sql}: {}", answer.text());
    }
    assert_eq!(published(&fleet).await, files);
    fleet.assert_clean().await;
}

/// Changes by their kinds, and the name under which each is told. Each is undone before the next.
const CHANGES: [(&str, &str); 27] = [
    ("GRANT UPDATE ON freehold.audit_events TO freehold_tenant", "table freehold.audit_events"),
    ("GRANT SELECT (name) ON freehold.users TO PUBLIC", "table column freehold.users.name"),
    ("ALTER TABLE freehold.users ENABLE ROW LEVEL SECURITY", "table freehold.users"),
    ("CREATE POLICY p ON freehold.users USING (true)", "policy p on freehold.users"),
    ("ALTER TABLE freehold.users ALTER name SET STATISTICS 7", "table column freehold.users.name"),
    ("ALTER TABLE freehold.users ALTER name SET DEFAULT 'x'", "default value for freehold.users.name"),
    ("ALTER TABLE freehold.users ADD CHECK (name <> 'x')", "table constraint users_name_check on freehold.users"),
    ("CREATE INDEX mine ON freehold.users (name)", "index freehold.mine"),
    ("CREATE STATISTICS freehold.s (dependencies) ON id, name FROM freehold.users", "statistics object freehold.s"),
    ("CREATE STATISTICS public.s (dependencies) ON id, name FROM freehold.users", "statistics object public.s"),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER t BEFORE INSERT ON freehold.users FOR EACH ROW EXECUTE FUNCTION f()",
        "trigger t on freehold.users",
    ),
    (
        "CREATE RULE silent AS ON INSERT TO freehold.audit_events DO INSTEAD NOTHING",
        "rule silent on freehold.audit_events",
    ),
    ("CREATE TABLE kid () INHERITS (freehold.users)", "table public.kid"),
    ("CREATE VIEW freehold.v AS SELECT 1", "view freehold.v"),
    ("CREATE FUNCTION freehold.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function freehold.f()"),
    (
        "CREATE FUNCTION f(freehold.users) RETURNS text LANGUAGE sql AS 'SELECT NULL';
         CREATE CAST (freehold.users AS text) WITH FUNCTION f(freehold.users)",
        "cast (freehold.users AS pg_catalog.text)",
    ),
    (
        "CREATE OPERATOR freehold.=== (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
        "operator freehold.===(pg_catalog.text,pg_catalog.text)",
    ),
    ("CREATE COLLATION freehold.c FROM \"C\"", "collation freehold.c"),
    ("CREATE TEXT SEARCH CONFIGURATION freehold.x (COPY = simple)", "text search configuration freehold.x"),
    ("CREATE TEXT SEARCH DICTIONARY freehold.x (TEMPLATE = simple)", "text search dictionary freehold.x"),
    ("CREATE TYPE freehold.comp AS (a int)", "composite type freehold.comp"),
    ("CREATE TYPE freehold.mood AS ENUM ('good')", "type freehold.mood"),
    ("CREATE CONVERSION freehold.x FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", "conversion freehold.x"),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA freehold GRANT SELECT ON TABLES TO PUBLIC",
        "default privileges for role freehold_owner in schema freehold on tables",
    ),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
        "default privileges for role freehold_owner in schema public on tables",
    ),
    ("CREATE PUBLICATION p FOR TABLE freehold.users", "publication relation freehold.users in publication p"),
    ("TRUNCATE freehold.api_keys", "table freehold.api_keys"),
];

#[tokio::test]
async fn a_change_of_any_kind_to_what_is_freeholds_is_told_by_its_name() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let session = tenant.database().connect().await.unwrap();
    session.batch_execute("SET ROLE freehold_owner; SET search_path = public").await.unwrap();
    let before = FreeholdPart::of(&session).await.unwrap();
    for (sql, told) in CHANGES {
        session.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        let changes = before.changes(&FreeholdPart::of(&session).await.unwrap());
        assert!(changes.iter().any(|change| change == told), "{sql}: {changes:?}");
        session.batch_execute("ROLLBACK").await.unwrap();
    }
    session.batch_execute("BEGIN; UPDATE freehold.roles SET permissions = '{tasks:read}'").await.unwrap();
    assert_eq!(before.changes(&FreeholdPart::of(&session).await.unwrap()), ["rows of freehold.roles"]);
    session.batch_execute("ROLLBACK").await.unwrap();
    // What a product may do beside and with Freehold's.
    let own = "CREATE TABLE pets (id int PRIMARY KEY, owner_id uuid REFERENCES freehold.users (id) ON DELETE CASCADE);
        CREATE VIEW people AS SELECT name FROM freehold.users;
        CREATE FUNCTION noted() RETURNS void LANGUAGE sql BEGIN ATOMIC
            INSERT INTO freehold.audit_events (id, actor, action) VALUES (gen_random_uuid(), 'a', 'b'); END;
        INSERT INTO pets SELECT 1, id FROM freehold.users LIMIT 1; ANALYZE pets; COMMENT ON TABLE freehold.users IS 'x'";
    session.batch_execute(&format!("BEGIN; {own}")).await.unwrap();
    assert_eq!(before.changes(&FreeholdPart::of(&session).await.unwrap()), Vec::<String>::new());
    session.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_product_without_migrations_is_one_of_version_0() {
    let fleet = fleet::alone().await;
    let control = fleet.control();
    control.run("CREATE TABLE kept AS SELECT * FROM migrations WHERE stream = 'product'").await;
    control.run("DELETE FROM migrations WHERE stream = 'product'").await;
    let published = fleet.operator().post(MIGRATIONS, &json!({ "files": [] })).await.expect(200);
    // What the other replicas run works with version 1 at least.
    let serving = Product { migrations: Vec::new(), oldest_version: 0, ..freehold::product::product() };
    let serving = fleet.replica_of(serving).await;
    let tenant = fleet.tenant_through(&serving, &new_tenant(&unique("tenant"))).await;
    let versions = shown(&fleet, &tenant.id).await;
    done(&fleet, &tenant, "archive").await;
    done(&fleet, &tenant, "restore").await;
    let again = shown(&fleet, &tenant.id).await;
    control.run("INSERT INTO migrations SELECT * FROM kept; DROP TABLE kept").await;
    fleet.assert_clean().await;
    assert_eq!(published, json!({ "version": 0, "added": 0 }));
    assert_eq!((&versions.1, &again), (&json!(0), &versions));
    assert_eq!(count(&tenant.database(), "public.refinery_schema_history").await, 0);
    let tables =
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'refinery_schema_history'";
    assert_eq!(tenant.database().value::<i64>(tables).await, 0);
    serving.anonymous(&tenant.slug).login(&tenant.admin_email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_tenant_that_is_older_than_the_program_serves_is_refused_and_nobody_else() {
    let fleet = fleet::shared().await;
    let (old, other) = (fleet.tenant().await, fleet.tenant().await);
    let says = async |version: i32| {
        let id = old.id.strip_prefix("ten_").unwrap();
        fleet.control().run(&format!("UPDATE tenants SET schema_version = {version} WHERE id = '{id}'")).await;
    };
    let newest: i32 = fleet.control().value("SELECT max(version) FROM migrations WHERE stream = 'product'").await;
    says(0).await;
    eventually("the replica hears of it", async || (old.admin.get("/v1/projects").await.status() == 503).then_some(()))
        .await;
    let refused = old.admin.get("/v1/projects").await;
    assert!(refused.retry_after().is_some(), "{refused:?}");
    refused.problem(503, "tenant_schema_outdated");
    other.admin.get("/v1/projects").await.expect(200);
    says(newest).await;
    eventually("it is served again", async || (old.admin.get("/v1/projects").await.status() == 200).then_some(()))
        .await;
}
