//! Placement over servers: capacity holds exactly, a cordon keeps tenants away, a drain says who would leave.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    answer::Answer,
    fleet::{self, Fleet},
    pool::Own,
    unique,
};

pub(crate) const SERVERS: &str = "/platform/v1/servers";
const TENANTS: &str = "/platform/v1/tenants";
const SECOND: &str = "second";

/// A Freehold with two servers that take tenants, both by demand of no warm databases, and the second one's path.
pub(crate) async fn two_servers() -> (Own, String) {
    let fleet = fleet::several().await;
    let listed = fleet.patiently(SERVERS, 0).await;
    let known = listed["items"].as_array().unwrap().iter().find(|server| server["name"] == SECOND).cloned();
    let second = if let Some(second) = known {
        second
    } else {
        let url = fleet.second_server_url();
        let body = json!({ "name": SECOND, "admin_url": url, "region": "there", "warm_target": 0 });
        fleet.operator().post(SERVERS, &body).await.expect(201)
    };
    let path = format!("{SERVERS}/{}", second["id"].as_str().unwrap());
    let open = json!({ "capacity": null, "region": "there", "warm_target": 0 });
    fleet.operator().patch(&path, &open).await.expect(200);
    fleet.operator().post(&format!("{path}/uncordon"), &json!({})).await.expect(200);
    (fleet, path)
}

/// A tenant without an administrator, with some wishes.
fn wishing(wishes: &Value) -> Value {
    let mut body = json!({ "slug": unique("placed"), "name": "Placed" });
    body.as_object_mut().unwrap().extend(wishes.as_object().unwrap().clone());
    body
}

async fn refused(fleet: &Fleet, wishes: &Value, why: &str) {
    let problem = fleet.operator().post(TENANTS, &wishing(wishes)).await.problem(409, "no_server_available");
    assert_eq!(problem["detail"], why, "{wishes}");
}

async fn tenants_on(fleet: &Fleet, path: &str) -> i64 {
    fleet.patiently(path, 0).await["tenants"].as_i64().unwrap()
}

#[tokio::test]
async fn a_server_is_given_as_many_tenants_as_it_takes_and_not_one_more() {
    let (fleet, path) = two_servers().await;
    let before = tenants_on(&fleet, &path).await;
    fleet.operator().patch(&path, &json!({ "capacity": before + 3 })).await.expect(200);
    let ask = async || {
        let body = wishing(&json!({ "region": "there" }));
        let request = fleet.operator().request(Method::POST, TENANTS).json(&body);
        Answer::to(request).await
    };
    let answers = futures::future::join_all((0..20).map(|_| ask())).await;
    let taken: Vec<_> = answers.iter().filter(|answer| answer.status() == 202).collect();
    let statuses: Vec<_> = answers.iter().map(Answer::status).collect();
    assert_eq!(taken.len(), 3, "of 20 at once, on a server with room for three: {statuses:?}");
    for answer in answers.iter().filter(|answer| answer.status() != 202) {
        answer.problem(409, "no_server_available");
    }
    for answer in taken {
        let made = answer.json();
        assert_eq!(made["server"], SECOND);
        fleet.finished(made["operation_id"].as_str().unwrap()).await;
    }
    assert_eq!(tenants_on(&fleet, &path).await, before + 3);
    refused(&fleet, &json!({ "region": "there" }), "every server of the region is full").await;
    refused(&fleet, &json!({ "server": SECOND }), "the server is full").await;
    let traces: i64 = fleet
        .control()
        .value(
            "SELECT count(*) FROM data_keys k WHERE NOT EXISTS
        (SELECT FROM tenants t WHERE t.id = k.owner_id) AND NOT EXISTS (SELECT FROM servers s WHERE s.id = k.owner_id)
        AND NOT EXISTS (SELECT FROM warm_databases w WHERE w.id = k.owner_id)",
        )
        .await;
    assert_eq!(traces, 0, "keys of tenants that were refused");
    // Somewhere else there is room.
    let elsewhere = fleet.operator().post(TENANTS, &wishing(&json!({}))).await.expect(202);
    assert_eq!(elsewhere["server"], fleet.server);
    fleet.finished(elsewhere["operation_id"].as_str().unwrap()).await;
    fleet.operator().patch(&path, &json!({ "capacity": null })).await.expect(200);
}

