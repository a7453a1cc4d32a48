//! Operations as operators see them: followed, cancelled, taken up again.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

#[cfg(feature = "crash-points")]
use crate::harness::answer::Answer;
use crate::harness::{
    fleet::{self, Fleet},
    tenant::new_tenant,
    unique,
};

const OPERATIONS: &str = "/platform/v1/operations";

/// Asks for a tenant; the answer, whatever has become of the tenant by then.
async fn ask(fleet: &Fleet, slug: &str) -> Value {
    fleet.operator().post("/platform/v1/tenants", &new_tenant(slug)).await.expect(202)
}

fn path(created: &Value, action: &str) -> String {
    format!("{OPERATIONS}/{}{action}", created["operation_id"].as_str().unwrap())
}

/// All events of the stream, up to its end.
async fn events(fleet: &Fleet, path: &str) -> Vec<Value> {
    let response = fleet.operator().request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = tokio::time::timeout(Duration::from_secs(30), response.text()).await.unwrap().unwrap();
    let events = text.split("\n\n").filter(|event| event.starts_with("event: operation"));
    events.map(|event| serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap()).collect()
}

#[tokio::test]
async fn an_operation_is_followed_to_its_end() {
    let fleet = fleet::shared().await;
    let created = ask(fleet, &unique("followed")).await;
    let events = events(fleet, &path(&created, "/events")).await;
    let last = events.last().unwrap();
    assert_eq!((&last["state"], &last["progress"]), (&json!("succeeded"), &json!(1.0)), "{last}");
    assert!(events.windows(2).all(|pair| pair[0] != pair[1]), "an event without news");
    let progress: Vec<_> = events.iter().map(|event| event["progress"].as_f64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");
    // One that has ended tells so at once.
    let again = self::events(fleet, &path(&created, "/events")).await;
    assert_eq!(again, std::slice::from_ref(last));
    let nobody = format!("{OPERATIONS}/op_01900000000070008000000000000000/events");
    fleet.operator().get(&nobody).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_operation_that_has_ended_can_be_neither_cancelled_nor_retried() {
    let fleet = fleet::shared().await;
    let created = ask(fleet, &unique("ended")).await;
    fleet.finished(created["operation_id"].as_str().unwrap()).await;
    fleet.operator().post(&path(&created, "/cancel"), &json!({})).await.problem(409, "operation_finished");
    fleet.operator().post(&path(&created, "/retry"), &json!({})).await.problem(409, "operation_not_blocked");
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_cancelled_provisioning_leaves_nothing_and_frees_its_slug() {
    let fleet = fleet::idle().await;
    let slug = unique("cancelled");
    let created = ask(&fleet, &slug).await;
    let answer = fleet.operator().post(&path(&created, "/cancel"), &json!({})).await;
    let cancelled = answer.expect(202);
    assert_eq!(answer.header("location"), path(&created, ""));
    assert_eq!((&cancelled["state"], &cancelled["direction"]), (&json!("queued"), &json!("undo")));
    // Asked twice, it is the same wish.
    fleet.operator().post(&path(&created, "/cancel"), &json!({})).await.expect(202);
    let engine = crate::crash_points::engine(&fleet).await;
    let waiting = fleet.operator().request(Method::GET, &path(&created, "")).header("prefer", "wait=10");
    let ended = Answer::to(waiting).await.expect(200);
    assert_eq!((&ended["state"], &ended["steps"][0]["state"]), (&json!("cancelled"), &json!("undone")), "{ended}");
    let id = created["id"].as_str().unwrap();
    let tenant = fleet.patiently(&format!("/platform/v1/tenants/{id}"), 0).await;
    assert_eq!(tenant["state"], "deleted");
    let secrets: i64 =
        fleet.control().value(&format!("SELECT count(*) FROM data_keys WHERE owner_id::text = '{}'", uuid(id))).await;
    assert_eq!(secrets, 0, "its keys are destroyed");
    let again = ask(&fleet, &slug).await;
    assert_ne!(again["id"], created["id"], "another tenant of the same name");
    fleet.finished(again["operation_id"].as_str().unwrap()).await;
    engine.stop().await;
}

/// `ten_…` as PostgreSQL prints it.
#[cfg(feature = "crash-points")]
fn uuid(id: &str) -> String {
    let hex = id.trim_start_matches("ten_");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
