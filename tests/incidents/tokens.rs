//! Tokens: each opens what it is for. The routes are read from the listener's own document, so that one that comes later is
//! tried too.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::{ME, OTHER_PASSWORD, begun, half_way, invited};
use crate::{
    harness::{PASSWORD, actors::Caller, answer::Answer, fleet, unique},
    sign_ins::{App, ENROL, age_proofs, as_admin, holder, signed_in, with_app},
};

/// The kinds of tokens, and the routes of the document that take each in their body: all others must refuse it.
const ALLOWED: [(&str, &str); 6] = [
    ("refresh", "/v1/auth/refresh"),
    ("invitation", "/v1/auth/invitations/accept"),
    ("invitation", "/v1/auth/invitations/join"),
    ("code", "/v1/auth/mfa/verify"),
    ("enrolment", "/v1/auth/mfa/totp/enrol"),
    ("enrolment", "/v1/auth/mfa/totp/enrol/confirm"),
];

/// A route with a body: its path, and the body's fields with whether each must be there.
struct Taker {
    path: String,
    is_open: bool,
    fields: BTreeMap<String, bool>,
}

/// All routes with a JSON body.
fn takers(document: &Value) -> Vec<Taker> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) else { continue };
        let schema = &document["components"]["schemas"][name];
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = schema["properties"].as_object().unwrap().keys();
        let fields = fields.map(|field| (field.clone(), required.contains(&json!(field)))).collect();
        found.push(Taker { path: path.clone(), is_open: operation["security"] == json!([{}]), fields });
    }
    found
}

/// A body with the token in `field`, and what else the route asks for, all of it right where it can be.
fn body(taker: &Taker, (field, token): (&str, &str), app: &App, email: &str) -> Value {
    let fill = |name: &str| match name {
        "email" => json!(email),
        "password" if taker.path.ends_with("/login") => json!(PASSWORD),
        "password" | "new_password" => json!(OTHER_PASSWORD),
        "current_password" => json!(PASSWORD),
        "code" => json!(app.code(1)),
        _ => json!("x"),
    };
    let required = taker.fields.iter().filter(|(name, required)| **required && *name != field);
    let mut body: serde_json::Map<_, _> = required.map(|(name, _)| (name.clone(), fill(name))).collect();
    body.insert(field.to_owned(), json!(token));
    Value::Object(body)
}

/// The answer to a POST, once there was a turn for it.
async fn sent(caller: &Caller, path: &str, body: &Value) -> Answer {
    crate::sign_ins::patiently(caller, path, body).await
}

