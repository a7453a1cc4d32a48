//! A tenant's life: which state leads where, what each of them answers with, and what names do.

use std::time::{Duration, Instant};

use freehold::types::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    answer::Answer,
    eventually,
    fleet::{self, Fleet},
    tenant::{Tenant, new_tenant},
    unique,
};

/// The place of a tenant in the API, for operators.
fn path(tenant: &Tenant<'_>) -> String {
    format!("/platform/v1/tenants/{}", tenant.id)
}

async fn act(fleet: &Fleet, tenant: &Tenant<'_>, action: &str, body: &Value) -> Answer {
    fleet.operator().post(&format!("{}/{action}", path(tenant)), body).await
}

/// Puts the tenant into a state behind Freehold's back.
async fn force(fleet: &Fleet, tenant: &Tenant<'_>, state: &str) {
    let (before, after) = if state == "deleting" { ("'active'", "now() + interval '1 day'") } else { ("NULL", "NULL") };
    let suspension = if state == "suspended" { "'unpaid'" } else { "NULL" };
    let sql = format!(
        "UPDATE tenants SET state = '{state}', state_before_deletion = {before}, erase_after = {after},
                            suspension_reason = {suspension}, name = 'A tenant' WHERE slug = '{}'",
        tenant.slug
    );
    fleet.control().run(&sql).await;
}

const CONFLICT: (u16, &str) = (409, "tenant_state_conflict");
const GONE: (u16, &str) = (410, "tenant_gone");

/// What an action in a state answers with: a status, and the state or the code that go with it.
#[rustfmt::skip]
const TABLE: [(&str, [(u16, &str); 6]); 5] = [
    //           active              suspended           archived          provisioning deleting          deleted
    ("suspend",  [(200, "suspended"), (200, "suspended"), CONFLICT,          CONFLICT,    GONE,             GONE]),
    ("resume",   [(200, "active"),    (200, "active"),    CONFLICT,          CONFLICT,    GONE,             GONE]),
    ("patch",    [(200, "active"),    (200, "suspended"), (200, "archived"), CONFLICT,    GONE,             GONE]),
    ("delete",   [(200, "deleting"),  (200, "deleting"),  (200, "deleting"), CONFLICT,    (200, "deleting"), GONE]),
    ("undelete", [(200, "active"),    (200, "suspended"), (200, "archived"), CONFLICT,    (200, "active"),  GONE]),
];
const STATES: [&str; 6] = ["active", "suspended", "archived", "provisioning", "deleting", "deleted"];

#[tokio::test]
async fn every_state_allows_what_the_table_says_and_nothing_else() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    for (action, row) in TABLE {
        for (state, (status, word)) in STATES.iter().zip(row) {
            force(&fleet, &tenant, state).await;
            let answer = match action {
                "patch" => fleet.operator().patch(&path(&tenant), &json!({ "name": "Another" })).await,
                "suspend" => act(&fleet, &tenant, action, &json!({ "reason": "a new one" })).await,
                "delete" => act(&fleet, &tenant, action, &json!({ "confirm": tenant.slug })).await,
                _ => act(&fleet, &tenant, action, &json!({})).await,
            };
            if status == 200 {
                assert_eq!(answer.expect(200)["state"], word, "{action} while {state}");
            } else {
                let problem = answer.problem(status, word);
                assert!(problem["detail"].as_str().unwrap().contains(state), "{action} while {state}: {problem}");
            }
        }
    }
    for state in ["provisioning", "deleted"] {
        force(&fleet, &tenant, state).await;
        for body in
            [json!({ "confirm": tenant.slug, "erase": true }), json!({ "confirm": tenant.slug, "dry_run": true })]
        {
            let (status, code) = if state == "deleted" { GONE } else { CONFLICT };
            act(&fleet, &tenant, "delete", &body).await.problem(status, code);
        }
    }
    force(&fleet, &tenant, "active").await;
}

