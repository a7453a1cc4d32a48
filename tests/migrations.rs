//! Migration sets: published whole, rehearsed first, used by every tenant made from then on.

use freehold::{Product, types::Clock};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    replica::Replica,
    unique,
};

pub(crate) const MIGRATIONS: &str = "/platform/v1/migrations";

/// The published files of the product as a client would send them again.
pub(crate) async fn published(fleet: &Fleet) -> Vec<Value> {
    let rows = fleet.control().connect().await.unwrap();
    let rows = rows
        .query(
            "SELECT 'V' || version || '__' || name || '.sql', sql FROM migrations
              WHERE stream = 'product' ORDER BY version",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| json!({ "name": row.get::<_, &str>(0), "sql": row.get::<_, &str>(1) })).collect()
}

/// Everything that a publication may leave behind.
async fn traces(fleet: &Fleet) -> (i64, Vec<String>, Vec<String>) {
    let databases =
        "SELECT datname::text FROM pg_database UNION ALL SELECT rolname || rolcanlogin FROM pg_roles ORDER BY 1";
    let count = fleet.control().value("SELECT count(*) FROM migrations").await;
    (
        count,
        fleet.on_platform_server("postgres").values(databases).await,
        fleet.on_server("postgres").values(databases).await,
    )
}

pub(crate) fn set(files: &[Value], name: &str, sql: &str) -> Value {
    let mut files = files.to_vec();
    files.push(json!({ "name": name, "sql": sql }));
    json!({ "files": files })
}

#[tokio::test]
async fn a_set_that_extends_the_newest_is_what_new_tenants_get() {
    let fleet = fleet::alone().await;
    let (operator, old) = (fleet.operator(), fleet.tenant().await);
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let table = unique("extra").replace('-', "_");
    let sql = format!("CREATE TABLE {table} (id bigint PRIMARY KEY)");
    let extended = set(&files, &format!("V{next}__{table}.sql"), &sql);
    let answer = operator.post(MIGRATIONS, &extended).await.expect(200);
    assert_eq!(answer, json!({ "version": next, "added": 1 }));
    assert_eq!(operator.post(MIGRATIONS, &extended).await.expect(200), json!({ "version": next, "added": 0 }));
    let listed = operator.get(MIGRATIONS).await.expect(200);
    let streams: Vec<_> = listed["items"].as_array().unwrap().iter().map(|file| file["stream"].clone()).collect();
    assert_eq!(streams.iter().filter(|stream| *stream == "product").count(), next);
    assert!(streams.iter().any(|stream| stream == "freehold") && streams.is_sorted_by_key(ToString::to_string));
    let new = fleet.tenant().await;
    let version = operator.get(&format!("/platform/v1/tenants/{}", new.id)).await.expect(200)["schema_version"].clone();
    assert_eq!(version, next);
    let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
    assert!(new.database().value::<bool>(&exists).await);
    assert!(!old.database().value::<bool>(&exists).await, "until a rollout");
    let owner = format!("SELECT tableowner::text FROM pg_tables WHERE tablename = '{table}'");
    assert_eq!(new.database().value::<String>(&owner).await, "freehold_owner");
    let granted = format!("SELECT has_table_privilege('{}', '{table}', 'INSERT')", new.database_name());
    assert!(new.database().value::<bool>(&granted).await, "the tenant's role may write to the new table");
}

#[tokio::test]
async fn a_set_that_diverges_or_does_not_apply_changes_nothing() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let before = traces(&fleet).await;
    let mut edited = files.clone();
    edited[0]["sql"] = json!(format!("{} -- edited", edited[0]["sql"].as_str().unwrap()));
    let mut renamed = files.clone();
    renamed[0]["name"] = json!("V1__another_name.sql");
    for diverged in [edited, renamed, Vec::new()] {
        operator.post(MIGRATIONS, &json!({ "files": diverged })).await.problem(409, "migrations_diverged");
    }
    for (sql, words) in [
        ("CREATE TABLE projects (id int)", "already exists"),
        ("SELECT 1/0", "division by zero"),
        ("CREATE TABL x ()", "syntax error"),
        ("CREATE ROLE intruder", "permission denied"),
        ("RESET ROLE; CREATE ROLE intruder", "permission denied"),
        ("RESET ROLE; COMMIT; ALTER ROLE freehold_owner LOGIN", "may not begin or end a transaction"),
        ("RESET ROLE; CREATE TABLE foundling (id int)", "did not stay the owner"),
        ("CREATE TABLE half (id int); SELECT * FROM nowhere", "does not exist"),
    ] {
        let answer = operator.post(MIGRATIONS, &set(&files, &format!("V{next}__bad.sql"), sql)).await;
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains(words), "{sql}: {}", answer.text());
        assert!(answer.text().contains("__bad.sql") && !answer.text().contains("internal error"), "{}", answer.text());
    }
    let gap = set(&files[1..], &format!("V{next}__next.sql"), "SELECT 1");
    operator.post(MIGRATIONS, &gap).await.wrong_field("files[0].name", "version_gap");
    let empty = set(&files, &format!("V{next}__empty.sql"), "-- nothing /* here */");
    let field = format!("files[{}].sql", next - 1);
    operator.post(MIGRATIONS, &empty).await.wrong_field(&field, "invalid_migration");
    for name in ["no_version.sql", "V3_single.sql", "V0__zero.sql"] {
        let answer = operator.post(MIGRATIONS, &set(&files, name, "SELECT 1")).await;
        let wrong = answer.wrong_fields();
        assert!(wrong[0].0.starts_with("files") && wrong[0].0.ends_with("name"), "{name}: {wrong:?}");
    }
    assert_eq!(traces(&fleet).await, before);
    fleet.tenant().await;
}

