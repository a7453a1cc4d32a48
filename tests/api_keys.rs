//! API keys of people and of service accounts.

use std::time::{Duration, Instant};

use freehold::types::Clock;
use serde_json::{Value, json};

use crate::{
    harness::{
        actors::Caller,
        answer::Answer,
        eventually,
        fleet::{self, Fleet},
        tenant::Tenant,
        unique,
    },
    people::{id_of, refused_within_a_second},
};

const KEYS: &str = "/v1/api-keys";
const ME: &str = "/v1/auth/me";

fn key(fleet: &Fleet, tenant: &Tenant<'_>, made: &Value) -> Caller {
    (*fleet.replica.member(&tenant.slug, &made["key"].as_str().unwrap().into())).clone()
}

async fn make(caller: &Caller, scopes: &[&str]) -> Value {
    caller.post(KEYS, &json!({ "name": "ci", "scopes": scopes })).await.expect(201)
}

fn path(key: &Value) -> String {
    format!("{KEYS}/{}", key["id"].as_str().unwrap())
}

async fn rotate(caller: &Caller, key: &Value, body: &Value) -> Answer {
    caller.post(&format!("{}/rotate", path(key)), body).await
}

#[tokio::test]
async fn a_key_is_shown_once_and_grants_its_scopes_as_far_as_its_owner_holds_them() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let made = make(&member, &["projects:read", "projects:write"]).await;
    assert_eq!(made["user_id"], id_of(&member).await);
    let read = member.get(&path(&made)).await.expect(200);
    assert!(read.get("key").is_none());
    let own = key(fleet, &tenant, &made);
    own.post("/v1/projects", &json!({ "name": "x" })).await.expect(201);
    own.get("/v1/tasks").await.problem(403, "forbidden");
    let beyond = json!({ "name": "x", "scopes": ["projects:read", "users:read"] });
    member.post(KEYS, &beyond).await.problem(403, "exceeds_own_rights");
    let unknown = json!({ "name": "x", "scopes": ["tenants:read"] });
    member.post(KEYS, &unknown).await.wrong_field("scopes[0]", "unknown_permission");
    tenant.member("viewer").await.post(KEYS, &unknown).await.problem(403, "forbidden");
    // A demoted owner's key grants less.
    let user = format!("/v1/users/{}", id_of(&member).await);
    tenant.admin.patch(&user, &json!({ "role": "viewer" })).await.expect(200);
    own.get("/v1/projects").await.expect(200);
    own.post("/v1/projects", &json!({ "name": "x" })).await.problem(403, "forbidden");
    let secret = made["key"].as_str().unwrap().split('_').nth(2).unwrap();
    let stored = "SELECT (SELECT count(*) FROM freehold.api_keys k WHERE k::text LIKE $$%SECRET%$$)
                       + (SELECT count(*) FROM freehold.audit_events e WHERE e::text LIKE $$%SECRET%$$)";
    assert_eq!(tenant.database().value::<i64>(&stored.replace("SECRET", secret)).await, 0);
}

#[tokio::test]
async fn whose_key_it_is_comes_from_the_session_alone() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let victim = id_of(&tenant.admin).await;
    for field in ["user_id", "owner", "user", "created_by"] {
        let body = json!({ "name": "x", "scopes": [], field: victim });
        member.post(KEYS, &body).await.wrong_field(field, "unknown_field");
    }
    tenant.anonymous().post(KEYS, &json!({ "name": "x", "scopes": [] })).await.problem(401, "authentication_required");
    // No key makes or replaces another one.
    let made = make(&tenant.admin, &["api-keys:write", "service-accounts:write", "projects:read"]).await;
    let admin_key = key(fleet, &tenant, &made);
    let another = json!({ "name": "x", "scopes": ["projects:read"] });
    admin_key.post(KEYS, &another).await.problem(403, "session_required");
    rotate(&admin_key, &made, &json!({})).await.problem(403, "session_required");
    // The path names service accounts and nobody else.
    let of_person = format!("/v1/service-accounts/{victim}/api-keys");
    tenant.admin.post(&of_person, &another).await.problem(404, "not_found");
    // Others' keys are not there for whoever may not see them.
    member.get(&path(&made)).await.problem(404, "not_found");
    member.delete(&path(&made)).await.problem(404, "not_found");
    rotate(&member, &made, &json!({})).await.problem(404, "not_found");
    let listed = member.get(&format!("{KEYS}?user_id={victim}")).await.expect(200);
    assert_eq!(listed["items"], json!([]));
    let of_member = make(&member, &["projects:read"]).await;
    assert_eq!(member.get(KEYS).await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(tenant.admin.get(KEYS).await.expect(200)["items"].as_array().unwrap().len(), 2);
    rotate(&tenant.admin, &of_member, &json!({})).await.problem(404, "not_found");
    tenant.admin.delete(&path(&of_member)).await.expect(204);
}