#[tokio::test]
async fn the_gate_answers_by_state() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    for (state, status, code) in [
        ("suspended", 403, "tenant_suspended"),
        ("archived", 503, "tenant_archived"),
        ("provisioning", 503, "tenant_not_ready"),
        ("deleting", 410, "tenant_gone"),
    ] {
        force(&fleet, &tenant, state).await;
        eventually("this replica to hear of it", async || {
            // Two of the states have the same status.
            let answer = tenant.admin.get("/v1/projects").await;
            (answer.status() == status && answer.json()["code"] == code).then_some(())
        })
        .await;
        tenant.admin.get("/v1/projects").await.problem(status, code);
        tenant.anonymous().login(&tenant.admin_email, "whatever it is").await.problem(status, code);
    }
    force(&fleet, &tenant, "active").await;
}

#[tokio::test]
async fn routes_that_change_a_tenant_take_its_id_and_never_the_platforms() {
    let fleet = fleet::shared().await;
    let (tenant, operator) = (fleet.tenant().await, fleet.operator());
    let platform: String =
        fleet.control().value("SELECT 'ten_' || replace(id::text, '-', '') FROM tenants WHERE kind = 'platform'").await;
    for (reference, status, code) in [
        (tenant.slug.as_str(), 400, "invalid_id"),
        ("op_00000000000070008000000000000000", 400, "invalid_id"),
        (platform.as_str(), 404, "not_found"),
    ] {
        let path = format!("/platform/v1/tenants/{reference}");
        operator.patch(&path, &json!({ "name": "x" })).await.problem(status, code);
        operator.post(&format!("{path}/suspend"), &json!({ "reason": "x" })).await.problem(status, code);
        operator.post(&format!("{path}/resume"), &json!({})).await.problem(status, code);
        for erase in [false, true] {
            let body = json!({ "confirm": "platform", "erase": erase });
            operator.post(&format!("{path}/delete"), &body).await.problem(status, code);
        }
        operator
            .post(&format!("{path}/delete"), &json!({ "confirm": "platform", "dry_run": true }))
            .await
            .problem(status, code);
        operator.post(&format!("{path}/undelete"), &json!({})).await.problem(status, code);
    }
    let plain = operator.delete(&format!("/platform/v1/tenants/{}", tenant.id)).await;
    plain.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_suspension_bites_at_once_and_everywhere_and_leaves_no_trace_when_it_ends() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let elsewhere = other.member(&tenant.slug, tenant.admin.bearer());
    elsewhere.get("/v1/projects").await.expect(200);
    act(fleet, &tenant, "suspend", &json!({})).await.wrong_field("reason", "required");
    act(fleet, &tenant, "suspend", &json!({ "reason": " " })).await.wrong_field("reason", "invalid_length");
    for round in 0..10 {
        let began = Instant::now();
        let suspended =
            act(fleet, &tenant, "suspend", &json!({ "reason": format!("unpaid {round}") })).await.expect(200);
        assert_eq!(
            (&suspended["state"], &suspended["suspension_reason"]),
            (&json!("suspended"), &json!(format!("unpaid {round}")))
        );
        tenant.admin.get("/v1/projects").await.problem(403, "tenant_suspended");
        eventually("the other replica to refuse", async || {
            (elsewhere.get("/v1/projects").await.status() == 403).then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(1), "{round}: {:?}", began.elapsed());
        let same = act(fleet, &tenant, "suspend", &json!({ "reason": format!("unpaid {round}") })).await;
        assert_eq!(same.expect(200), suspended, "the same again changes nothing");
        let resumed = act(fleet, &tenant, "resume", &json!({})).await.expect(200);
        assert_eq!((&resumed["state"], &resumed["suspension_reason"]), (&json!("active"), &Value::Null));
        tenant.admin.get("/v1/projects").await.expect(200);
        eventually("the other replica to serve", async || {
            (elsewhere.get("/v1/projects").await.status() == 200).then_some(())
        })
        .await;
    }
    let events = fleet.patiently(&format!("/platform/v1/audit-events?target={}&limit=3", tenant.id), 0).await;
    let actions: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["tenant.resume", "tenant.suspend", "tenant.resume"]);
}

