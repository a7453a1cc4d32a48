//! A tenant sleeps in an archive and wakes as it was: nothing lost, nothing in the open, and back where it was when the
//! way is barred.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    archives::{GRANTS, contents},
    harness::{
        PASSWORD,
        answer::Answer,
        eventually,
        fleet::{self, Fleet},
        tenant::Tenant,
        unique,
    },
};

pub(crate) fn path(tenant: &Tenant<'_>, action: &str) -> String {
    format!("/platform/v1/tenants/{}/{action}", tenant.id)
}

/// Asks `action` of the tenant and waits for a while; the answer as it is then.
async fn act(fleet: &Fleet, tenant: &Tenant<'_>, action: &str) -> Answer {
    let request = fleet.operator().request(Method::POST, &path(tenant, action));
    Answer::to(request.header("prefer", "wait=10")).await
}

/// Asks `action` of the tenant and waits until it has succeeded.
pub(crate) async fn done(fleet: &Fleet, tenant: &Tenant<'_>, action: &str) -> Value {
    let asked = act(fleet, tenant, action).await.expect(202);
    fleet.finished(asked["operation_id"].as_str().unwrap()).await
}

/// Asks `action` of the tenant.
pub(crate) async fn ask(fleet: &Fleet, tenant: &Tenant<'_>, action: &str) -> String {
    let asked = fleet.operator().post(&path(tenant, action), &json!({})).await.expect(202);
    asked["operation_id"].as_str().unwrap().to_owned()
}

