//! Audit logs: found, exported, seen by whom they are about, and never changed without a trace.

use std::collections::BTreeSet;

use freehold::types::Clock;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    harness::{actors::Caller, answer::Answer, eventually, fleet, tenant::Tenant},
    people::id_of,
};

const EVENTS: &str = "/v1/audit-events";
const CHAIN: &str = "/v1/audit-events/chain";

/// The chain once all events are in it.
async fn chained(caller: &Caller, path: &str) -> Value {
    eventually("the log to be chained", async || {
        let chain = caller.get(path).await.expect(200);
        (chain["unchained"] == 0 && chain["head"].is_object()).then_some(())
    })
    .await;
    // A batch may have come after the last ones that were looked at.
    caller.get(path).await.expect(200)
}

fn codes(chain: &Value) -> BTreeSet<String> {
    chain["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

fn actions(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn events_are_found_by_who_what_when_and_to_what() {
    let tenant = fleet::shared().await.tenant().await;
    let member = tenant.member("member").await;
    let (id, admin) = (id_of(&member).await, id_of(&tenant.admin).await);
    for name in ["One", "Two"] {
        tenant.admin.patch(&format!("/v1/users/{id}"), &json!({ "name": name })).await.expect(200);
    }
    tenant.admin.patch(&format!("/v1/users/{id}"), &json!({ "role": "viewer" })).await.expect(200);
    let find = async |query: &str| tenant.admin.get(&format!("{EVENTS}?{query}")).await.expect(200);
    assert_eq!(actions(&find("action=user").await), ["user.role_changed", "user.updated", "user.updated"]);
    assert_eq!(actions(&find("action=user.updated&limit=1").await), ["user.updated"]);
    assert_eq!(actions(&find("action=use").await), Vec::<String>::new());
    assert_eq!(actions(&find(&format!("actor={id}")).await), ["login.succeeded"]);
    assert_eq!(actions(&find(&format!("actor={admin}&target={id}")).await).len(), 3);
    let all = find("").await;
    let newest = all["items"][0]["at"].as_str().unwrap();
    assert_eq!(actions(&find(&format!("since={newest}")).await), ["user.role_changed"]);
    assert_eq!(
        find(&format!("until={newest}")).await["items"].as_array().unwrap().len(),
        all["items"].as_array().unwrap().len() - 1
    );
    tenant.admin.get(&format!("{EVENTS}?since=yesterday")).await.wrong_field("since", "invalid_value");
    member.get(EVENTS).await.problem(403, "forbidden");
}

#[tokio::test]
async fn people_see_their_own_log_and_not_from_where_others_came() {
    let tenant = fleet::shared().await.tenant().await;
    let (member, other) = (tenant.member("member").await, tenant.member("member").await);
    let (id, email) = (id_of(&member).await, member.get("/v1/auth/me").await.member("email"));
    tenant.anonymous().login(&email, "not the password at all").await.problem(401, "invalid_credentials");
    tenant.admin.patch(&format!("/v1/users/{id}"), &json!({ "name": "Grace" })).await.expect(200);
    let own = member.get("/v1/auth/security-log").await.expect(200);
    assert_eq!(actions(&own), ["user.updated", "login.failed", "login.succeeded"]);
    let from: Vec<_> = own["items"].as_array().unwrap().iter().map(|one| one["ip"].is_string()).collect();
    assert_eq!(from, [false, true, true]);
    assert_eq!(actions(&other.get("/v1/auth/security-log").await.expect(200)), ["login.succeeded"]);
}

#[tokio::test]
async fn exports_are_whole_and_hold_no_formula() {
    let tenant = fleet::shared().await.tenant().await;
    let formula = "=HYPERLINK(\"http://example.com\",\"a\")";
    let body = json!({ "email": "nobody@example.com", "password": "x" });
    let login = tenant.anonymous().request(Method::POST, "/v1/auth/login").header("user-agent", formula).json(&body);
    Answer::to(login).await.problem(401, "invalid_credentials");
    let many = "INSERT INTO freehold.audit_events (id, actor, action) SELECT gen_random_uuid(), 'test', 'x'
                FROM generate_series(1, 1200)";
    tenant.database().run(many).await;
    let export = async |query: &str| {
        let answer = tenant.admin.get(&format!("{EVENTS}/export?{query}")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer
    };
    let csv = export("format=csv").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.text().starts_with("id,at,actor,"));
    assert!(csv.text().contains(r#","'=HYPERLINK(""http://example.com"",""a"")","#), "{}", csv.text());
    assert!(!csv.text().contains(",=") && !csv.text().contains("\"="));
    let lines = export("format=ndjson").await;
    let events: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count: i64 = tenant.database().value("SELECT count(*) FROM freehold.audit_events").await;
    assert_eq!(i64::try_from(events.len()).unwrap(), count);
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    assert_eq!(export("format=ndjson&action=x").await.text().lines().count(), 1_200);
    let page = tenant.admin.get(&format!("{EVENTS}?action=audit")).await.expect(200);
    assert_eq!(actions(&page), ["audit.exported"; 3]);
    tenant.admin.get(&format!("{EVENTS}/export")).await.wrong_field("format", "required");
    tenant.admin.get(&format!("{EVENTS}/export?format=xlsx")).await.wrong_field("format", "invalid_value");
}

/// What somebody does to a log who has all rights on the database, and what is found then.
const TAMPERING: [(&str, &str); 6] = [
    ("UPDATE freehold.audit_events SET details = '{\"role\": \"viewer\"}' WHERE id = (EVENT)", "event_changed"),
    ("UPDATE freehold.audit_events SET at = at - interval '1 second' WHERE id = (EVENT)", "event_changed"),
    ("DELETE FROM freehold.audit_events WHERE id = (EVENT)", "event_removed"),
    (
        "WITH gone AS (DELETE FROM freehold.audit_events WHERE id = (EVENT) RETURNING id)
         DELETE FROM freehold.audit_digests d USING gone WHERE d.event_id = gone.id",
        "batch_changed",
    ),
    (
        "INSERT INTO freehold.audit_events (id, at, actor, action)
         VALUES (gen_random_uuid(), now() - interval '1 day', 'usr_1', 'login.succeeded')",
        "event_slipped_in",
    ),
    ("UPDATE freehold.audit_batches SET digest = sha256('other') WHERE number = 1", "batch_changed"),
];

#[tokio::test]
async fn whatever_is_changed_removed_or_slipped_in_is_found() {
    let fleet = fleet::shared().await;
    for (tampering, code) in TAMPERING {
        let tenant = fleet.tenant().await;
        chained(&tenant.admin, CHAIN).await;
        tenant.member("member").await;
        let chain = chained(&tenant.admin, CHAIN).await;
        assert_eq!((&chain["state"], &chain["findings"]), (&json!("intact"), &json!([])), "{chain}");
        assert!(chain["events"].as_i64() >= Some(2) && chain["batches"].as_i64() >= Some(2), "{chain}");
        let event = "SELECT event_id FROM freehold.audit_digests WHERE batch = 1 ORDER BY event_id LIMIT 1";
        tenant.database().run(&tampering.replace("EVENT", event)).await;
        let chain = tenant.admin.get(CHAIN).await.expect(200);
        assert_eq!(chain["state"], "broken", "{tampering}: {chain}");
        assert!(codes(&chain).contains(code), "{tampering}: {chain}");
    }
}

#[tokio::test]
async fn a_chain_that_is_computed_anew_does_not_go_through_what_was_noted() {
    let tenant = fleet::shared().await.tenant().await;
    let chain = chained(&tenant.admin, CHAIN).await;
    let head = format!("{}:{}", chain["head"]["number"], chain["head"]["digest"].as_str().unwrap());
    let with_head = format!("{CHAIN}?head={head}");
    tenant.member("member").await;
    assert_eq!(chained(&tenant.admin, &with_head).await["state"], "intact");
    let forge = "DELETE FROM freehold.audit_batches; DELETE FROM freehold.audit_digests;
                 UPDATE freehold.audit_events SET actor = 'usr_0'";
    tenant.database().run(forge).await;
    // Whoever has all rights can have a new chain made, which is whole by itself.
    assert_eq!(chained(&tenant.admin, CHAIN).await["state"], "intact");
    assert_eq!(codes(&tenant.admin.get(&with_head).await.expect(200)), BTreeSet::from(["head_differs".to_owned()]));
    for bad in ["1", "1:00", "x:y"] {
        tenant.admin.get(&format!("{CHAIN}?head={bad}")).await.wrong_field("head", "invalid_value");
    }
}

#[tokio::test]
async fn a_tenants_own_role_cannot_touch_the_chain() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    chained(&tenant.admin, CHAIN).await;
    let password = fleet.database_password(&tenant.id).await;
    let own = tenant.database().logged_in_as(&tenant.database_name(), password.expose_secret());
    let session = own.connect().await.unwrap();
    for refused in [
        "UPDATE freehold.audit_batches SET digest = digest",
        "DELETE FROM freehold.audit_batches",
        "UPDATE freehold.audit_digests SET digest = digest",
        "DELETE FROM freehold.audit_digests",
        "INSERT INTO freehold.audit_horizons (log, number) VALUES ('tenant', 1)",
    ] {
        let refusal = session.batch_execute(refused).await.unwrap_err();
        assert_eq!(refusal.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
    }
    // What takes old events away takes no new ones, whatever it is asked.
    for days in ["0", "1", "-5", "29"] {
        let taken = session.query_one(&format!("SELECT freehold.forget_audit_batch({days})"), &[]).await.unwrap();
        assert_eq!(taken.get::<_, i64>(0), 0);
    }
    assert_eq!(chained(&tenant.admin, CHAIN).await["state"], "intact");
}

/// As if everything in the log had happened so many days ago, before it was chained.
async fn made_old(tenant: &Tenant<'_>, days: u32) {
    let sql = format!(
        "BEGIN; DELETE FROM freehold.audit_batches; DELETE FROM freehold.audit_digests;
         UPDATE freehold.audit_events SET at = at - interval '{days} days'; COMMIT"
    );
    tenant.database().run(&sql).await;
}

#[tokio::test]
async fn events_beyond_their_age_go_in_whole_batches_and_the_chain_stays_whole() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    chained(&tenant.admin, CHAIN).await;
    made_old(&tenant, 40).await;
    let old = chained(&tenant.admin, CHAIN).await["events"].as_i64().unwrap();
    assert!(old > 0);
    let keeper = fleet.another_replica(&[("FREEHOLD_AUDIT_RETENTION_DAYS", "30")], Clock::default()).await;
    let there = tenant.admin.through(&keeper.anonymous(&tenant.slug));
    let told = eventually("the old events to go", async || {
        let chain = there.get(CHAIN).await.expect(200);
        chain["aged_through"].is_i64().then_some(chain)
    })
    .await;
    assert_eq!(told["state"], "intact", "{told}");
    let told = chained(&there, CHAIN).await;
    assert_eq!((&told["state"], &told["events"]), (&json!("intact"), &json!(1)), "{told}");
    let left = tenant.admin.get(EVENTS).await.expect(200);
    assert_eq!(actions(&left), ["audit.aged"]);
    assert_eq!(left["items"][0]["details"]["events"], old);
}

#[tokio::test]
async fn the_platforms_own_log_is_found_exported_and_verified_likewise() {
    const PLATFORM: &str = "/platform/v1/audit-events";
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let operator = fleet.operator();
    let suspend = format!("/platform/v1/tenants/{}/suspend", tenant.id);
    operator.post(&suspend, &json!({ "reason": "=1+1" })).await.expect(200);
    let found = operator.get(&format!("{PLATFORM}?target={}&action=tenant.suspend", tenant.id)).await.expect(200);
    assert_eq!(actions(&found), ["tenant.suspend"]);
    let path = format!("{PLATFORM}/export?format=ndjson&target={}", tenant.id);
    let exported = operator.get(&path).await;
    assert!(exported.text().lines().count() >= 2, "{}", exported.text());
    let own = operator.get(&format!("{EVENTS}?action=audit.exported&limit=1")).await.expect(200);
    assert_eq!(own["items"][0]["target"], "platform");
    let chain = chained(&operator, &format!("{PLATFORM}/chain")).await;
    assert_eq!(chain["state"], "intact", "{chain}");
    let id = found["items"][0]["id"].as_str().unwrap().trim_start_matches("aud_").to_owned();
    let set = async |actor: &str| {
        fleet.control().run(&format!("UPDATE audit_events SET actor = '{actor}' WHERE id = '{id}'")).await;
        operator.get(&format!("{PLATFORM}/chain")).await.expect(200)
    };
    let broken = set("nobody").await;
    assert_eq!((&broken["state"], codes(&broken)), (&json!("broken"), BTreeSet::from(["event_changed".to_owned()])));
    assert_eq!(broken["findings"][0]["event"], format!("aud_{id}"));
    assert_eq!(set(found["items"][0]["actor"].as_str().unwrap()).await["state"], "intact");
}
