//! How a request is let in to a tenant: what is asked first, and what each group of routes answers to whom.

use reqwest::{Method, header::AUTHORIZATION};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{
    actors::Caller,
    answer::Answer,
    fleet::{self, Fleet},
    tenant::Tenant,
    unique,
};

/// One request of each group of routes: its method, its path, and its body where it has one.
type Asked = [(Method, &'static str, &'static str); 9];

/// What each request of [`Asked`] is answered with: the status, and the code of a problem.
type Expected = [(u16, &'static str); 9];

const NOWHERE: (u16, &str) = (404, "route_not_found");
const NO_METHOD: (u16, &str) = (405, "method_not_allowed");
/// A parameter that no such route has is refused before anything is asked about the tenant.
const WRONG: (u16, &str) = (422, "validation_failed");
const FINE: (u16, &str) = (200, "");

/// What is answered where every route that is a tenant's refuses alike.
fn refused(status: u16, code: &'static str) -> Expected {
    let no = (status, code);
    [FINE, no, no, no, no, no, NOWHERE, NO_METHOD, WRONG]
}

/// What is answered where the tenant is open, and whoever asks is refused.
fn unproven(status: u16, code: &'static str) -> Expected {
    let no = (status, code);
    [FINE, FINE, WRONG, no, no, no, NOWHERE, NO_METHOD, WRONG]
}

const LET_IN: Expected = [FINE, FINE, WRONG, FINE, WRONG, FINE, NOWHERE, NO_METHOD, WRONG];
const MAY_ONLY_READ: Expected = [FINE, FINE, WRONG, FINE, (403, "forbidden"), FINE, NOWHERE, NO_METHOD, WRONG];

fn of_tenants() -> Asked {
    [
        (Method::GET, "/health/live", ""),
        (Method::GET, "/.well-known/jwks.json", ""),
        (Method::POST, "/v1/auth/login", "{}"),
        (Method::GET, "/v1/projects", ""),
        (Method::POST, "/v1/projects", r#"{"nothing":1}"#),
        (Method::GET, "/v1/auth/me", ""),
        (Method::GET, "/v1/nowhere", ""),
        (Method::PUT, "/v1/projects", "{}"),
        (Method::GET, "/v1/projects?colour=red", ""),
    ]
}

fn of_operators() -> Asked {
    [
        (Method::GET, "/health/live", ""),
        (Method::GET, "/.well-known/jwks.json", ""),
        (Method::POST, "/v1/auth/login", "{}"),
        (Method::GET, "/platform/v1/servers", ""),
        (Method::POST, "/platform/v1/servers", r#"{"nothing":1}"#),
        (Method::GET, "/v1/auth/me", ""),
        (Method::GET, "/platform/v1/nowhere", ""),
        (Method::PUT, "/platform/v1/servers", "{}"),
        (Method::GET, "/platform/v1/servers?colour=red", ""),
    ]
}

/// Sends every request as `caller`, who shows the `authorization` headers besides what they have.
async fn walk(who: &str, caller: &Caller, authorization: &[&str], asked: Asked, expected: Expected) {
    for ((method, path, body), (status, code)) in asked.into_iter().zip(expected) {
        let what = format!("{method} {path} as {who}");
        let mut request = caller.request(method, path);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = Answer::to(request).await;
        let found = if code.is_empty() { Value::Null } else { answer.json()["code"].clone() };
        assert_eq!((answer.status(), found.as_str().unwrap_or_default()), (status, code), "{what}: {}", answer.text());
        if !code.is_empty() {
            answer.problem(status, code);
        }
    }
}

async fn act(fleet: &Fleet, tenant: &Tenant<'_>, action: &str, body: &Value) {
    let path = format!("/platform/v1/tenants/{}{action}", tenant.id);
    let operator = fleet.operator();
    let answer = if action.is_empty() { operator.patch(&path, body).await } else { operator.post(&path, body).await };
    assert!(answer.status() < 300, "{}", answer.text());
}

#[tokio::test]
async fn a_tenant_is_resolved_and_judged_before_anybody_is_asked_who_they_are() {
    let fleet = fleet::shared().await;
    let (suspended, deleted, renamed) = (fleet.tenant().await, fleet.tenant().await, fleet.tenant().await);
    act(fleet, &suspended, "/suspend", &json!({ "reason": "unpaid" })).await;
    act(fleet, &deleted, "/delete", &json!({ "confirm": deleted.slug })).await;
    act(fleet, &renamed, "", &json!({ "slug": unique("renamed") })).await;
    let stranger = |host: &str| (*fleet.replica.stranger(host)).clone();
    for (who, caller, expected) in [
        ("nobody's host", stranger("localhost"), refused(404, "tenant_not_found")),
        ("a host of no tenant", stranger("no-such-tenant.localhost"), refused(404, "tenant_not_found")),
        ("the suspended tenant", (*suspended.admin).clone(), refused(403, "tenant_suspended")),
        ("the deleted tenant", (*deleted.admin).clone(), refused(410, "tenant_gone")),
        ("the renamed tenant", (*renamed.admin).clone(), refused(308, "tenant_renamed")),
    ] {
        walk(who, &caller, &[], of_tenants(), expected).await;
        let anonymous = caller.without();
        walk(&format!("anybody at {who}"), &anonymous, &[], of_tenants(), expected).await;
        walk(&format!("garbage at {who}"), &anonymous, &["Bearer not.a.token"], of_tenants(), expected).await;
    }
    let mut ambiguous = refused(400, "ambiguous_tenant");
    // It may be a path with the name of another tenant in it.
    ambiguous[6] = (400, "ambiguous_tenant");
    walk("two tenants", &stranger("x@acme.localhost"), &[], of_tenants(), ambiguous).await;
}

#[tokio::test]
async fn whoever_comes_to_an_open_tenant_is_asked_who_they_are_where_that_is_needed() {
    let fleet = fleet::shared().await;
    let (tenant, foreign) = (fleet.tenant().await, fleet.tenant().await);
    let anonymous = (*tenant.anonymous()).clone();
    let right = format!("Bearer {}", tenant.admin.bearer().expose_secret());
    let missing = unproven(401, "authentication_required");
    for (who, authorization, expected) in [
        ("anonymous", &[][..], missing),
        ("another scheme", &["Basic YWRhOnNlY3JldA=="], missing),
        ("two tokens", &[&right, &right], missing),
        ("garbage", &["Bearer not.a.token"], unproven(401, "invalid_token")),
        ("an empty token", &["Bearer  "], missing),
        ("an unknown key", &["Bearer fhk_nothing"], unproven(401, "invalid_token")),
        ("the owner, shouting", &[&right.replace("Bearer", "BEARER")], LET_IN),
    ] {
        walk(who, &anonymous, authorization, of_tenants(), expected).await;
    }
    let foreigner = anonymous.with(foreign.admin.bearer());
    walk("another tenant's owner", &foreigner, &[], of_tenants(), unproven(403, "tenant_mismatch")).await;
    let operator = anonymous.with(fleet.signed_in_operator().await.bearer());
    walk("an operator", &operator, &[], of_tenants(), unproven(403, "tenant_mismatch")).await;
    walk("a viewer", &*tenant.member("viewer").await, &[], of_tenants(), MAY_ONLY_READ).await;
    walk("the owner", &tenant.admin, &[], of_tenants(), LET_IN).await;
}

#[tokio::test]
async fn operators_are_asked_the_same_on_their_own_listener() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = (*fleet.replica.admin_anonymous()).clone();
    walk("anonymous", &anonymous, &[], of_operators(), unproven(401, "authentication_required")).await;
    let garbage = ["Bearer not.a.token"];
    walk("garbage", &anonymous, &garbage, of_operators(), unproven(401, "invalid_token")).await;
    let member = anonymous.with(tenant.admin.bearer());
    walk("a tenant's owner", &member, &[], of_operators(), unproven(403, "tenant_mismatch")).await;
    walk("a viewer", &*fleet.operator_with_role("viewer").await, &[], of_operators(), MAY_ONLY_READ).await;
    walk("an owner", &fleet.operator(), &[], of_operators(), LET_IN).await;
}