/// Waits until the operation is as `judge` wants it, without the pauses between its attempts.
async fn hurried(fleet: &Fleet, operation: &str, judge: impl Fn(&Value) -> bool) -> Value {
    let hurry = format!(
        "UPDATE operations SET run_after = now() WHERE state = 'queued' AND id = '{}'",
        operation.trim_start_matches("op_")
    );
    for _ in 0..600 {
        let now = fleet.patiently(&format!("/platform/v1/operations/{operation}"), 0).await;
        if judge(&now) {
            return now;
        }
        assert!(matches!(now["state"].as_str(), Some("queued" | "running")), "{now}");
        fleet.control().run(&hurry).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{operation} does not get there");
}

/// Waits until the operation has failed and what it did is undone.
pub(crate) async fn failed(fleet: &Fleet, operation: &str) -> Value {
    hurried(fleet, operation, |now| now["state"] == "failed").await
}

pub(crate) async fn state(fleet: &Fleet, tenant: &Tenant<'_>) -> String {
    let tenant = fleet.patiently(&format!("/platform/v1/tenants/{}", tenant.id), 0).await;
    tenant["state"].as_str().unwrap().to_owned()
}

async fn listed(fleet: &Fleet, tenant: &Tenant<'_>) -> Vec<Value> {
    let list = fleet.patiently(&path(tenant, "archives"), 0).await;
    list["items"].as_array().unwrap().clone()
}

/// Where the tenant's objects are.
fn folder(fleet: &Fleet, tenant: &Tenant<'_>) -> PathBuf {
    Path::new(fleet.setting("FREEHOLD_ARCHIVE_URL")).join(&tenant.id)
}

pub(crate) fn objects(fleet: &Fleet, tenant: &Tenant<'_>) -> Vec<PathBuf> {
    fs::read_dir(folder(fleet, tenant)).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Gives the tenant rows that are recognised: users with addresses, projects, tasks.
pub(crate) async fn fill(tenant: &Tenant<'_>, canary: &str) {
    let sql = format!(
        "INSERT INTO freehold.users (id, email, name, role) SELECT gen_random_uuid(), '{canary}-' || n || '@example.com', 'x', 'member'
           FROM generate_series(1, 50) n;
         INSERT INTO projects (id, name, description) SELECT gen_random_uuid(), '{canary} ' || n, repeat('{canary}', 20)
           FROM generate_series(1, 500) n;
         INSERT INTO tasks (id, project_id, title) SELECT gen_random_uuid(), id, '{canary}' FROM projects"
    );
    tenant.database().run(&sql).await;
}

async fn on_server(fleet: &Fleet, tenant: &Tenant<'_>) -> (i64, i64) {
    let (server, name) = (fleet.on_server("postgres"), tenant.database_name());
    let databases = server.value(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")).await;
    let hex = name.trim_start_matches("tenant_");
    let roles = server.value(&format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%{hex}'")).await;
    (databases, roles)
}

#[tokio::test]
async fn an_archived_tenant_is_gone_from_its_server_and_wakes_as_it_was() {
    let fleet = fleet::alone().await;
    let (tenant, canary) = (fleet.tenant().await, unique("canary"));
    fill(&tenant, &canary).await;
    let (before, grants) = (contents(&tenant.database()).await, tenant.database().values::<String>(GRANTS).await);
    assert_eq!(listed(&fleet, &tenant).await, Vec::<Value>::new());

    let asked = act(&fleet, &tenant, "archive").await;
    let archiving = asked.expect(202);
    assert!(asked.header("location").ends_with(archiving["operation_id"].as_str().unwrap()));
    let operation = fleet.finished(archiving["operation_id"].as_str().unwrap()).await;
    assert_eq!(operation["kind"], "tenant.archive");
    assert_eq!(state(&fleet, &tenant).await, "archived");
    let refused = tenant.anonymous().login(&tenant.admin_email, PASSWORD).await;
    refused.problem(503, "tenant_archived");
    assert_eq!(on_server(&fleet, &tenant).await, (0, 0));
    fleet.assert_clean().await;
    assert_reveals_nothing(&fleet, &tenant, &canary);

    let archives = listed(&fleet, &tenant).await;
    let rows: i64 = before.iter().map(|table| table.split(' ').nth(1).unwrap().parse::<i64>().unwrap()).sum();
    let size = fs::metadata(&objects(&fleet, &tenant)[0]).unwrap().len();
    assert_eq!((archives.len(), &archives[0]["rows"], &archives[0]["bytes"]), (1, &json!(rows), &json!(size)));
    act(&fleet, &tenant, "archive").await.expect(200);

    // Also while it is being deleted, and after that is taken back.
    fleet.operator().post(&path(&tenant, "delete"), &json!({ "confirm": tenant.slug })).await.expect(200);
    fleet.assert_clean().await;
    fleet.operator().post(&path(&tenant, "undelete"), &json!({})).await.expect(200);

    done(&fleet, &tenant, "restore").await;
    assert_eq!(contents(&tenant.database()).await, before);
    assert_eq!(tenant.database().values::<String>(GRANTS).await, grants);
    let tokens = tenant.login().await;
    let admin = fleet.replica.member(&tenant.slug, &tokens["access_token"].as_str().unwrap().into());
    admin.post("/v1/projects", &json!({ "name": "Awake" })).await.expect(201);
    act(&fleet, &tenant, "restore").await.expect(200);
    assert_eq!(listed(&fleet, &tenant).await, archives, "the archive is kept as a backup");
    let isolation = fleet.patiently("/platform/v1/isolation", 0).await;
    assert_eq!(isolation["successes"], 0, "{isolation}");
    fleet.assert_clean().await;
}

/// Whoever has the store and nothing else learns nothing from it.
fn assert_reveals_nothing(fleet: &Fleet, tenant: &Tenant<'_>, canary: &str) {
    let files = objects(fleet, tenant);
    assert_eq!(files.len(), 1, "{files:?}");
    let stored = fs::read(&files[0]).unwrap();
    for marker in [canary, &tenant.slug, &tenant.admin_email, "example.com", "PGDMP", "CREATE TABLE", "argon2"] {
        assert!(!stored.windows(marker.len()).any(|window| window == marker.as_bytes()), "{marker} lies open");
    }
}

#[tokio::test]
async fn a_suspended_tenant_sleeps_and_wakes_suspended_and_only_its_newest_archive_is_kept() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let suspension = json!({ "reason": "unpaid" });
    fleet.operator().post(&path(&tenant, "suspend"), &suspension).await.expect(200);
    done(fleet, &tenant, "archive").await;
    fleet.operator().post(&path(&tenant, "resume"), &json!({})).await.problem(409, "tenant_state_conflict");
    let first = listed(fleet, &tenant).await;
    done(fleet, &tenant, "restore").await;
    assert_eq!(state(fleet, &tenant).await, "suspended");
    // What a killed attempt may have left in the store is swept up with the older archive.
    fs::write(folder(fleet, &tenant).join("arc_0190b6a4c1e87d3f8a2b5c6d7e8f9012.archive"), "nobody's").unwrap();
    done(fleet, &tenant, "archive").await;
    let second = listed(fleet, &tenant).await;
    assert_eq!((first.len(), second.len(), objects(fleet, &tenant).len()), (1, 1, 1));
    assert_ne!(first[0]["id"], second[0]["id"]);
}

#[tokio::test]
async fn a_damaged_archive_wakes_nobody_and_is_told() {
    let fleet = fleet::shared().await;
    let (tenant, canary) = (fleet.tenant().await, unique("canary"));
    fill(&tenant, &canary).await;
    let before = contents(&tenant.database()).await;
    done(fleet, &tenant, "archive").await;
    let file = objects(fleet, &tenant).remove(0);
    let good = fs::read(&file).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let operation = failed(fleet, &ask(fleet, &tenant, "restore").await).await;
    assert!(operation["error"].as_str().unwrap().contains("damaged"), "{operation}");
    assert_eq!((state(fleet, &tenant).await.as_str(), on_server(fleet, &tenant).await), ("archived", (0, 0)));
    fs::write(&file, &good).unwrap();
    done(fleet, &tenant, "restore").await;
    assert_eq!(contents(&tenant.database()).await, before);
}

#[tokio::test]
async fn without_the_store_a_tenant_is_itself_again_with_all_its_rows() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    fill(&tenant, "row").await;
    let before = contents(&tenant.database()).await;
    // Where the tenant's folder should be there is something that is none.
    fs::write(folder(fleet, &tenant), "in the way").unwrap();
    let operation = ask(fleet, &tenant, "archive").await;
    let undoing = hurried(fleet, &operation, |now| now["steps"][1]["state"] == "undone").await;
    assert!(undoing["error"].as_str().unwrap().contains("archive store"), "{undoing}");
    eventually("the tenant to be itself again", async || (state(fleet, &tenant).await == "active").then_some(())).await;
    assert_eq!((on_server(fleet, &tenant).await, contents(&tenant.database()).await), ((1, 1), before));
    tenant.login().await;
    // With the store back nothing is left behind in it.
    fs::remove_file(folder(fleet, &tenant)).unwrap();
    failed(fleet, &operation).await;
    assert_eq!(listed(fleet, &tenant).await, Vec::<Value>::new());
    done(fleet, &tenant, "archive").await;
}

#[tokio::test]
async fn after_a_quarter_of_an_hour_the_first_failure_lets_the_tenant_in_again() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    fs::write(folder(fleet, &tenant), "in the way").unwrap();
    let operation = ask(fleet, &tenant, "archive").await;
    let id = operation.trim_start_matches("op_");
    hurried(fleet, &operation, |now| now["steps"][2]["state"] == "failed").await;
    let ago = "now() - interval '16 minutes'";
    let stuck = format!(
        "UPDATE operations SET started_at = {ago} WHERE id = '{id}';
         UPDATE operation_steps SET finished_at = {ago} WHERE operation_id = '{id}' AND finished_at IS NOT NULL"
    );
    fleet.control().run(&stuck).await;
    eventually("the tenant to be itself again", async || (state(fleet, &tenant).await == "active").then_some(())).await;
    let attempts = format!("SELECT sum(attempts) FROM operation_steps WHERE operation_id = '{id}' AND name = 'dump'");
    assert!(fleet.control().value::<i64>(&attempts).await < 8, "it was tried as often as ever");
    tenant.login().await;
    fs::remove_file(folder(fleet, &tenant)).unwrap();
    failed(fleet, &operation).await;
}

#[tokio::test]
async fn what_a_prepared_transaction_holds_is_not_left_out_of_an_archive() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let id = unique("prepared");
    let insert = "INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'prepared')";
    tenant.database().run(&format!("BEGIN; {insert}; PREPARE TRANSACTION '{id}'")).await;
    let operation = ask(fleet, &tenant, "archive").await;
    let given_up = failed(fleet, &operation).await;
    assert!(given_up["error"].as_str().unwrap().contains("1 prepared transactions"), "{given_up}");
    assert_eq!((state(fleet, &tenant).await.as_str(), on_server(fleet, &tenant).await), ("active", (1, 1)));
    tenant.login().await;
    tenant.database().run(&format!("COMMIT PREPARED '{id}'")).await;
    let before = contents(&tenant.database()).await;
    for action in ["archive", "restore"] {
        done(fleet, &tenant, action).await;
    }
    assert_eq!(contents(&tenant.database()).await, before);
}

