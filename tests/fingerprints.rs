//! A schema's fingerprint is the same before and after dump and restore, whatever is in it, and another after a change
//! that matters. fsck says which objects differ.

use freehold::migrations::Schema;
use serde_json::{Value, json};

use crate::{
    archives::{Desk, database_of},
    archiving::done,
    cloning,
    harness::{
        fleet::{self, Fleet},
        sql::Database,
        tenant::Tenant,
        unique,
    },
    migrations::{MIGRATIONS, published},
};

const CORPUS: &str = include_str!("fingerprints/corpus.sql");

async fn schema(database: &Database) -> Schema {
    Schema::of(&mut database.connect().await.unwrap()).await.unwrap()
}

async fn as_owner(database: &Database, sql: &str) {
    database.run(&format!("SET ROLE freehold_owner; {sql}")).await;
}

#[tokio::test]
async fn a_dump_and_a_restore_leave_every_fingerprint_as_it_was() {
    let fleet = fleet::shared().await;
    let (desk, tenant) = (Desk::of(fleet).await, fleet.tenant().await);
    as_owner(&tenant.database(), CORPUS).await;
    let made = schema(&tenant.database()).await;
    assert!(made.changes(&Schema::default()).len() > 400, "the corpus is there");
    // Whatever is set for a database or a login: it does not change how the schema reads.
    let odd = "SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'iso_8601'; SET datestyle = 'German, DMY';
        SET quote_all_identifiers = on; SET search_path = public; SET extra_float_digits = -5; SET bytea_output = 'escape'";
    let mut session = tenant.database().connect().await.unwrap();
    session.batch_execute(odd).await.unwrap();
    assert_eq!(Schema::of(&mut session).await.unwrap(), made);
    assert_eq!(session.query_one("SHOW timezone", &[]).await.unwrap().get::<_, String>(0), "Asia/Tokyo");
    drop(session);
    let target = desk.empty_database().await;
    desk.restore(target, desk.dump(database_of(&tenant)).await).await.unwrap();
    let restored = schema(&fleet.on_server(&target.to_string())).await;
    assert_ne!(restored, made, "PostgreSQL writes some of it otherwise, or this test shows nothing");
    assert_eq!(restored.differences(&made), []);
    assert_eq!(restored.fingerprint(), made.fingerprint());
    desk.discard(target).await;
    tenant.erase().await;
}

/// Changes that are drift, and what takes each back. Several are as small as they can be.
const DRIFT: [(&str, &str, &str); 28] = [
    ("column public.orders.extra", "ALTER TABLE orders ADD extra int", "ALTER TABLE orders DROP extra"),
    (
        "column public.orders.d",
        "ALTER TABLE orders ALTER d DROP DEFAULT",
        "ALTER TABLE orders ALTER d SET DEFAULT (CURRENT_DATE + 1)",
    ),
    (
        "column public.orders.s",
        "ALTER TABLE orders ALTER s SET DEFAULT -2",
        "ALTER TABLE orders ALTER s SET DEFAULT -1",
    ),
    (
        "column public.more.d9",
        "ALTER TABLE more ALTER d9 SET DEFAULT 5::int",
        "ALTER TABLE more ALTER d9 SET DEFAULT 5::int::smallint",
    ),
    ("column public.fk.id", "ALTER TABLE fk ALTER id SET NOT NULL", "ALTER TABLE fk ALTER id DROP NOT NULL"),
    ("column public.fk.id", "GRANT UPDATE (id) ON fk TO PUBLIC", "REVOKE UPDATE (id) ON fk FROM PUBLIC"),
    (
        "constraint public.fk.late",
        "ALTER TABLE fk DROP CONSTRAINT late; ALTER TABLE fk ADD CONSTRAINT late CHECK (id > 2) NOT VALID",
        "ALTER TABLE fk DROP CONSTRAINT late; ALTER TABLE fk ADD CONSTRAINT late CHECK (id > 1) NOT VALID",
    ),
    (
        "constraint public.fk.late",
        "ALTER TABLE fk VALIDATE CONSTRAINT late",
        "ALTER TABLE fk DROP CONSTRAINT late; ALTER TABLE fk ADD CONSTRAINT late CHECK (id > 1) NOT VALID",
    ),
    (
        "constraint public.doms.grouped",
        "ALTER TABLE doms ADD CONSTRAINT grouped CHECK (true)",
        "ALTER TABLE doms DROP CONSTRAINT grouped",
    ),
    ("index public.drifted", "CREATE INDEX drifted ON fk (id)", "DROP INDEX drifted"),
    (
        "index public.oj",
        "RESET ROLE; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'oj'::regclass",
        "RESET ROLE; UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'oj'::regclass",
    ),
    ("relation public.fk", "GRANT TRUNCATE ON fk TO PUBLIC", "REVOKE TRUNCATE ON fk FROM PUBLIC"),
    ("relation public.fk", "ALTER TABLE fk ENABLE ROW LEVEL SECURITY", "ALTER TABLE fk DISABLE ROW LEVEL SECURITY"),
    ("relation public.fk", "ALTER TABLE fk SET (fillfactor = 50)", "ALTER TABLE fk RESET (fillfactor)"),
    (
        "relation public.v2",
        "CREATE OR REPLACE VIEW v2 (a, b) WITH (security_barrier, check_option=local) AS SELECT id, state FROM orders WHERE state IN ('a','c')",
        "CREATE OR REPLACE VIEW v2 (a, b) WITH (security_barrier, check_option=local) AS SELECT id, state FROM orders WHERE state IN ('a','b')",
    ),
    ("policy public.orders.po", "ALTER POLICY po ON orders TO freehold_tenant", "ALTER POLICY po ON orders TO PUBLIC"),
    (
        "policy public.orders.po",
        "ALTER POLICY po ON orders USING (state IN ('a','c'))",
        "ALTER POLICY po ON orders USING (state IN ('a','b'))",
    ),
    ("trigger public.orders.tr", "ALTER TABLE orders DISABLE TRIGGER tr", "ALTER TABLE orders ENABLE TRIGGER tr"),
    (
        "function public.vol(integer)",
        "CREATE OR REPLACE FUNCTION vol(a int) RETURNS text LANGUAGE sql AS 'SELECT (a::text) || ''x'''",
        "CREATE OR REPLACE FUNCTION vol(a int) RETURNS text LANGUAGE sql AS 'SELECT (a::text)  ||  ''x'''",
    ),
    ("function public.vol(integer)", "ALTER FUNCTION vol SECURITY DEFINER", "ALTER FUNCTION vol SECURITY INVOKER"),
    (
        "function public.vol(integer)",
        "REVOKE EXECUTE ON FUNCTION vol FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION vol TO PUBLIC",
    ),
    ("sequence public.own_seq", "ALTER SEQUENCE own_seq CACHE 6", "ALTER SEQUENCE own_seq CACHE 5"),
    ("type public.short", "ALTER DOMAIN short SET DEFAULT 'y'", "ALTER DOMAIN short SET DEFAULT 'x'"),
    ("rule public.more.r2", "ALTER TABLE more DISABLE RULE r2", "ALTER TABLE more ENABLE RULE r2"),
    ("statistics drifted of public.fk", "CREATE STATISTICS drifted ON (id + 1) FROM fk", "DROP STATISTICS drifted"),
    ("parent public.kids of public.orders", "ALTER TABLE kids NO INHERIT orders", "ALTER TABLE kids INHERIT orders"),
    (
        "default privileges of freehold_owner on tables",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
    ),
    (
        "schema public",
        "GRANT CREATE ON SCHEMA public TO freehold_tenant",
        "REVOKE CREATE ON SCHEMA public FROM freehold_tenant",
    ),
];