#[tokio::test]
async fn a_cordoned_server_takes_no_tenants_until_it_is_opened_again() {
    let (fleet, path) = two_servers().await;
    let cordoned = fleet.operator().post(&format!("{path}/cordon"), &json!({})).await.expect(200);
    assert_eq!(cordoned["cordoned"], true);
    fleet.operator().post(&format!("{path}/cordon"), &json!({})).await.expect(200);
    refused(&fleet, &json!({ "server": SECOND }), "the server is cordoned").await;
    refused(&fleet, &json!({ "region": "there" }), "every server of the region is cordoned").await;
    let elsewhere = "the server is in another region, or has other labels";
    refused(&fleet, &json!({ "server": fleet.server, "region": "there" }), elsewhere).await;
    let nowhere = fleet.operator().post(TENANTS, &wishing(&json!({ "region": "nowhere" }))).await;
    nowhere.wrong_field("region", "unknown_region");
    fleet.operator().post(&format!("{path}/uncordon"), &json!({})).await.expect(200);
    let made = fleet.operator().post(TENANTS, &wishing(&json!({ "server": SECOND }))).await.expect(202);
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    let sql = "SELECT action FROM audit_events WHERE action LIKE 'server.%cordon' ORDER BY at DESC LIMIT 1";
    assert_eq!(fleet.control().value::<String>(sql).await, "server.uncordon");
}

#[tokio::test]
async fn a_tenant_goes_to_a_server_with_the_labels_it_needs() {
    let (fleet, path) = two_servers().await;
    let label = async |labels: Value| fleet.operator().patch(&path, &json!({ "labels": labels })).await.expect(200);
    label(json!({ "disk": "nvme", "zone": "b" })).await;
    let nvme = wishing(&json!({ "server_labels": { "disk": "nvme" } }));
    let made = fleet.operator().post(TENANTS, &nvme).await.expect(202);
    assert_eq!(made["server"], SECOND);
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    for labels in [json!({ "disk": "tape" }), json!({ "disk": "nvme", "zone": "a" })] {
        let answer = fleet.operator().post(TENANTS, &wishing(&json!({ "server_labels": labels }))).await;
        answer.wrong_field("server_labels", "unknown_labels");
    }
    label(json!({ "disk": null, "zone": null })).await;
}

