//! Sessions: seen, revoked, bounded in time and number, and asked for a younger proof.

use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold::types::Clock;
use serde_json::{Value, json};

use super::{ME, SESSIONS, SETTINGS, STEP_UP, age_proofs, as_admin, holder, signed_in, tried};
use crate::harness::{PASSWORD, eventually, fleet};

#[tokio::test]
async fn people_see_their_sessions_and_end_one_on_every_replica() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let (one, two) = (tenant.login().await, tenant.login().await);
    let (here, there) = (holder(fleet, &tenant, &one), holder(fleet, &tenant, &two));
    let elsewhere = other.member(&tenant.slug, there.bearer());
    elsewhere.get(ME).await.expect(200);
    here.get(ME).await.expect(200);
    let listed = here.get(SESSIONS).await.expect(200);
    let sessions = listed["items"].as_array().unwrap();
    assert_eq!((sessions.len(), &listed["next_cursor"]), (3, &Value::Null), "with the first one: {listed}");
    assert_eq!(sessions.iter().filter(|session| session["is_current"] == true).count(), 1);
    assert_eq!(sessions[0]["is_current"], true, "used last");
    assert_eq!(sessions[0]["ip"], "127.0.0.1");
    let time = |name: &str| sessions[0][name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert!(time("created_at") <= time("last_used_at") && time("last_used_at") < time("expires_at"));

    let theirs = there.get(SESSIONS).await.expect(200);
    let mine = |listed: &Value| {
        let all = listed["items"].as_array().unwrap();
        all.iter().find(|session| session["is_current"] == true).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let path = format!("{SESSIONS}/{}", mine(&theirs));
    tenant.member("member").await.delete(&path).await.problem(404, "not_found");
    here.delete(&path).await.expect(204);
    there.get(ME).await.problem(401, "invalid_token");
    let at = std::time::Instant::now();
    eventually("the other replica to hear of it", async || (elsewhere.get(ME).await.status() == 401).then_some(()))
        .await;
    assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
    tenant.anonymous().refresh(&two["refresh_token"]).await.problem(401, "invalid_refresh_token");
    here.delete(&path).await.problem(404, "not_found");
    assert_eq!(here.get(SESSIONS).await.expect(200)["items"].as_array().unwrap().len(), 2);
    let event = "SELECT count(*) FROM freehold.audit_events WHERE action = 'session.revoked'";
    assert_eq!(tenant.database().value::<i64>(event).await, 1);
    fleet.operator().get(SESSIONS).await.problem(403, "session_required");
}

#[tokio::test]
async fn nobody_has_more_sessions_than_the_tenant_allows() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let first = tenant.login().await;
    let latest = tenant.login().await;
    let admin = holder(fleet, &tenant, &latest);
    admin.patch(SETTINGS, &json!({ "sessions_per_user": 2 })).await.expect(200);
    let alive = "SELECT count(*) FROM freehold.sessions WHERE revoked_at IS NULL";
    // Used last, it is not the one that has to go.
    admin.get(ME).await.expect(200);
    let third = tenant.login().await;
    assert_eq!(tenant.database().value::<i64>(alive).await, 2);
    holder(fleet, &tenant, &first).get(ME).await.problem(401, "invalid_token");
    tenant.admin.get(ME).await.problem(401, "invalid_token");
    for tokens in [&latest, &third] {
        holder(fleet, &tenant, tokens).get(ME).await.expect(200);
    }
    let body = as_admin(&tenant);
    let crowd = futures::future::join_all((0..4).map(|_| tried(&anonymous, &body))).await;
    assert!(crowd.iter().all(|answer| answer.status() == 200));
    assert_eq!(tenant.database().value::<i64>(alive).await, 2, "however many come at once");

    let admin = holder(fleet, &tenant, &tenant.login().await);
    admin.patch(SETTINGS, &json!({ "session_limit": "refuse" })).await.expect(200);
    tried(&anonymous, &body).await.problem(403, "session_limit_reached");
    admin.post("/v1/auth/logout", &json!({})).await.expect(204);
    tried(&anonymous, &body).await.expect(200);
}

