//! The warm pool: databases that are there before their tenants, given out once each, replaced, and never left over.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD, eventually,
        fleet::{self, Fleet},
        sql::Database,
        tenant::new_tenant,
        unique,
    },
    migrations::published,
};

const TENANTS: &str = "/platform/v1/tenants";

/// Keeps `target` databases ready on the fleet's server, and waits until they are.
pub(crate) async fn keep(fleet: &Fleet, target: i64) {
    let sql = format!("UPDATE servers SET warm_target = {target} WHERE name = '{}'", fleet.server);
    fleet.control().run(&sql).await;
    settled(fleet, target).await;
}

/// Waits until exactly `target` databases are ready, of the newest template, and nothing is at work on any.
async fn settled(fleet: &Fleet, target: i64) {
    let sql = "SELECT ARRAY[count(*) FILTER (WHERE state = 'ready'), count(*),
                            (SELECT count(*) FROM operations WHERE state IN ('queued', 'running', 'blocked'))]
               FROM warm_databases";
    let settled = async {
        while fleet.control().value::<Vec<i64>>(sql).await != [target, target, 0] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // A drop takes a second on a busy machine, and they go one after another.
    let in_time = tokio::time::timeout(Duration::from_mins(1), settled).await;
    in_time.unwrap_or_else(|_| panic!("{target} warm databases are not reached"));
}

/// Keeps the keeper from its work for as long as the session lives: by the lock under which it does it.
pub(crate) async fn held_back(fleet: &Fleet) -> tokio_postgres::Client {
    let session = fleet.control().connect().await.unwrap();
    session.batch_execute(&format!("SELECT pg_advisory_lock({})", 0x7761_726D)).await.unwrap();
    session
}

pub(crate) async fn warm_ids(fleet: &Fleet) -> BTreeSet<String> {
    let sql = "SELECT 'ten_' || replace(id::text, '-', '') FROM warm_databases";
    fleet.control().values::<String>(sql).await.into_iter().collect()
}

fn id(tenant: &Value) -> String {
    tenant["id"].as_str().unwrap().to_owned()
}

/// A tenant's databases and roles on the server.
pub(crate) async fn left_of(server: &Database, id: &str) -> i64 {
    let name = id.replace("ten_", "tenant_");
    let sql = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{name}')"
    );
    server.value(&sql).await
}