#[tokio::test]
async fn a_drain_tells_who_would_leave_and_where_they_would_fit() {
    let (fleet, path) = two_servers().await;
    let made = fleet.operator().post(TENANTS, &wishing(&json!({ "server": SECOND }))).await.expect(202);
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    let drained = fleet.operator().post(&format!("{path}/drain"), &json!({})).await.expect(200);
    let tenants = drained["tenants"].as_array().unwrap();
    assert_eq!((&drained["server"]["cordoned"], &drained["count"]), (&json!(true), &json!(tenants.len())));
    let ids: BTreeSet<_> = tenants.iter().map(|tenant| tenant["id"].as_str().unwrap()).collect();
    assert!(ids.contains(made["id"].as_str().unwrap()));
    let bytes: i64 = tenants.iter().map(|tenant| tenant["bytes"].as_i64().unwrap()).sum();
    assert!(bytes > 1_000_000 && drained["bytes"] == bytes, "{drained}");
    assert_eq!(drained["fits"], json!([{ "server": fleet.server, "tenants": tenants.len() }]));
    assert_eq!(drained["left"], 0);
    // Nobody has moved.
    assert_eq!(tenants_on(&fleet, &path).await, i64::try_from(tenants.len()).unwrap());
    fleet.operator().post(&format!("{path}/uncordon"), &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_server_is_changed_within_bounds_and_the_platforms_takes_no_tenants() {
    // Beside those that it has.
    let many = |count: usize| (0..count).map(|n| (format!("label-{n}"), json!("x"))).collect::<serde_json::Map<_, _>>();
    let (fleet, path) = two_servers().await;
    let operator = fleet.operator();
    let change = json!({ "region": null, "labels": { "tier": "silver", "gone": null }, "connection_budget": 31,
        "warm_target": 0, "capacity": 500 });
    let changed = operator.patch(&path, &change).await.expect(200);
    assert_eq!((&changed["region"], &changed["labels"]["tier"]), (&Value::Null, &json!("silver")));
    assert_eq!((&changed["connection_budget"], &changed["capacity"]), (&json!(31), &json!(500)));
    assert_eq!(operator.patch(&path, &json!({})).await.expect(200)["capacity"], 500, "what is absent stays");
    assert_eq!(operator.get(&path).await.expect(200), changed);
    for (body, field, code) in [
        (json!({ "connection_budget": 0 }), "connection_budget", "invalid_range"),
        (json!({ "capacity": -1 }), "capacity", "invalid_range"),
        (json!({ "warm_target": 1001 }), "warm_target", "invalid_range"),
        (json!({ "connection_budget": null }), "connection_budget", "invalid_type"),
        (json!({ "region": "" }), "region", "invalid_length"),
        (json!({ "labels": { "": "x" } }), "labels", "invalid_length"),
        (json!({ "labels": many(50) }), "labels", "too_many"),
        (json!({ "name": "other" }), "name", "unknown_field"),
    ] {
        operator.patch(&path, &body).await.wrong_field(field, code);
    }
    let listed = operator.get(SERVERS).await.expect(200);
    let platform = listed["items"].as_array().unwrap().iter().find(|server| server["purpose"] == "platform").unwrap();
    let platform = format!("{SERVERS}/{}", platform["id"].as_str().unwrap());
    for action in ["cordon", "uncordon", "drain"] {
        operator.post(&format!("{platform}/{action}"), &json!({})).await.problem(409, "platform_server");
    }
    operator.patch(&platform, &json!({ "capacity": 5 })).await.problem(409, "platform_server");
    operator.patch(&platform, &json!({ "labels": { "kind": "own" } })).await.expect(200);
}

/// How many changes of servers the audit log tells of.
async fn audited(fleet: &Fleet) -> i64 {
    fleet.control().value("SELECT count(*) FROM audit_events WHERE action LIKE 'server.%'").await
}

#[tokio::test]
async fn a_server_is_changed_only_in_the_version_that_was_meant() {
    let (fleet, path) = two_servers().await;
    let operator = fleet.operator();
    let etag = async || operator.get(&path).await.header("etag").to_owned();
    let guarded = async |etag: &str, budget: i32| {
        let request = operator.request(Method::PATCH, &path).header("if-match", etag);
        Answer::to(request.json(&json!({ "connection_budget": budget }))).await
    };
    let budget = operator.get(&path).await.expect(200)["connection_budget"].as_i64().unwrap();
    operator.patch(&path, &json!({ "connection_budget": 60 })).await.expect(200);
    let (first, noted) = (etag().await, audited(&fleet).await);
    let nothing = operator.patch(&path, &json!({ "connection_budget": 60 })).await;
    assert_eq!(audited(&fleet).await, noted, "what changes nothing is noted");
    assert_eq!((nothing.status(), nothing.header("etag")), (200, &*first), "a change to what is so already is none");
    let changed = guarded(&first, 61).await;
    let second = changed.header("etag").to_owned();
    assert_eq!((&changed.expect(200)["connection_budget"], etag().await), (&json!(61), second.clone()));
    assert_ne!(first, second);
    guarded(&first, 62).await.problem(412, "precondition_failed");
    assert_eq!(operator.get(&path).await.expect(200)["connection_budget"], 61);
    // Of two that have seen the same version one changes it.
    let (one, other) = tokio::join!(guarded(&second, 63), guarded(&second, 64));
    let mut statuses = [one.status(), other.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    // Tenants that come change nothing about the server; a cordon does.
    let third = etag().await;
    let made = operator.post(TENANTS, &wishing(&json!({ "server": SECOND }))).await.expect(202);
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    assert_eq!(etag().await, third);
    let cordoned = operator.post(&format!("{path}/cordon"), &json!({})).await;
    assert_eq!(cordoned.expect(200)["cordoned"], true);
    assert_ne!(cordoned.header("etag"), third);
    operator.patch(&path, &json!({ "connection_budget": budget })).await.expect(200);
}
