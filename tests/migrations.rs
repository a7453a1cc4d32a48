//! Migration sets: published whole, rehearsed first, used by every tenant made from then on.

use freehold::types::Clock;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
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
        ("RESET ROLE; COMMIT; ALTER ROLE freehold_owner LOGIN", "permission denied"),
        ("RESET ROLE; CREATE TABLE foundling (id int)", "did not stay the owner"),
        ("CREATE TABLE half (id int); SELECT * FROM nowhere", "does not exist"),
    ] {
        let answer = operator.post(MIGRATIONS, &set(&files, &format!("V{next}__bad.sql"), sql)).await;
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains(words), "{sql}: {}", answer.text());
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