#[tokio::test]
async fn a_revoked_keys_last_success_is_within_a_second_on_every_replica() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let made = make(&tenant.admin, &["projects:read"]).await;
    let here = key(fleet, &tenant, &made);
    let there = here.through(&other.anonymous(&tenant.slug));
    for caller in [&here, &there] {
        caller.get(ME).await.expect(200);
    }
    tenant.admin.delete(&path(&made)).await.expect(204);
    let since = Instant::now();
    here.get(ME).await.problem(401, "invalid_token");
    refused_within_a_second(&here, &there, since).await;
    tenant.admin.delete(&path(&made)).await.expect(204);
    rotate(&tenant.admin, &made, &json!({})).await.problem(409, "api_key_ended");
    let valid = tenant.admin.get(&format!("{KEYS}?valid=true")).await.expect(200);
    assert_eq!(valid["items"], json!([]));
}

#[tokio::test]
async fn a_rotated_key_and_its_successor_overlap_as_long_as_was_asked() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let first = make(&tenant.admin, &["projects:read"]).await;
    let one = key(fleet, &tenant, &first);
    let there = one.through(&other.anonymous(&tenant.slug));
    there.get(ME).await.expect(200);
    let second = rotate(&tenant.admin, &first, &json!({})).await.expect(201);
    assert_eq!((&second["scopes"], &second["name"]), (&first["scopes"], &first["name"]));
    let two = key(fleet, &tenant, &second);
    for caller in [&one, &two] {
        caller.get("/v1/projects").await.expect(200);
    }
    assert!(tenant.admin.get(&path(&first)).await.expect(200)["expires_at"].is_string());
    rotate(&tenant.admin, &second, &json!({ "overlap_seconds": 604_801 }))
        .await
        .wrong_field("overlap_seconds", "invalid_range");
    let third = rotate(&tenant.admin, &second, &json!({ "overlap_seconds": 0 })).await.expect(201);
    two.get(ME).await.problem(401, "invalid_token");
    key(fleet, &tenant, &third).get(ME).await.expect(200);
    // A short overlap ends by itself, also where the key was verified before.
    let fourth = rotate(&tenant.admin, &third, &json!({ "overlap_seconds": 2 })).await.expect(201);
    let three = key(fleet, &tenant, &third);
    let three_there = three.through(&other.anonymous(&tenant.slug));
    for caller in [&three, &three_there, &key(fleet, &tenant, &fourth)] {
        caller.get(ME).await.expect(200);
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    refused_within_a_second(&three, &three_there, Instant::now()).await;
}

#[tokio::test]
async fn a_key_is_bound_to_addresses_and_notes_its_use_seldom() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let bound = async |addresses: Value| {
        let body = json!({ "name": "x", "scopes": ["projects:read"], "allowed_addresses": addresses });
        tenant.admin.post(KEYS, &body).await
    };
    bound(json!([])).await.wrong_field("allowed_addresses", "invalid_length");
    bound(json!(["10.0.0.0/8", "nowhere"])).await.wrong_field("allowed_addresses[1]", "invalid_network");
    let far = bound(json!(["192.0.2.7/24", "2001:db8::/32"])).await.expect(201);
    assert_eq!(far["allowed_addresses"], json!(["192.0.2.0/24", "2001:db8::/32"]));
    key(fleet, &tenant, &far).get(ME).await.problem(401, "invalid_token");
    let near = bound(json!(["127.0.0.0/8"])).await.expect(201);
    assert_eq!(near["last_used_at"], Value::Null);
    let caller = key(fleet, &tenant, &near);
    caller.get(ME).await.expect(200);
    let used = tenant.admin.get(&path(&near)).await.expect(200)["last_used_at"].clone();
    assert!(used.is_string());
    // Every replica verifies it anew, and still writes nothing within the minute.
    let other = make(&tenant.admin, &[]).await;
    tenant.admin.delete(&path(&other)).await.expect(204);
    caller.get(ME).await.expect(200);
    assert_eq!(tenant.admin.get(&path(&near)).await.expect(200)["last_used_at"], used);
    let past = json!({ "name": "x", "scopes": [], "expires_at": "2001-01-01T00:00:00Z" });
    tenant.admin.post(KEYS, &past).await.wrong_field("expires_at", "invalid_range");
    let again = unique("key");
    let body = json!({ "name": "x", "scopes": ["projects:read"] });
    let (one, two) = (
        tenant.admin.post_once(KEYS, &again, &body).await.expect(201),
        tenant.admin.post_once(KEYS, &again, &body).await.expect(201),
    );
    assert_eq!(one["id"], two["id"]);
    assert!(one["key"].is_string() && two.get("key").is_none());
}

