//! Which routes ask for a young proof: the whole table, compared with what the listeners' own documents say.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::age_proofs;
use crate::harness::{PASSWORD, actors::Caller, answer::Answer, fleet};

/// Every route on both listeners that asks for one, and what it could be sent.
fn people() -> Vec<(&'static str, Value)> {
    vec![
        ("POST /v1/auth/mfa/totp/setup", json!({})),
        ("POST /v1/auth/mfa/totp/confirm", json!({ "code": "000000" })),
        ("POST /v1/auth/mfa/totp/disable", json!({ "password": PASSWORD })),
        ("POST /v1/auth/mfa/recovery-codes", json!({})),
        ("PATCH /v1/settings", json!({ "password_history": 1 })),
        ("POST /v1/auth/email/change", json!({ "email": "another@example.com" })),
        ("DELETE /v1/auth/me", Value::Null),
        (IMPORT, json!({ "email": "moved@example.com" })),
    ]
}

/// Takes lines of JSON.
const IMPORT: &str = "POST /v1/users/import";

/// The same on the admin listener alone. `tests/visits.rs` tries it.
const PLATFORM: [&str; 1] = ["POST /platform/v1/tenants/{id}/act-as"];

/// The routes whose document says that they ask for a young proof.
async fn documented(anonymous: &Caller) -> BTreeSet<String> {
    let document = anonymous.get("/openapi.json").await.expect(200);
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let told = operation["responses"]["401"]["description"].as_str().unwrap_or_default();
            if told.contains("insufficient_user_authentication") {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    routes
}

#[tokio::test]
async fn the_routes_that_ask_for_a_young_proof_are_these() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let mut expected: BTreeSet<_> = people().into_iter().map(|(route, _)| route.to_owned()).collect();
    assert_eq!(documented(&tenant.anonymous()).await, expected);
    expected.extend(PLATFORM.map(str::to_owned));
    assert_eq!(documented(&fleet.replica.admin_anonymous()).await, expected);
    age_proofs(&tenant.database(), 16).await;
    for (route, body) in people() {
        let (method, path) = route.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let request = tenant.admin.request(method, path);
        let answer = Answer::to(match (route, &body) {
            (IMPORT, line) => request.header("content-type", "application/x-ndjson").body(line.to_string()),
            (_, Value::Null) => request,
            (_, body) => request.json(body),
        })
        .await;
        let told = (answer.status(), answer.json()["code"].clone());
        assert_eq!(told, (401, json!("insufficient_user_authentication")), "{route}");
    }
}