#[tokio::test]
async fn a_change_is_merged_guarded_and_recorded() {
    let fleet = fleet::shared().await;
    let (tenant, operator) = (fleet.tenant().await, fleet.operator());
    let first = operator.get(&path(&tenant)).await;
    let etag = first.header("etag").to_owned();
    let nothing = operator.patch(&path(&tenant), &json!({})).await;
    assert_eq!((nothing.expect(200), nothing.header("etag")), (first.expect(200), etag.as_str()));
    let body = json!({ "name": "Renamed Ltd", "plan": "bench", "labels": { "tier": "gold", "owner": "ada" } });
    let guarded = async |etag: &str, body: &Value| {
        let request = operator.request(Method::PATCH, &path(&tenant)).header("if-match", etag);
        Answer::to(request.json(body)).await
    };
    let changed = guarded(&etag, &body).await;
    let tenant_now = changed.expect(200);
    for field in ["name", "plan", "labels"] {
        assert_eq!(tenant_now[field], body[field]);
    }
    guarded(&etag, &json!({ "name": "Too late" })).await.problem(412, "precondition_failed");
    let merged = operator.patch(&path(&tenant), &json!({ "labels": { "tier": null, "zone": "b" } })).await.expect(200);
    assert_eq!(merged["labels"], json!({ "owner": "ada", "zone": "b" }));
    let wrong = [
        ("name", json!(""), "invalid_length"),
        ("name", Value::Null, "invalid_type"),
        ("slug", json!("No"), "invalid_length"),
        ("slug", json!("www"), "reserved"),
        ("plan", json!("no-such-plan"), "unknown_plan"),
        ("state", json!("active"), "unknown_field"),
    ];
    for (field, value, code) in wrong {
        operator.patch(&path(&tenant), &json!({ field: value })).await.wrong_field(field, code);
    }
    let long = json!({ "labels": { "x": "y".repeat(256) } });
    operator.patch(&path(&tenant), &long).await.wrong_field("labels", "invalid_length");
    let events = operator.get(&format!("/platform/v1/audit-events?target={}", tenant.id)).await;
    assert!(!events.text().contains("Renamed Ltd"), "names may be people's");
    assert_eq!(events.expect(200)["items"][1]["details"]["plan"], json!({ "from": "default", "to": "bench" }));
}

#[tokio::test]
async fn a_renamed_tenants_old_host_leads_to_the_new_one_and_its_tokens_go_on_working() {
    let fleet = fleet::shared().await;
    let (tenant, operator) = (fleet.tenant().await, fleet.operator());
    let (old, new) = (tenant.slug.clone(), unique("renamed"));
    let project = tenant.admin.post("/v1/projects", &json!({ "name": "kept" })).await.expect(201)["id"].clone();
    let renamed = operator.patch(&path(&tenant), &json!({ "slug": new })).await.expect(200);
    assert_eq!((&renamed["slug"], &renamed["url"]), (&json!(new), &json!(format!("http://{new}.localhost"))));
    let moved = tenant.admin.get("/v1/projects?limit=2&q=kept").await;
    moved.problem(308, "tenant_renamed");
    assert_eq!(moved.header("location"), format!("http://{new}.localhost/v1/projects?limit=2&q=kept"));
    tenant.admin.post("/v1/projects", &json!({ "name": "moved" })).await.problem(308, "tenant_renamed");
    let at_new_host = fleet.replica.member(&new, tenant.admin.bearer());
    let found = at_new_host.get("/v1/projects?q=kept").await.expect(200);
    assert_eq!(found["items"][0]["id"], project);
    let again = fleet.replica.anonymous(&new).login(&tenant.admin_email, crate::harness::PASSWORD).await;
    again.expect(200);

    let taken = fleet.operator().post("/platform/v1/tenants", &new_tenant(&old)).await;
    taken.problem(409, "slug_taken");
    let other = fleet.tenant().await;
    operator.patch(&path(&other), &json!({ "slug": old })).await.problem(409, "slug_taken");
    operator.patch(&path(&other), &json!({ "slug": new })).await.problem(409, "slug_taken");
    let back = operator.patch(&path(&tenant), &json!({ "slug": old })).await.expect(200);
    assert_eq!(back["slug"], json!(old), "its own former name is free for itself");
    tenant.admin.get("/v1/projects").await.expect(200);
    at_new_host.get("/v1/projects").await.problem(308, "tenant_renamed");
}

