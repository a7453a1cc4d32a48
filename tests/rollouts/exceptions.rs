//! Tenants that are otherwise than the others: right already, drifted, pinned, asleep, or late.

use serde_json::json;

use super::{PATIENCE, ROLLOUTS, ask, ended, look, member, name, plain, publish, settle, settled, start};
use crate::harness::eventually_within;

#[tokio::test]
async fn a_schema_that_is_right_already_is_adopted_and_one_that_is_wrong_is_told() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 3).await;
    let (column, extra) = (name("right"), name("extra"));
    let version = publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {column} text NOT NULL DEFAULT 'x'")).await;
    let by_hand = |sql: String| format!("SET ROLE freehold_owner; {sql}");
    let right = by_hand(format!("ALTER TABLE projects ADD COLUMN {column} text NOT NULL DEFAULT 'x'"));
    tenants[0].database(&fleet).run(&right).await;
    tenants[1].database(&fleet).run(&by_hand(format!("ALTER TABLE tasks ADD COLUMN {extra} text"))).await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "max_failures": "1" })).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("failed"), &json!(1)), "{rollout}");
    let adopted = member(&fleet, &id, &tenants[0]).await;
    assert_eq!((&adopted["state"], &adopted["adopted"]), (&json!("done"), &json!(true)), "{adopted}");
    let newest = "SELECT max(version) FROM refinery_schema_history";
    assert_eq!(tenants[0].database(&fleet).value::<i32>(newest).await, version);
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version);
    let path = format!("/platform/v1/audit-events?target={}", tenants[0].id);
    assert_eq!(fleet.patiently(&path, 0).await["items"][0]["action"], "tenant.adopt_schema");
    let drifted = member(&fleet, &id, &tenants[1]).await;
    let error = drifted["error"].as_str().unwrap();
    assert!(error.starts_with("schema_drift: ") && error.contains(&format!("column public.tasks.{extra}")), "{error}");
    assert!(!error.contains(&column), "{error}");
    assert_eq!(tenants[1].seen(&fleet).await["schema_version"], version, "its files were applied");
    assert_eq!(member(&fleet, &id, &tenants[2]).await["adopted"], false);
    tenants[1].database(&fleet).run(&format!("ALTER TABLE tasks DROP COLUMN {extra}")).await;
    ask(&fleet, &id, "retry", &json!({ "only": [tenants[1].slug] })).await;
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_pinned_tenant_is_left_out_until_it_is_let_go() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 2).await;
    let before = tenants[0].seen(&fleet).await["schema_version"].clone();
    let path = format!("/platform/v1/tenants/{}", tenants[0].id);
    let pinned = fleet.operator().patch(&path, &json!({ "pinned_version": before })).await.expect(200);
    assert_eq!(pinned["pinned_version"], before);
    let version = publish(&fleet, "SELECT 1").await;
    let id = start(&fleet, &json!({})).await;
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    let seen = member(&fleet, &id, &tenants[0]).await;
    assert!(seen["state"] == "skipped" && seen["error"].as_str().unwrap().starts_with("pinned: "), "{seen}");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], before);
    assert_eq!(tenants[1].seen(&fleet).await["schema_version"], version);
    fleet.assert_clean().await;
    let let_go = fleet.operator().patch(&path, &json!({ "pinned_version": null })).await.expect(200);
    assert_eq!(let_go["pinned_version"], json!(null));
    settle(&fleet).await;
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version);
}

#[tokio::test]
async fn a_tenant_that_slept_is_migrated_when_it_wakes() {
    let fleet = settled().await;
    let tenant = fleet.tenant().await;
    let path = format!("/platform/v1/tenants/{}", tenant.id);
    let act = async |action: &str| {
        let asked = fleet.operator().post(&format!("{path}/{action}"), &json!({})).await.expect(202);
        fleet.finished(asked["operation_id"].as_str().unwrap()).await;
    };
    act("archive").await;
    let column = name("woken");
    let version = publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {column} text")).await;
    settle(&fleet).await;
    act("restore").await;
    assert_eq!(fleet.patiently(&path, 0).await["schema_version"], version);
    let held = format!("SELECT count(*) FROM information_schema.columns WHERE column_name = '{column}'");
    assert_eq!(tenant.database().value::<i64>(&held).await, 1);
    let token = tenant.login().await["access_token"].as_str().unwrap().into();
    let admin = fleet.replica.member(&tenant.slug, &token);
    admin.post("/v1/projects", &json!({ "name": "awake" })).await.expect(201);
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_tenant_that_falls_behind_meanwhile_joins_the_last_wave() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 4).await;
    let version = publish(&fleet, "SELECT pg_sleep(0.3)").await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "concurrency": 1 })).await;
    ask(&fleet, &id, "pause", &json!({})).await;
    ended(&fleet, &id).await;
    let waiting = async || {
        for tenant in &tenants {
            if member(&fleet, &id, tenant).await["state"] == "pending" {
                return Some(tenant);
            }
        }
        None
    };
    let source = eventually_within("a tenant that waits", PATIENCE, waiting).await;
    let body = json!({ "slug": name("late").replace('_', "-"), "name": "A clone" });
    let path = format!("/platform/v1/tenants/{}/clone", source.id);
    let clone = fleet.operator().post(&path, &body).await.expect(202);
    fleet.finished(clone["operation_id"].as_str().unwrap()).await;
    let path = format!("/platform/v1/tenants/{}", clone["id"].as_str().unwrap());
    assert_eq!(fleet.patiently(&path, 0).await["schema_version"], version - 1, "its source's version");
    let before = look(&fleet, &id).await["counts"]["pending"].as_u64().unwrap();
    assert!(before > 0);
    ask(&fleet, &id, "resume", &json!({})).await;
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    assert_eq!(fleet.patiently(&path, 0).await["schema_version"], version);
    let path = format!("{ROLLOUTS}/{id}/tenants?state=done&limit=200");
    let done = fleet.patiently(&path, 0).await;
    let is_it = |item: &serde_json::Value| item["tenant_id"] == clone["id"];
    assert!(done["items"].as_array().unwrap().iter().any(is_it), "{done}");
}

#[tokio::test]
async fn a_tenant_whose_lock_is_held_is_tried_again_later() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 2).await;
    publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {} text", name("later"))).await;
    let admin = fleet.server_admin().await;
    let id: freehold::types::TenantId = tenants[0].id.parse().unwrap();
    assert!(admin.lock_tenant(id, std::time::Duration::ZERO).await.unwrap());
    let rollout = start(&fleet, &json!({ "waves": ["100%"] })).await;
    eventually_within("the others to be done", PATIENCE, async || {
        let seen = member(&fleet, &rollout, &tenants[0]).await;
        let told = seen["error"].as_str().is_some_and(|error| error.starts_with("tenant_locked: "));
        (told && member(&fleet, &rollout, &tenants[1]).await["state"] == "done").then_some(())
    })
    .await;
    drop(admin);
    assert_eq!(ended(&fleet, &rollout).await["state"], "succeeded");
    assert!(member(&fleet, &rollout, &tenants[0]).await["attempts"].as_u64() > Some(1));
}