#[tokio::test]
async fn what_others_made_under_a_tenants_name_is_left_and_does_not_keep_it_from_waking_later() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    fill(&tenant, "row").await;
    let before = contents(&tenant.database()).await;
    done(fleet, &tenant, "archive").await;
    let (server, name) = (fleet.on_server("postgres"), tenant.database_name());
    let barriers = [
        (format!("CREATE DATABASE {name} OWNER postgres"), format!("DROP DATABASE {name}"), "database_taken"),
        (format!("CREATE ROLE {name} SUPERUSER"), format!("DROP ROLE {name}"), "role_unsafe"),
    ];
    for (bar, clear, code) in &barriers {
        server.run(bar).await;
        let operation = ask(fleet, &tenant, "restore").await;
        let given_up = failed(fleet, &operation).await;
        assert!(given_up["error"].as_str().unwrap().starts_with(code), "{given_up}");
        assert_eq!(state(fleet, &tenant).await, "archived");
        server.run(clear).await;
    }
    done(fleet, &tenant, "restore").await;
    assert_eq!(contents(&tenant.database()).await, before);
}

#[tokio::test]
async fn of_many_who_archive_or_wake_at_once_one_does_it() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    for action in ["archive", "restore"] {
        let asked = path(&tenant, action);
        let answers = join_all((0..8).map(|_| async { fleet.operator().post(&asked, &json!({})).await })).await;
        let operations: BTreeSet<_> =
            answers.iter().map(|answer| answer.expect(202)["operation_id"].to_string()).collect();
        assert_eq!(operations.len(), 1, "{operations:?}");
        let other = if action == "archive" { "restore" } else { "archive" };
        fleet.operator().post(&path(&tenant, other), &json!({})).await.problem(409, "operation_in_progress");
        fleet.finished(operations.first().unwrap().trim_matches('"')).await;
    }
    assert_eq!(state(fleet, &tenant).await, "active");
}