#[tokio::test]
async fn a_former_name_is_free_when_its_time_is_over() {
    let fleet = fleet::shared().await;
    let brief = fleet.another_replica(&[("FREEHOLD_SLUG_REDIRECT_SECONDS", "1")], Clock::default()).await;
    let (tenant, new) = (fleet.tenant().await, unique("brief"));
    let operator = brief.operator(fleet.operator().bearer());
    operator.patch(&path(&tenant), &json!({ "slug": new })).await.expect(200);
    let heir = eventually("the former name to be free", async || {
        let answer = fleet.create(&new_tenant(&tenant.slug)).await;
        (answer.status() != 409).then(|| answer.json())
    })
    .await;
    fleet.finished(heir["operation_id"].as_str().unwrap()).await;
    // The former owner's token is nobody's there, on the replica that knew the redirection too.
    for replica in [&fleet.replica, &brief] {
        let stranger = replica.member(&tenant.slug, tenant.admin.bearer());
        eventually("the heir to answer", async || (stranger.get("/v1/auth/me").await.status() == 403).then_some(()))
            .await;
    }
    let left = format!("SELECT count(*) FROM slugs WHERE tenant_id = '{}'", tenant.id.replace("ten_", ""));
    assert_eq!(fleet.control().value::<i64>(&left).await, 1);
}

#[tokio::test]
async fn two_who_want_one_name_or_each_others_are_answered_and_never_both_served() {
    let fleet = fleet::shared().await;
    let (one, two, operator) = (fleet.tenant().await, fleet.tenant().await, fleet.operator());
    let rename = async |tenant: &Tenant<'_>, slug: &str| operator.patch(&path(tenant), &json!({ "slug": slug })).await;
    for _ in 0..10 {
        let (first, second) = tokio::join!(rename(&one, &two.slug), rename(&two, &one.slug));
        first.problem(409, "slug_taken");
        second.problem(409, "slug_taken");
        let wanted = unique("wanted");
        let (first, second) = tokio::join!(rename(&one, &wanted), rename(&two, &wanted));
        let mut statuses = [first.status(), second.status()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", first.text(), second.text());
        rename(&one, &one.slug).await.expect(200);
        rename(&two, &two.slug).await.expect(200);
    }
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_change_that_fails_before_its_commit_is_none_and_after_it_is_one() {
    use freehold::faults::{self, Mode};
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let state = async || fleet.patiently(&path(&tenant), 0).await;
    let patch = async |name: &str| fleet.operator().patch(&path(&tenant), &json!({ "name": name })).await;
    let arm = |point: &str| faults::arm(point, Mode::Error, Some(tenant.id.parse().unwrap()));
    for (action, body, before, after) in [
        ("suspend", json!({ "reason": "unpaid" }), "active", "suspended"),
        ("resume", json!({}), "suspended", "active"),
        ("delete", json!({ "confirm": tenant.slug }), "active", "deleting"),
        ("undelete", json!({}), "deleting", "active"),
    ] {
        arm(&format!("tenant.{action}.before_commit"));
        act(&fleet, &tenant, action, &body).await.problem(500, "internal");
        assert_eq!(state().await["state"], before, "{action}");
        arm(&format!("tenant.{action}.after_commit"));
        act(&fleet, &tenant, action, &body).await.problem(500, "internal");
        assert_eq!(state().await["state"], after, "{action}");
    }
    arm("tenant.update.before_commit");
    patch("Never").await.problem(500, "internal");
    assert_eq!(state().await["name"], "A tenant");
    arm("tenant.update.after_commit");
    patch("Renamed").await.problem(500, "internal");
    assert_eq!(state().await["name"], "Renamed");
}