/// The example with the published migrations and one more file, as a team compiles them in.
fn product_with(files: &[Value], name: &str, sql: &str) -> Product {
    let leaked = |text: &str| -> &'static str { text.to_owned().leak() };
    let text = |file: &Value, member: &str| leaked(file[member].as_str().unwrap());
    let mut migrations: Vec<_> = files.iter().map(|file| (text(file, "name"), text(file, "sql"))).collect();
    migrations.push((leaked(name), leaked(sql)));
    Product { migrations, ..freehold::product::product() }
}

#[tokio::test]
async fn a_program_whose_migrations_do_not_apply_publishes_none_and_serves() {
    let fleet = fleet::alone().await;
    let (files, before) = (published(&fleet).await, traces(&fleet).await);
    let table = unique("nowhere").replace('-', "_");
    let name = format!("V{}__mistake.sql", files.len() + 1);
    let broken = product_with(&files, &name, &format!("CREATE TABLE half (id int); SELECT * FROM {table}"));
    let replica = fleet.replica_of(broken).await;
    let anonymous = replica.admin_anonymous();
    let ready = eventually("a replica that says so", async || {
        let ready = anonymous.get("/health/ready").await.expect(200);
        (ready["dependencies"]["migrations"]["status"] == "down").then_some(ready)
    })
    .await;
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert!(!ready.to_string().contains(&table), "what PostgreSQL says is for operators: {ready}");
    let cause = fleet::logged().lines().find(|line| line.contains(&table)).map(str::to_owned).unwrap_or_default();
    assert!(cause.contains("ERROR") && cause.contains("are not published"), "{cause}");
    assert_eq!(traces(&fleet).await, before);
    fleet.tenant().await;

    // The mistake is mended in the same file, since nobody has seen it.
    let sql = format!("CREATE TABLE {table} (id bigint PRIMARY KEY)");
    let mended = fleet.replica_of(product_with(&files, &name, &sql)).await;
    let status = mended.admin_anonymous().get("/health/ready").await.expect(200)["dependencies"]["migrations"].clone();
    assert_eq!((published(&fleet).await.len(), &status["status"]), (files.len() + 1, &json!("up")));
    let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
    assert!(fleet.tenant().await.database().value::<bool>(&exists).await);
}

