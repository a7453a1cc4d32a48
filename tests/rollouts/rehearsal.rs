//! `rollout plan --rehearse`: the migrations on a copy of a tenant's database, of which nothing is left.

use serde_json::json;

use super::{name, publish, settle, settled};
use crate::{
    archiving::{ask, failed},
    harness::fleet::Fleet,
    migrations::waived,
};

async fn rehearse(fleet: &Fleet, tenant: &str) -> serde_json::Value {
    let path = format!("/platform/v1/tenants/{tenant}");
    let asked = fleet.operator().post(&format!("{path}/rehearse"), &json!({})).await.expect(202);
    fleet.finished(asked["operation_id"].as_str().unwrap()).await;
    let told = fleet.patiently(&format!("{path}/rehearsal"), 0).await;
    assert_eq!(told["operation_id"], asked["operation_id"]);
    let left = "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'freehold_scratch_%')
                     + (SELECT count(*) FROM pg_roles WHERE rolname ~ '^freehold_(builder|restore|dump)_')";
    assert_eq!(fleet.on_server("postgres").value::<i64>(left).await, 0);
    told
}

#[tokio::test]
async fn migrations_are_rehearsed_on_the_rows_of_a_tenant_and_change_nothing_of_it() {
    let fleet = settled().await;
    let tenant = fleet.tenant().await;
    for _ in 0..3 {
        tenant.admin.post("/v1/projects", &json!({ "name": "tried" })).await.expect(201);
    }
    let path = format!("/platform/v1/tenants/{}", tenant.id);
    fleet.operator().get(&format!("{path}/rehearsal")).await.problem(404, "not_found");
    let before = fleet.patiently(&path, 0).await["schema_version"].clone();
    let (column, constraint) = (name("tried"), name("tried_fine"));
    let add = format!("ALTER TABLE projects ADD COLUMN {column} double precision DEFAULT random()");
    let update = format!("UPDATE projects SET {column} = 0");
    publish(&fleet, &waived(&[("volatile-default", &add), ("whole-table-write", &update)])).await;
    let told = rehearse(&fleet, &tenant.id).await;
    assert!(told["succeeded"] == true && told["from_version"] == before, "{told}");
    let (add, update) = (&told["statements"][0], &told["statements"][1]);
    assert_eq!((&add["rewritten"], &update["rows"]), (&json!(["public.projects"]), &json!(3)), "{told}");
    let lock = &add["locks"][0];
    assert_eq!((&lock["table"], &lock["mode"]), (&json!("public.projects"), &json!("AccessExclusiveLock")), "{told}");
    assert_eq!(fleet.patiently(&path, 0).await["schema_version"], before);
    let held = format!("SELECT count(*) FROM information_schema.columns WHERE column_name = '{column}'");
    assert_eq!(tenant.database().value::<i64>(&held).await, 0);

    let check = format!("ALTER TABLE projects ADD CONSTRAINT {constraint} CHECK (name <> 'tried')");
    publish(&fleet, &waived(&[("add-check", &check)])).await;
    let told = rehearse(&fleet, &tenant.id).await;
    let last = told["statements"].as_array().unwrap().last().unwrap();
    assert!(
        told["succeeded"] == false && last["error"].as_str().unwrap().contains("is violated by some row"),
        "{told}"
    );
    tenant.database().run("UPDATE projects SET name = 'not tried'").await;
    assert_eq!(rehearse(&fleet, &tenant.id).await["succeeded"], true);
    settle(&fleet).await;
    assert_eq!(rehearse(&fleet, &tenant.id).await["statements"], json!([]), "it lacks nothing");
    let wrong = json!({ "target_version": 1_000_000 });
    fleet.operator().post(&format!("{path}/rehearse"), &wrong).await.wrong_field("target_version", "unknown_version");
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_rehearsal_to_another_version_is_not_handed_out_for_one_that_is_under_way() {
    let fleet = settled().await;
    let tenant = fleet.tenant().await;
    let version = publish(&fleet, "SELECT pg_sleep(5)").await;
    let path = format!("/platform/v1/tenants/{}/rehearse", tenant.id);
    let operator = fleet.operator();
    let under_way = operator.post(&path, &json!({})).await.expect(202)["operation_id"].clone();
    let other = operator.post(&path, &json!({ "target_version": version - 1 })).await;
    other.problem(409, "operation_in_progress");
    let same = operator.post(&path, &json!({ "target_version": version })).await.expect(202);
    assert_eq!(same["operation_id"], under_way);
    fleet.finished(under_way.as_str().unwrap()).await;
    settle(&fleet).await;
}

#[tokio::test]
async fn what_the_owner_cannot_read_ends_a_rehearsal_at_once() {
    let fleet = settled().await;
    let tenant = fleet.tenant().await;
    tenant.database().run("ALTER TABLE projects ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").await;
    let operation = failed(&fleet, &ask(&fleet, &tenant, "rehearse").await).await;
    assert!(operation["error"].as_str().unwrap().starts_with("unreadable_objects: "), "{operation}");
    let step = operation["steps"].as_array().unwrap().iter().find(|step| step["name"] == "run_files").unwrap();
    // Once forwards, and once when it was undone.
    assert_eq!((&step["state"], &step["attempts"]), (&json!("undone"), &json!(2)), "{operation}");
    tenant.database().run("ALTER TABLE projects DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY").await;
    fleet.assert_clean().await;
}