#[tokio::test]
async fn a_tenant_lets_sessions_end_sooner() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let ends = async |tokens: &Value| {
        let listed = holder(fleet, &tenant, tokens).get(SESSIONS).await.expect(200);
        let all = listed["items"].as_array().unwrap().clone();
        let own = all.into_iter().find(|session| session["is_current"] == true).unwrap();
        let at = own["expires_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        (at - Clock::default().now()).num_seconds()
    };
    let usual = tenant.login().await;
    assert!((1_200_000..=1_209_600).contains(&ends(&usual).await), "two weeks");
    tenant.admin.patch(SETTINGS, &json!({ "session_idle_seconds": 1_000 })).await.expect(200);
    let idle = tenant.login().await;
    assert!((900..=1_000).contains(&ends(&idle).await));
    tenant.admin.patch(SETTINGS, &json!({ "session_lifetime_seconds": 3_600 })).await.expect(200);
    tenant.database().run("UPDATE freehold.sessions SET created_at = now() - interval '3500 s'").await;
    let later = tenant.anonymous().refresh(&idle["refresh_token"]).await.expect(200);
    assert!((0..=100).contains(&ends(&later).await), "an hour after it began, however much it is used");
    tenant.database().run("UPDATE freehold.sessions SET expires_at = now()").await;
    tenant.anonymous().refresh(&later["refresh_token"]).await.problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn what_takes_protection_away_asks_for_a_young_proof() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let database = tenant.database();
    let change = json!({ "password_history": 3 });
    tenant.admin.patch(SETTINGS, &change).await.expect(200);
    age_proofs(&database, 16).await;
    for (path, body) in [
        (super::SETUP, json!({})),
        (super::CONFIRM, json!({ "code": "000000" })),
        (super::RECOVERY_CODES, json!({})),
        (super::DISABLE, json!({ "password": PASSWORD })),
    ] {
        let refused = tenant.admin.post(path, &body).await;
        assert_eq!((refused.status(), &refused.json()["code"]), (401, &json!("insufficient_user_authentication")));
        let challenge = refused.header("www-authenticate");
        assert!(challenge.starts_with("Bearer error=\"insufficient_user_authentication\""), "{path}: {challenge}");
        assert!(challenge.ends_with("max_age=\"900\""), "{path}: {challenge}");
    }
    assert_eq!(tenant.admin.patch(SETTINGS, &json!({ "password_history": 0 })).await.status(), 401);
    tenant
        .admin
        .post(STEP_UP, &json!({ "password": "not my password it is" }))
        .await
        .wrong_field("password", "wrong_password");
    assert_eq!(tenant.admin.patch(SETTINGS, &json!({ "password_history": 0 })).await.status(), 401);
    super::patiently(&tenant.admin, STEP_UP, &json!({ "password": PASSWORD })).await.expect(204);
    let decided = tenant.admin.patch(SETTINGS, &json!({ "password_history": 0 })).await.expect(200);
    assert_eq!(decided["password_history"], 0);
    // The proof is the session's, and not the user's.
    let another = tenant.login().await;
    age_proofs(&database, 16).await;
    super::patiently(&tenant.admin, STEP_UP, &json!({ "password": PASSWORD })).await.expect(204);
    assert_eq!(holder(fleet, &tenant, &another).patch(SETTINGS, &change).await.status(), 401);
}

#[tokio::test]
async fn proofs_are_counted_like_sign_ins() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let wrong = json!({ "password": "not my password it is" });
    for _ in 0..5 {
        super::patiently(&tenant.admin, STEP_UP, &wrong).await.wrong_field("password", "wrong_password");
    }
    tenant.admin.post(STEP_UP, &wrong).await.problem(429, "too_many_attempts");
    let change = json!({ "current_password": PASSWORD, "new_password": "eight blue kettles hum gently" });
    tenant.admin.post(super::CHANGE, &change).await.problem(429, "too_many_attempts");
    tried(&tenant.anonymous(), &as_admin(&tenant)).await.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn decisions_have_bounds_and_a_version() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let shown = tenant.admin.get(SETTINGS).await;
    let tag = shown.header("etag").to_owned();
    assert_eq!(shown.expect(200)["sessions_per_user"], 100);
    for (change, field) in [
        (json!({ "sessions_per_user": 0 }), "sessions_per_user"),
        (json!({ "session_idle_seconds": 899 }), "session_idle_seconds"),
        (json!({ "password_min_length": 14 }), "password_min_length"),
    ] {
        tenant.admin.patch(SETTINGS, &change).await.wrong_field(field, "invalid_range");
    }
    tenant
        .admin
        .patch(SETTINGS, &json!({ "registrations": "open" }))
        .await
        .wrong_field("registrations", "unknown_field");
    let matching = async |tag: &str, change: &Value| {
        let request = tenant.admin.request(reqwest::Method::PATCH, SETTINGS).header("if-match", tag).json(change);
        crate::harness::answer::Answer::to(request).await
    };
    let changed = matching(&tag, &json!({ "password_history": 1, "mfa_required": false })).await;
    assert_ne!(changed.header("etag"), tag);
    assert_eq!(changed.expect(200)["password_history"], 1);
    matching(&tag, &json!({ "password_history": 2 })).await.problem(412, "precondition_failed");
    let told = "SELECT details::text FROM freehold.audit_events WHERE action = 'settings.changed'";
    assert_eq!(tenant.database().values::<String>(told).await, [r#"{"changed": {"password_history": 1}}"#]);
    let email = tenant.admin_email.clone();
    signed_in(&tenant.anonymous(), &email, PASSWORD).await;
}