#[tokio::test]
async fn every_write_that_was_acknowledged_is_in_the_archive() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (stop, prefix) = (AtomicBool::new(false), unique("written"));
    let (tenant, stopped, prefix) = (&tenant, &stop, &prefix);
    let writers = (0..4).map(|writer| async move {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let name = format!("{prefix} {writer} {number}");
            let answer = tenant.admin.post("/v1/projects", &json!({ "name": name })).await;
            match answer.status() {
                201 => acknowledged.push(name),
                503 if stopped.load(Ordering::Relaxed) => return acknowledged,
                503 => {}
                status => panic!("{status}: {}", answer.text()),
            }
        }
        acknowledged
    });
    let archiving = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        done(fleet, tenant, "archive").await;
        stopped.store(true, Ordering::Relaxed);
    };
    let (acknowledged, ()) = tokio::join!(join_all(writers), archiving);
    done(fleet, tenant, "restore").await;
    let names = format!("SELECT name FROM projects WHERE name LIKE '{prefix}%'");
    let kept: BTreeSet<String> = tenant.database().values(&names).await.into_iter().collect();
    let lost: Vec<_> = acknowledged.iter().flatten().filter(|name| !kept.contains(*name)).collect();
    assert!(lost.is_empty() && kept.len() > 10, "{} kept, lost: {lost:?}", kept.len());
}

#[tokio::test]
async fn an_archived_tenant_is_erased_with_its_archive() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    done(fleet, &tenant, "archive").await;
    let archive = listed(fleet, &tenant).await.remove(0);
    let body = json!({ "confirm": tenant.slug, "erase": true });
    let erasing = fleet.operator().post(&path(&tenant, "delete"), &body).await.expect(202);
    fleet.finished(erasing["operation_id"].as_str().unwrap()).await;
    assert!(objects(fleet, &tenant).is_empty());
    let certificate = fleet.patiently(&path(&tenant, "certificate"), 0).await;
    let entry = json!({ "id": archive["id"], "bytes": archive["bytes"], "sha256": archive["sha256"] });
    assert_eq!(certificate["archives"], json!([entry]));
    act(fleet, &tenant, "restore").await.problem(410, "tenant_gone");
    act(fleet, &tenant, "archive").await.problem(410, "tenant_gone");
}

#[tokio::test]
async fn a_server_that_is_older_than_the_archive_is_told_apart() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    done(fleet, &tenant, "archive").await;
    let version = |number: i32| {
        format!(
            "UPDATE archives SET server_version = {number} WHERE tenant_id = '{}'",
            tenant.id.trim_start_matches("ten_")
        )
    };
    fleet.control().run(&version(990_001)).await;
    let refused = act(fleet, &tenant, "restore").await;
    let problem = refused.problem(409, "server_too_old");
    assert!(problem["detail"].as_str().unwrap().contains("PostgreSQL 99"), "{problem}");
    fleet.control().run(&version(150_000)).await;
    done(fleet, &tenant, "restore").await;
}

#[tokio::test]
async fn a_fleet_without_a_store_archives_nobody() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let replica = fleet.another_replica(&[("FREEHOLD_ARCHIVE_URL", "")], freehold::types::Clock::default()).await;
    let operator = replica.operator(fleet.operator().bearer());
    operator.post(&path(&tenant, "archive"), &json!({})).await.problem(409, "archives_not_configured");
    assert_eq!(state(fleet, &tenant).await, "active");
}