#[tokio::test]
async fn every_change_that_matters_is_seen_and_its_object_named() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let database = tenant.database();
    as_owner(&database, CORPUS).await;
    let before = schema(&database).await;
    for (object, drift, back) in DRIFT {
        as_owner(&database, drift).await;
        let drifted = schema(&database).await;
        assert_ne!(drifted.fingerprint(), before.fingerprint(), "{drift}");
        assert!(before.changes(&drifted).contains(object), "{drift}: {:?}", before.changes(&drifted));
        as_owner(&database, back).await;
        assert_eq!(before.differences(&schema(&database).await), [], "{back}");
    }
    // The order of columns is none of it, nor what dropped columns leave behind.
    as_owner(&database, "ALTER TABLE fk ADD a int, ADD b int; ALTER TABLE fk DROP a; ALTER TABLE fk ADD a int").await;
    let one = schema(&database).await;
    as_owner(&database, "ALTER TABLE fk DROP b; ALTER TABLE fk ADD b int").await;
    assert_eq!(one.differences(&schema(&database).await), []);
    tenant.erase().await;
}

/// What fsck finds of the tenants in `ids`.
async fn drift_of(fleet: &Fleet, ids: &[&str]) -> Vec<Value> {
    let report = fleet.patiently("/platform/v1/fsck", 0).await;
    let findings = report["findings"].as_array().unwrap().clone();
    findings.into_iter().filter(|found| ids.iter().any(|id| found["object"] == *id)).collect()
}

#[tokio::test]
async fn a_clone_and_a_woken_tenant_have_the_schema_of_their_versions() {
    let fleet = fleet::alone().await;
    let mut files = published(&fleet).await;
    let (next, table) = (files.len() + 1, unique("orders").replace('-', "_"));
    let sql = format!("CREATE TABLE {table} (id int PRIMARY KEY, state varchar(20) CHECK (state IN ('new','paid')));");
    files.push(json!({ "name": format!("V{next}__orders.sql"), "sql": sql }));
    fleet.operator().post(MIGRATIONS, &json!({ "files": files })).await.expect(200);
    let tenant: Tenant<'_> = fleet.tenant().await;
    let clone = cloning::made(&fleet, &tenant).await;
    let clone = clone["id"].as_str().unwrap();
    done(&fleet, &tenant, "archive").await;
    done(&fleet, &tenant, "restore").await;
    assert_eq!(drift_of(&fleet, &[&tenant.id, clone]).await, Vec::<Value>::new());
    // It is compared all the same.
    as_owner(&tenant.database(), &format!("ALTER TABLE {table} ALTER state SET DEFAULT 'new'")).await;
    let found = drift_of(&fleet, &[&tenant.id, clone]).await;
    assert_eq!((found.len(), &found[0]["class"], &found[0]["object"]), (1, &json!("schema_drift"), &json!(tenant.id)));
    let difference = json!([{
        "object": format!("column public.{table}.state"),
        "expected": "character varying(20)",
        "actual": "character varying(20) DEFAULT 'new'::character varying",
    }]);
    assert_eq!(found[0]["differences"], difference);
    tenant.erase().await;
}