#[tokio::test]
async fn a_service_account_has_keys_and_no_other_way_in() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let admin = tenant.member("admin").await;
    let new = |role: &str| json!({ "name": "Nightly export", "role": role });
    admin.post("/v1/service-accounts", &new("owner")).await.problem(403, "exceeds_own_rights");
    tenant.admin.post("/v1/service-accounts", &new("owner")).await.wrong_field("role", "invalid_value");
    let made = admin.post("/v1/service-accounts", &new("viewer")).await;
    let account = made.expect(201);
    assert_eq!((&account["kind"], &account["email"]), (&json!("service"), &Value::Null));
    let user = format!("/v1/users/{}", account["id"].as_str().unwrap());
    assert_eq!(made.header("location"), user);
    let keys = format!("/v1/service-accounts/{}/api-keys", account["id"].as_str().unwrap());
    let body = json!({ "name": "export", "scopes": ["projects:read", "projects:write"] });
    let issued = admin.post(&keys, &body).await.expect(201);
    let service = key(fleet, &tenant, &issued);
    service.get("/v1/projects").await.expect(200);
    service.post("/v1/projects", &json!({ "name": "x" })).await.problem(403, "forbidden");
    tenant.admin.patch(&user, &json!({ "role": "owner" })).await.wrong_field("role", "invalid_value");
    admin.patch(&user, &json!({ "role": "member" })).await.expect(200);
    service.post("/v1/projects", &json!({ "name": "x" })).await.expect(201);
    rotate(&admin, &issued, &json!({})).await.expect(201);
    let internal = format!("{}@service.invalid", account["id"].as_str().unwrap());
    tenant.anonymous().login(&internal, crate::harness::PASSWORD).await.problem(401, "invalid_credentials");
    admin.patch(&user, &json!({ "active": false })).await.expect(200);
    service.get(ME).await.problem(401, "invalid_token");
    admin.post(&keys, &body).await.problem(409, "user_inactive");
}

/// A request of a user's for a key, while a transaction deactivates them. It does as administrators' do: it locks the user,
/// and then revokes their keys.
async fn during_deactivation(tenant: &Tenant<'_>, caller: &Caller, (path, body): (String, Value)) -> Answer {
    let own = format!("replace(id::text, '-', '') = '{}'", id_of(caller).await.trim_start_matches("usr_"));
    let mut session = tenant.database().connect().await.unwrap();
    let txn = session.transaction().await.unwrap();
    txn.batch_execute(&format!("SELECT FROM freehold.users WHERE {own} FOR NO KEY UPDATE")).await.unwrap();
    let caller = caller.clone();
    let under_way = tokio::spawn(async move { caller.post(&path, &body).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("the request to wait for the user", async || {
        (tenant.database().value::<i64>(waits).await > 0).then_some(())
    })
    .await;
    let deactivated = format!(
        "UPDATE freehold.users SET active = false WHERE {own};
         UPDATE freehold.api_keys SET revoked_at = now() WHERE revoked_at IS NULL"
    );
    txn.batch_execute(&deactivated).await.unwrap();
    txn.commit().await.unwrap();
    let answer = under_way.await.unwrap();
    tenant.database().run(&format!("UPDATE freehold.users SET active = true WHERE {own}")).await;
    answer
}

#[tokio::test]
async fn nobody_gets_a_key_who_is_deactivated_meanwhile() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let made = make(&member, &["projects:read"]).await;
    let rotation = (format!("{}/rotate", path(&made)), json!({}));
    during_deactivation(&tenant, &member, rotation).await.problem(401, "invalid_token");
    let new = (KEYS.to_owned(), json!({ "name": "ci", "scopes": [] }));
    during_deactivation(&tenant, &member, new).await.problem(401, "invalid_token");
    let valid = "SELECT count(*) FROM freehold.api_keys WHERE revoked_at IS NULL";
    assert_eq!(tenant.database().value::<i64>(valid).await, 0);
}