#[tokio::test]
async fn a_hundred_creations_over_ten_warm_databases_get_one_each() {
    let fleet = fleet::alone().await;
    keep(&fleet, 10).await;
    let warm = warm_ids(&fleet).await;
    assert_eq!(warm.len(), 10);
    fleet.assert_clean().await;
    let keeper = held_back(&fleet).await;
    let ask = async || {
        let mut body = new_tenant(&unique("crowd"));
        body["admin"] = json!({ "email": "ada@example.com" });
        loop {
            let answer = fleet.operator().post(TENANTS, &body).await;
            if matches!(answer.status(), 201 | 202) {
                return (answer.status(), answer.json());
            }
            answer.problem(503, "control_database_unavailable");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let answers = futures::future::join_all((0..100).map(|_| ask())).await;
    let at_once = answers.iter().filter(|(status, _)| *status == 201).map(|(_, tenant)| id(tenant));
    assert_eq!(at_once.collect::<BTreeSet<_>>(), warm, "those that serve at once, and the warm databases");
    for (_, tenant) in &answers {
        fleet.finished(tenant["operation_id"].as_str().unwrap()).await;
    }
    let all: BTreeSet<_> = answers.iter().map(|(_, tenant)| id(tenant)).collect();
    assert_eq!(all.len(), 100, "a tenant twice");
    let list = all.iter().map(|id| format!("'{}'", id.trim_start_matches("ten_"))).collect::<Vec<_>>().join(",");
    let active: i64 = fleet
        .control()
        .value(&format!(
            "SELECT count(*) FROM tenants WHERE state = 'active' AND replace(id::text, '-', '') IN ({list})"
        ))
        .await;
    assert_eq!(active, 100);
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_tenant_from_a_warm_database_serves_at_once_under_its_keys() {
    let fleet = fleet::alone().await;
    keep(&fleet, 1).await;
    let warm = warm_ids(&fleet).await;
    let (slug, key) = (unique("at-once"), unique("key"));
    let mut body = new_tenant(&slug);
    body["name"] = json!("At once");
    let answer = fleet.operator().post_once(TENANTS, &key, &body).await;
    let tenant = answer.expect(201);
    assert!(warm.contains(&id(&tenant)));
    assert_eq!((&tenant["state"], &tenant["server"]), (&json!("active"), &json!(fleet.server)));
    assert!(tenant["freehold_version"].as_i64() >= Some(1) && tenant["schema_version"].as_i64() >= Some(1), "{tenant}");
    assert_eq!(answer.header("location"), format!("{TENANTS}/{}", id(&tenant)));
    // At once: the request waits for the administrator who is being made.
    let email = format!("admin@{slug}.example.com");
    let tokens = fleet.replica.anonymous(&slug).login(&email, PASSWORD).await.expect(200);
    let member = fleet.replica.member(&slug, &tokens["access_token"].as_str().unwrap().into());
    assert_eq!(member.get("/v1/auth/me").await.expect(200)["tenant"]["id"], tenant["id"]);
    let again = fleet.operator().post_once(TENANTS, &key, &body).await.expect(201);
    assert_eq!((&again["id"], &again["operation_id"]), (&tenant["id"], &tenant["operation_id"]));
    let operation = fleet.finished(tenant["operation_id"].as_str().unwrap()).await;
    assert_eq!((&operation["kind"], &operation["progress"]), (&json!("tenant.provision"), &json!(1.0)));
    let settling: bool = fleet.control().value(&format!("SELECT is_settling FROM tenants WHERE slug = '{slug}'")).await;
    assert!(!settling);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn nobody_is_let_in_before_the_point_of_no_return() {
    use freehold::faults::{self, Mode};
    let fleet = fleet::alone().await;
    keep(&fleet, 1).await;
    let tenant = warm_ids(&fleet).await.pop_first().unwrap().parse().unwrap();
    let keeper = held_back(&fleet).await;
    let point = "tenant.provision.create_first_admin.after_record";
    faults::arm(point, Mode::Hold, Some(tenant));
    let (key, body) = (unique("key"), new_tenant(&unique("undone")));
    let made = fleet.operator().post_once(TENANTS, &key, &body).await.expect(201);
    let is_held = || faults::fired().iter().any(|fired| (fired.point, fired.tenant) == (point, tenant));
    eventually("the administrator to be there", async || is_held().then_some(())).await;
    let settling = format!("SELECT is_settling FROM tenants WHERE slug = '{}'", body["slug"].as_str().unwrap());
    assert!(fleet.control().value::<bool>(&settling).await, "what is written now could be dropped");
    let path = format!("/platform/v1/operations/{}", made["operation_id"].as_str().unwrap());
    fleet.operator().post(&format!("{path}/cancel"), &json!({})).await.expect(202);
    faults::release(tenant);
    eventually("the tenant to be undone", async || {
        (fleet.patiently(&path, 0).await["state"] == "cancelled").then_some(())
    })
    .await;
    let undone = fleet.operator().get(&format!("{TENANTS}/{}", id(&made))).await.expect(200);
    assert_eq!(undone["state"], "deleted");
    // Under the same key another one is made.
    let again = fleet.operator().post_once(TENANTS, &key, &body).await.expect(202);
    assert_ne!(id(&again), id(&made));
    fleet.finished(again["operation_id"].as_str().unwrap()).await;
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_tenant_without_an_administrator_costs_one_transaction() {
    let fleet = fleet::alone().await;
    keep(&fleet, 1).await;
    let body = json!({ "slug": unique("nobody"), "name": "Nobody" });
    let tenant = fleet.operator().post(TENANTS, &body).await.expect(201);
    let path = format!("/platform/v1/operations/{}", tenant["operation_id"].as_str().unwrap());
    let operation = fleet.patiently(&path, 0).await;
    assert_eq!((&operation["state"], &operation["progress"]), (&json!("succeeded"), &json!(1.0)));
    let metrics = fleet.metrics().await;
    let counted = |name: &str| metrics.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0"));
    assert!(counted("freehold_warm_claims_total") && counted("freehold_warm_claim_duration_seconds_count"));
    keep(&fleet, 0).await;
}

#[tokio::test]
async fn a_refused_request_takes_nothing_from_the_pool() {
    let fleet = fleet::alone().await;
    keep(&fleet, 1).await;
    let (warm, taken) = (warm_ids(&fleet).await, unique("taken"));
    let mut wrong = new_tenant(&taken);
    wrong["plan"] = json!("no-such-plan");
    fleet.operator().post(TENANTS, &wrong).await.wrong_field("plan", "unknown_plan");
    assert_eq!(warm_ids(&fleet).await, warm);
    fleet.operator().post(TENANTS, &new_tenant(&taken)).await.expect(201);
    settled(&fleet, 1).await;
    let next = warm_ids(&fleet).await;
    assert!(next.is_disjoint(&warm));
    fleet.operator().post(TENANTS, &new_tenant(&taken)).await.problem(409, "slug_taken");
    assert_eq!(warm_ids(&fleet).await, next);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_new_migration_set_replaces_what_was_made_from_the_old_one() {
    let fleet = fleet::alone().await;
    keep(&fleet, 2).await;
    let old = warm_ids(&fleet).await;
    let mut files = published(&fleet).await;
    let version = files.len() + 1;
    let sql = "CREATE TABLE warmer (id uuid PRIMARY KEY);";
    files.push(json!({ "name": format!("V{version}__warmer.sql"), "sql": sql }));
    fleet.operator().post("/platform/v1/migrations", &json!({ "files": files })).await.expect(200);
    eventually("the old ones to be gone", async || {
        let now = warm_ids(&fleet).await;
        (now.len() == 2 && now.is_disjoint(&old)).then_some(())
    })
    .await;
    settled(&fleet, 2).await;
    for id in &old {
        assert_eq!(left_of(&fleet.on_server("postgres"), id).await, 0, "{id}");
    }
    let tenant = fleet.operator().post(TENANTS, &new_tenant(&unique("newer"))).await.expect(201);
    assert_eq!(tenant["schema_version"], version);
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'warmer'";
    let count: i64 = fleet.on_server(&id(&tenant).replace("ten_", "tenant_")).value(tables).await;
    assert_eq!(count, 1);
    fleet.finished(tenant["operation_id"].as_str().unwrap()).await;
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn retiring_and_claiming_at_once_never_take_the_same() {
    let fleet = fleet::alone().await;
    for _ in 0..2 {
        keep(&fleet, 4).await;
        let warm = warm_ids(&fleet).await;
        // The keeper takes them away one after another while tenants come.
        fleet.control().run(&format!("UPDATE servers SET warm_target = 0 WHERE name = '{}'", fleet.server)).await;
        let ask = async || {
            let body = json!({ "slug": unique("race"), "name": "A race" });
            let answer = fleet.operator().post(TENANTS, &body).await;
            assert!(matches!(answer.status(), 201 | 202), "{}", answer.text());
            answer.json()
        };
        let tenants = futures::future::join_all((0..4).map(|_| ask())).await;
        settled(&fleet, 0).await;
        for tenant in &tenants {
            fleet.finished(tenant["operation_id"].as_str().unwrap()).await;
            assert_eq!(left_of(&fleet.on_server("postgres"), &id(tenant)).await, 2, "{tenant}");
        }
        let kept: BTreeSet<_> = tenants.iter().map(id).collect();
        for retired in warm.difference(&kept) {
            assert_eq!(left_of(&fleet.on_server("postgres"), retired).await, 0, "{retired}");
        }
        fleet.assert_clean().await;
    }
}
