//! Every token of a sign-in at every route that takes one: each opens its own step, and nothing else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{CONFIRM_ENROLMENT, ENROL, ME, VERIFY, as_admin, holder, insert_step, tried, with_app};
use crate::harness::{answer::Answer, eventually, fleet, tenant::Tenant};

/// The routes that take a token in the body, the field that it goes into, and the kind of token that it is for.
const ROUTES: [(&str, &str, &str); 6] = [
    ("/v1/auth/refresh", "refresh_token", "refresh"),
    ("/v1/auth/invitations/accept", "token", "invitation"),
    (JOIN, "token", "invitation"),
    (VERIFY, "mfa_token", "code"),
    (ENROL, "mfa_token", "enrolment"),
    (CONFIRM_ENROLMENT, "mfa_token", "enrolment"),
];

/// Those that take the token of a link that was mailed: `tests/accounts` tries every token there.
const LINKS: [&str; 5] = [
    "/v1/auth/email/verify",
    "/v1/auth/password/reset",
    "/v1/auth/email/change/confirm",
    "/v1/auth/email/change/undo",
    "/v1/auth/not-me",
];

/// Takes a session beside the token.
const JOIN: &str = "/v1/auth/invitations/join";

/// What the routes above, which are read from the document too, may not lack.
fn takes_token(operation: &Value, schemas: &Value) -> bool {
    let reference = operation["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
    let Some(schema) = reference.and_then(|reference| reference.rsplit('/').next()) else { return false };
    let fields = schemas[schema]["properties"].as_object();
    fields.is_some_and(|fields| fields.keys().any(|field| field.ends_with("token")))
}

#[tokio::test]
async fn a_token_opens_its_own_step_and_no_other() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let document = anonymous.get("/openapi.json").await.expect(200);
    for (path, operation) in document["paths"].as_object().unwrap() {
        let is_link = LINKS.contains(&path.as_str());
        let is_known = is_link || path == "/v1/auth/login" || ROUTES.iter().any(|(route, ..)| route == path);
        assert!(is_known || !takes_token(operation, &document["components"]["schemas"]), "{path} has no row");
    }
    let member = tenant.member("member").await;
    let tokens = tenant.login().await;
    let (app, _) = with_app(&tenant.admin).await;
    let stranger = fleet.tenant().await;
    let mut held: BTreeMap<&str, String> = BTreeMap::new();
    held.insert("refresh", tokens["refresh_token"].as_str().unwrap().to_owned());
    held.insert("access", tokens["access_token"].as_str().unwrap().to_owned());
    held.insert("code", tried(&anonymous, &as_admin(&tenant)).await.json()["mfa_token"].as_str().unwrap().to_owned());
    held.insert("enrolment", insert_step(&tenant, "enrolment").await);
    held.insert("foreign code", insert_step(&stranger, "code").await);
    held.insert("foreign enrolment", insert_step(&stranger, "enrolment").await);
    let mut tried_triples = 0;
    for (kind, token) in &held {
        for (route, field, own) in ROUTES {
            if *kind == own && route != ENROL && route != CONFIRM_ENROLMENT {
                continue;
            }
            let mut body = json!({ field: token });
            if route.ends_with("/confirm") || route == VERIFY {
                body["code"] = json!(app.code(1));
            }
            if route.ends_with("/accept") {
                body["password"] = json!("eight blue kettles hum gently");
            }
            let caller = if route == JOIN { &*tenant.admin } else { &*anonymous };
            let answer = super::patiently(caller, route, &body).await;
            // An enrolment is open, and yet nothing for who has an app already.
            assert!(matches!(answer.status(), 401 | 422), "{kind} at {route}: {}", answer.text());
            let code = answer.json()["code"].clone();
            let refusals = ["invalid_refresh_token", "invalid_invitation", "invalid_mfa_token"];
            assert!(refusals.iter().any(|refusal| code == *refusal), "{kind} at {route}: {code}");
            tried_triples += 1;
        }
        // Nor does any of them stand for a trusted device.
        let mut body = as_admin(&tenant);
        body["device_token"] = json!(token);
        tried(&anonymous, &body).await.problem(401, "mfa_required");
        if *kind != "access" {
            let bearer = fleet.replica.member(&tenant.slug, &token.clone().into());
            bearer.get(ME).await.problem(401, "invalid_token");
        }
    }
    assert!(tried_triples > 25, "{tried_triples}");
    // Nothing of that has ended anything, or used anything up.
    holder(fleet, &tenant, &tokens).get(ME).await.expect(200);
    member.get(ME).await.expect(200);
    let body = json!({ "mfa_token": held["code"], "code": app.code(1) });
    super::patiently(&anonymous, VERIFY, &body).await.expect(200);
}