#[tokio::test]
async fn a_program_with_other_migrations_than_the_published_refuses_to_serve_and_an_older_one_does_not() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    let mut edited = files.clone();
    edited[0]["sql"] = json!(format!("{} -- edited", edited[0]["sql"].as_str().unwrap()));
    let name = format!("V{}__next.sql", files.len() + 1);
    let refusal = fleet.refusal_of(product_with(&edited, &name, "SELECT 1")).await;
    assert_eq!(refusal.code(), "migrations_diverged");
    let (told, first) = (refusal.to_string(), edited[0]["name"].as_str().unwrap());
    assert!(told.contains(&format!("{first} differs")) && told.contains("--reset"), "{told}");
    assert_eq!(published(&fleet).await, files);
    let older = Product { migrations: Vec::new(), oldest_version: 0, ..freehold::product::product() };
    let replica = fleet.replica_of(older).await;
    replica.admin_anonymous().get("/health/ready").await.expect(200);
    assert_eq!(published(&fleet).await, files);
}

#[tokio::test]
async fn a_bootstrap_with_a_mistake_publishes_nothing_and_can_be_done_again() {
    let broken = product_with(&[], "V1__mistake.sql", "CREATE TABL projects (id int)");
    let (error, published) = Fleet::failed_bootstrap(broken).await;
    assert!(error.chain().contains("syntax error"), "{}", error.chain());
    assert_eq!(published, 0);
}

/// What `pg_dump` writes before and after the tables.
const BASELINE: &str = "--
-- PostgreSQL database dump
--
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.invoices (id bigint NOT NULL, total numeric(12,2));
ALTER TABLE public.invoices OWNER TO freehold_owner;
ALTER TABLE ONLY public.invoices ADD CONSTRAINT invoices_pkey PRIMARY KEY (id);
--
-- PostgreSQL database dump complete
--
";

#[tokio::test]
async fn a_baseline_that_pg_dump_wrote_is_published() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let mut set = set(&files, &format!("V{next}__baseline.sql"), BASELINE);
    let more = json!({ "name": format!("V{}__more.sql", next + 1), "sql": "CREATE TABLE baseline_more (id int)" });
    set["files"].as_array_mut().unwrap().push(more);
    fleet.operator().post(MIGRATIONS, &set).await.expect(200);
    let tenant = fleet.tenant().await;
    let both = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('invoices', 'baseline_more')";
    assert_eq!(tenant.database().values::<String>(both).await, ["public", "public"]);
    fleet.assert_clean().await;
}

#[tokio::test]
async fn two_publications_at_once_leave_one_history() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let name = |which: &str| format!("V{}__{which}.sql", files.len() + 1);
    let publish = async |which: &str| operator.post(MIGRATIONS, &set(&files, &name(which), "SELECT 1")).await;
    let answers = join_all(["left", "right"].map(publish)).await;
    let mut statuses: Vec<_> = answers.iter().map(crate::harness::answer::Answer::status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(published(&fleet).await.len(), files.len() + 1);
}

#[tokio::test]
async fn any_number_of_replicas_migrate_an_empty_control_database_at_once() {
    let fleet = fleet::alone().await;
    let database = unique("control").replace('-', "_");
    fleet.on_platform_server("postgres").run(&format!("CREATE DATABASE {database} OWNER freehold_control")).await;
    let url = fleet.setting("FREEHOLD_CONTROL_URL").replace("/freehold_control?", &format!("/{database}?"));
    let settings = fleet.settings_with(&[("FREEHOLD_CONTROL_URL", &url)]);
    let replicas = join_all((0..4).map(|_| Replica::make(&settings, Clock::default()))).await;
    let reports = join_all(replicas.iter().map(|replica| replica.app().migrate_control())).await;
    let applied: Vec<_> = reports.into_iter().map(|report| report.unwrap().applied.len()).collect();
    let own = fleet.on_platform_server(&database);
    let history: i64 = own.value("SELECT count(*) FROM refinery_schema_history").await;
    assert!(history > 0);
    assert_eq!(i64::try_from(applied.iter().sum::<usize>()).unwrap(), history, "each by one of them: {applied:?}");
    // It is open to PUBLIC, as others that use this Freehold would find.
    fleet.on_platform_server("postgres").run(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
}