/// Keycloak CVE-2026-18963 and CVE-2026-4282: a step was done by another step's progress, and a token of one purpose
/// passed as another. Every kind of token goes into every field for tokens of every route.
#[tokio::test]
async fn no_token_does_the_step_of_another() {
    let fleet = fleet::shared().await;
    let (tenant, foreign) = (fleet.tenant().await, fleet.tenant().await);
    let anonymous = tenant.anonymous();
    let document = anonymous.get("/openapi.json").await.expect(200);
    let takers = takers(&document);
    let tokens = tenant.login().await;
    let key = json!({ "name": "ci", "scopes": ["projects:read"] });
    let key = tenant.admin.post("/v1/api-keys", &key).await.expect(201);
    let (app, _) = with_app(&tenant.admin).await;
    let invitation = invited(&tenant, &format!("{}@example.com", unique("guest"))).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let held: BTreeMap<&str, String> = [
        ("access", text(&tokens["access_token"])),
        ("refresh", text(&tokens["refresh_token"])),
        ("key", text(&key["key"])),
        ("invitation", invitation),
        ("code", begun(&anonymous, &as_admin(&tenant)).await),
        ("enrolment", crate::sign_ins::insert_step(&tenant, "enrolment").await),
        ("foreign refresh", text(&foreign.login().await["refresh_token"])),
        ("foreign invitation", invited(&foreign, "a@example.com").await),
        ("foreign code", crate::sign_ins::insert_step(&foreign, "code").await),
        ("foreign enrolment", crate::sign_ins::insert_step(&foreign, "enrolment").await),
    ]
    .into();
    let (mut triples, mut accepted) = (BTreeSet::new(), Vec::new());
    for taker in &takers {
        for field in taker.fields.keys().filter(|field| field.ends_with("token")) {
            for (kind, token) in &held {
                if ALLOWED.contains(&(kind, taker.path.as_str())) {
                    continue;
                }
                let body = body(taker, (field, token), &app, &tenant.admin_email);
                let caller = if taker.is_open { (*anonymous).clone() } else { (*tenant.admin).clone() };
                // Whoever tries so many tokens is slowed down; here each is to be judged.
                tenant.database().run("DELETE FROM freehold.sign_in_attempts").await;
                let answer = sent(&caller, &taker.path, &body).await;
                // A device's token does not end a sign-in: it goes on with a code as if there were none.
                if !matches!(answer.status(), 401 | 422) {
                    accepted.push(format!("{kind} as {field} at {}: {}", taker.path, answer.text()));
                }
                triples.insert((*kind, field.clone(), taker.path.clone()));
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(triples.len() >= 50, "{}", triples.len());
    let unknown: Vec<_> =
        ALLOWED.iter().filter(|(_, route)| !takers.iter().any(|taker| taker.path == *route)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // Nothing of that has used anything up or ended anything.
    holder(fleet, &tenant, &tokens).get(ME).await.expect(200);
    let code = json!({ "mfa_token": held["code"], "code": app.code(1) });
    sent(&anonymous, "/v1/auth/mfa/verify", &code).await.expect(200);
    anonymous.refresh(&json!(held["refresh"])).await.expect(200);
    let password = json!({ "token": held["invitation"], "password": OTHER_PASSWORD });
    sent(&anonymous, super::ACCEPT, &password).await.expect(204);
}

/// The same tokens in place of an access token, at every route that asks for one.
#[tokio::test]
async fn no_token_of_a_step_stands_for_an_access_token() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let document = anonymous.get("/openapi.json").await.expect(200);
    let tokens = tenant.login().await;
    let guest = invited(&tenant, &format!("{}@example.com", unique("guest"))).await;
    let enrolment = crate::sign_ins::insert_step(&tenant, "enrolment").await;
    let code = crate::sign_ins::insert_step(&tenant, "code").await;
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
    let held = [("refresh", refresh), ("invitation", guest), ("enrolment", enrolment), ("code", code)];
    let (mut triples, mut accepted) = (0, Vec::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = ["get", "post", "patch", "delete"].into_iter().filter(|method| item.get(method).is_some());
        for method in methods.filter(|method| item[method]["security"] != json!([{}])) {
            for (kind, token) in &held {
                let caller = anonymous.with(&token.clone().into());
                let method: Method = method.to_uppercase().parse().unwrap();
                let answer = Answer::to(caller.request(method.clone(), &path.replace(['{', '}'], ""))).await;
                if answer.status() != 401 {
                    accepted.push(format!("{kind} at {method} {path}: {}", answer.status()));
                }
                triples += 1;
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(triples >= 150, "{triples}");
    holder(fleet, &tenant, &tokens).get(ME).await.expect(200);
}

/// Better Auth CVE-2025-61928: a key was made for whomever the body named, without a sign-in.
#[tokio::test]
async fn a_key_is_its_makers_whoever_the_body_names() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let (own, owner) = (member.get(ME).await.member("id"), tenant.admin.get(ME).await.member("id"));
    let new = |more: Value| {
        let mut body = json!({ "name": "ci", "scopes": ["projects:read"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    tenant.anonymous().post("/v1/api-keys", &new(json!({}))).await.problem(401, "authentication_required");
    for field in ["user_id", "user", "owner", "owner_id", "userId", "principal"] {
        let answer = member.post("/v1/api-keys", &new(json!({ field: owner }))).await;
        answer.wrong_field(field, "unknown_field");
    }
    let path = format!("/v1/api-keys?user_id={owner}");
    member.post(&path, &new(json!({}))).await.wrong_field("user_id", "unknown_field");
    let made = member.post("/v1/api-keys", &new(json!({}))).await.expect(201);
    let key = fleet.replica.member(&tenant.slug, &made["key"].as_str().unwrap().into());
    assert_eq!(key.get(ME).await.member("id"), own);
    let wanted = new(json!({ "scopes": ["users:write"] }));
    assert!(!member.post("/v1/api-keys", &wanted).await.is_success(), "more than its maker holds");
}

/// kcap-cli #946, `OpenLore` PR #85 and others: an answer was lost, and who asked again after a minute was signed out.
/// initiative PR #1617: who asked again got a token of their own.
#[tokio::test]
async fn who_asks_again_after_a_minute_gets_the_same_successor_and_stays_signed_in() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let first = signed_in(&anonymous, &tenant.admin_email, PASSWORD).await;
    let lost = anonymous.refresh(&first["refresh_token"]).await.expect(200);
    for seconds in [55, 13, 52, 300] {
        let pass = format!(
            "UPDATE freehold.refresh_tokens SET used_at = used_at - interval '{seconds} s',
                 issued_at = issued_at - interval '{seconds} s'"
        );
        tenant.database().run(&pass).await;
        let again = anonymous.refresh(&first["refresh_token"]).await.expect(200);
        assert_eq!(again["refresh_token"], lost["refresh_token"], "never a second one");
    }
    let next = anonymous.refresh(&lost["refresh_token"]).await.expect(200);
    holder(fleet, &tenant, &next).get(ME).await.expect(200);
    // Once the successor was used, the first one is a thief's.
    anonymous.refresh(&first["refresh_token"]).await.problem(401, "invalid_refresh_token");
    holder(fleet, &tenant, &next).get(ME).await.problem(401, "invalid_token");
}

/// Keycloak CVE-2026-7507: a flow that somebody had begun could be handed to another client.
#[tokio::test]
async fn a_sign_in_that_somebody_has_begun_is_nobody_elses() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let (victim, _, victims, _) = half_way(fleet, &tenant).await;
    let (attacker, _, own, step) = half_way(fleet, &tenant).await;
    let verify = async |code: String| {
        let body = json!({ "mfa_token": step, "code": code });
        sent(&anonymous, "/v1/auth/mfa/verify", &body).await
    };
    // The victim's code does not go on with the attacker's sign-in; and if it did, it would be the attacker's.
    verify(victims.code(1)).await.problem(401, "invalid_code");
    let done = verify(own.code(1)).await.expect(200);
    let me = holder(fleet, &tenant, &done).get(ME).await.member("id");
    assert_eq!(me, attacker.get(ME).await.member("id"));
    assert_ne!(me, victim.get(ME).await.member("id"));
    verify(own.code(1)).await.problem(401, "invalid_mfa_token");
    // Nor does a session help along with a step: the token alone says whose it is.
    let enrolment = crate::sign_ins::insert_step(&tenant, "enrolment").await;
    let shown = sent(&attacker, ENROL, &json!({ "mfa_token": enrolment })).await.expect(200);
    assert!(shown["otpauth_uri"].as_str().unwrap().contains(&tenant.admin_email.replace('@', "%40")), "{shown}");
    age_proofs(&tenant.database(), 20).await;
    let setup = attacker.post(crate::sign_ins::SETUP, &json!({})).await;
    assert_eq!((setup.status(), &setup.json()["code"]), (401, &json!("insufficient_user_authentication")));
}