#[tokio::test]
async fn a_step_ends_in_time_and_when_its_user_is_deactivated_or_changes_the_password() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, database) = (tenant.anonymous(), tenant.database());
    let (app, codes) = with_app(&tenant.admin).await;
    let verify = async |token: &str, code: &str| {
        super::patiently(&anonymous, VERIFY, &json!({ "mfa_token": token, "code": code })).await
    };
    let expired = insert_step(&tenant, "code").await;
    database.run("UPDATE freehold.sign_in_steps SET expires_at = now()").await;
    verify(&expired, &app.code(1)).await.problem(401, "invalid_mfa_token");
    let waiting = insert_step(&tenant, "code").await;
    let mut body = as_admin(&tenant);
    body["mfa_code"] = json!(codes[1]);
    let tokens = tried(&anonymous, &body).await.expect(200);
    database.run("UPDATE freehold.users SET active = false").await;
    // Wherever tokens are handed out.
    verify(&waiting, &codes[0]).await.problem(401, "invalid_credentials");
    tried(&anonymous, &as_admin(&tenant)).await.problem(401, "invalid_credentials");
    anonymous.refresh(&tokens["refresh_token"]).await.problem(401, "invalid_refresh_token");
    database.run("UPDATE freehold.users SET active = true").await;
    let change =
        json!({ "current_password": crate::harness::PASSWORD, "new_password": "eight blue kettles hum gently" });
    super::patiently(&tenant.admin, super::CHANGE, &change).await.expect(204);
    verify(&waiting, &codes[0]).await.problem(401, "invalid_mfa_token");
}

/// Signs in while a transaction holds the account, which does `change` before it ends: after the password was verified.
async fn sign_in_during(tenant: &Tenant<'_>, change: &str) -> Answer {
    let mut session = tenant.database().connect().await.unwrap();
    let txn = session.transaction().await.unwrap();
    txn.batch_execute("SELECT FROM freehold.users FOR UPDATE").await.unwrap();
    let (anonymous, body) = (tenant.anonymous(), as_admin(tenant));
    let under_way = tokio::spawn(async move { anonymous.post("/v1/auth/login", &body).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("the sign-in to wait for the account", async || {
        (tenant.database().value::<i64>(waits).await > 0).then_some(())
    })
    .await;
    txn.batch_execute(change).await.unwrap();
    txn.commit().await.unwrap();
    under_way.await.unwrap()
}

#[tokio::test]
async fn a_sign_in_that_is_under_way_does_not_get_in_by_what_was_right_before() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    tenant.admin.post(super::SETUP, &json!({})).await.expect(200);
    sign_in_during(&tenant, "SELECT 1").await.expect(200);
    let set_up = "UPDATE freehold.credentials SET handle = '' WHERE kind = 'totp'";
    sign_in_during(&tenant, set_up).await.problem(401, "mfa_required");
    let deactivated = "UPDATE freehold.users SET active = false";
    sign_in_during(&tenant, deactivated).await.problem(401, "invalid_credentials");
    tenant.database().run("UPDATE freehold.users SET active = true").await;
    let changed =
        "UPDATE freehold.credentials SET data = data || '{\"hash\": \"$argon2id$another\"}' WHERE kind = 'password'";
    sign_in_during(&tenant, changed).await.problem(401, "invalid_credentials");
}
