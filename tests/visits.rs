//! Operators act as somebody of a tenant: for whom, for what and for how long, and what both audit logs say.

use std::time::Duration;

use freehold::types::Clock;
use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD,
        actors::{Caller, Operator},
        fleet::{self, Fleet},
        tenant::Tenant,
    },
    sign_ins::{ME, age_proofs, patiently},
};

const REASON: &str = "ticket 4711: the report is empty";

fn act_as(tenant: &Tenant<'_>) -> String {
    format!("/platform/v1/tenants/{}/act-as", tenant.id)
}

async fn id_of(caller: &Caller) -> String {
    caller.get(ME).await.expect(200)["id"].as_str().unwrap().to_owned()
}

/// A visit as this user, and who makes it.
async fn visit<'a>(fleet: &'a Fleet, operator: &Operator, tenant: &Tenant<'a>, user: &str) -> (Value, Caller) {
    let body = json!({ "user_id": user, "reason": REASON });
    let visit = operator.post(&act_as(tenant), &body).await.expect(200);
    let token = visit["access_token"].as_str().unwrap().into();
    let visitor = (*fleet.replica.member(&tenant.slug, &token)).clone();
    (visit, visitor)
}

#[tokio::test]
async fn a_visitor_does_what_the_user_may_and_both_logs_say_so() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let operator = fleet.operator_with_role("member").await;
    let (user, who) = (id_of(&member).await, id_of(&operator).await);
    let (visit, visitor) = visit(fleet, &operator, &tenant, &user).await;
    assert_eq!(
        (&visit["user_id"], &visit["role"], &visit["expires_in"]),
        (&json!(user), &json!("member"), &json!(900))
    );
    assert_eq!(visit.get("refresh_token"), None);
    let claims: Value =
        jsonwebtoken::dangerous::insecure_decode_claims(visit["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((&claims["sub"], &claims["act"]), (&json!(user), &json!({ "sub": who })));
    assert_eq!(visitor.get(ME).await.expect(200)["id"], user);
    visitor.post("/v1/projects", &json!({ "name": "looked into" })).await.expect(201);
    let id = visit["id"].as_str().unwrap();
    operator.delete(&format!("/platform/v1/visits/{id}")).await.expect(204);
    let told = tenant.admin.get("/v1/audit-events?action=visit").await.expect(200);
    let told: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|event| (&event["action"], &event["actor"])).collect();
    let actor = json!(format!("{who} as {user}"));
    assert_eq!(told, [(&json!("visit.ended"), &actor), (&json!("visit.began"), &actor)]);
    let reasons = "SELECT details ->> 'reason' FROM freehold.audit_events WHERE action = 'visit.began'";
    assert_eq!(tenant.database().values::<String>(reasons).await, [REASON]);
    let own = format!(
        "SELECT action || ' ' || actor || ' ' || (details ->> 'user') FROM audit_events WHERE target = '{id}' ORDER BY id"
    );
    let expected = ["visit.began", "visit.ended"].map(|action| format!("{action} {who} {user}"));
    assert_eq!(fleet.control().values::<String>(&own).await, expected);
}

#[tokio::test]
async fn a_visitor_changes_nothing_about_people() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let operator = fleet.operator_with_role("admin").await;
    let owner = id_of(&tenant.admin).await;
    let member = id_of(&*tenant.member("member").await).await;
    let key = json!({ "name": "theirs", "scopes": ["projects:read"] });
    let key = tenant.admin.post("/v1/api-keys", &key).await.expect(201)["id"].as_str().unwrap().to_owned();
    let (_, visitor) = visit(fleet, &operator, &tenant, &owner).await;
    visitor.get("/v1/users").await.expect(200);
    let (user, change) = (format!("/v1/users/{member}"), json!({ "role": "owner" }));
    assert_eq!(visitor.patch(&user, &change).await.status(), 403);
    assert_eq!(visitor.delete(&user).await.status(), 403);
    assert_eq!(visitor.patch("/v1/settings", &json!({ "mfa_required": true })).await.status(), 403);
    for (path, body) in [
        (format!("{user}/unlock"), json!({})),
        (format!("{user}/revoke-sessions"), json!({})),
        ("/v1/invitations".to_owned(), json!({ "email": "mine@example.com", "role": "owner" })),
        ("/v1/roles".to_owned(), json!({ "name": "mine", "permissions": [] })),
        ("/v1/api-keys".to_owned(), json!({ "name": "mine", "scopes": ["projects:read"] })),
        ("/v1/service-accounts".to_owned(), json!({ "name": "mine", "role": "admin" })),
        ("/v1/auth/step-up".to_owned(), json!({ "password": PASSWORD })),
        (
            "/v1/auth/password/change".to_owned(),
            json!({ "current_password": PASSWORD, "new_password": "eight blue kettles hum gently" }),
        ),
        ("/v1/auth/mfa/totp/setup".to_owned(), json!({})),
        ("/v1/auth/mfa/totp/confirm".to_owned(), json!({ "code": "123456" })),
        ("/v1/auth/mfa/totp/disable".to_owned(), json!({ "password": PASSWORD })),
        ("/v1/auth/mfa/recovery-codes".to_owned(), json!({})),
        ("/v1/auth/invitations/join".to_owned(), json!({ "token": "some token" })),
        ("/v1/auth/logout-all".to_owned(), json!({})),
        ("/v1/auth/logout".to_owned(), json!({})),
    ] {
        assert_eq!(visitor.post(&path, &body).await.status(), 403, "{path}");
    }
    assert_eq!(visitor.delete("/v1/auth/mfa/devices").await.status(), 403);
    assert_eq!(visitor.get("/v1/auth/sessions").await.status(), 403);
    assert_eq!(visitor.delete(&format!("/v1/api-keys/{key}")).await.status(), 403);
    assert_eq!(visitor.post(&format!("/v1/api-keys/{key}/rotate"), &json!({})).await.status(), 403);
    tenant.admin.get(ME).await.expect(200);
}

#[tokio::test]
async fn who_may_not_or_says_not_why_is_refused() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let operator = fleet.operator_with_role("member").await;
    let (path, user) = (act_as(&tenant), id_of(&tenant.admin).await);
    let good = json!({ "user_id": user, "reason": REASON });
    fleet.operator_with_role("viewer").await.post(&path, &good).await.problem(403, "forbidden");
    fleet.operator().post(&path, &good).await.problem(403, "session_required");
    for (field, code, body) in [
        ("user_id", "required", json!({ "reason": REASON })),
        ("role", "invalid_value", json!({ "user_id": user, "role": "owner", "reason": REASON })),
        ("reason", "invalid_length", json!({ "user_id": user, "reason": "because" })),
        ("seconds", "invalid_range", json!({ "user_id": user, "reason": REASON, "seconds": 901 })),
        ("seconds", "invalid_range", json!({ "user_id": user, "reason": REASON, "seconds": 59 })),
        ("role", "unknown_role", json!({ "role": "viewer", "reason": REASON })),
        ("user_id", "unknown_user", json!({ "user_id": "usr_01900000000070008000000000000000", "reason": REASON })),
    ] {
        operator.post(&path, &body).await.wrong_field(field, code);
    }
    let shortest = json!({ "role": "owner", "reason": REASON, "seconds": 60 });
    let visit = operator.post(&path, &shortest).await.expect(200);
    assert_eq!((&visit["user_id"], &visit["expires_in"]), (&json!(user), &json!(60)));
    let gone = path.replace(&tenant.id, "ten_01900000000070008000000000000000");
    operator.post(&gone, &good).await.problem(404, "not_found");
    let platform: String =
        fleet.control().value("SELECT 'ten_' || replace(id::text, '-', '') FROM tenants WHERE kind = 'platform'").await;
    operator.post(&path.replace(&tenant.id, &platform), &good).await.problem(404, "not_found");
    let suspend = format!("/platform/v1/tenants/{}/suspend", tenant.id);
    operator.post(&suspend, &json!({ "reason": "unpaid" })).await.expect(200);
    operator.post(&path, &good).await.problem(403, "tenant_suspended");
}

#[tokio::test]
async fn an_old_proof_begins_no_visit() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let operator = fleet.operator_with_role("member").await;
    let good = json!({ "role": "owner", "reason": REASON });
    age_proofs(&fleet.platform_database().await, 16).await;
    let refused = operator.post(&act_as(&tenant), &good).await;
    assert_eq!((refused.status(), &refused.json()["code"]), (401, &json!("insufficient_user_authentication")));
    patiently(&operator, "/v1/auth/step-up", &json!({ "password": PASSWORD })).await.expect(204);
    operator.post(&act_as(&tenant), &good).await.expect(200);
}

/// Fails unless the visitor is let in nowhere any more within the second that it may take.
async fn assert_over(doors: &[Caller; 2]) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    for door in doors {
        door.get(ME).await.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_visit_is_over_on_all_replicas_once_it_is_ended_or_its_operator_is_gone() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let user = id_of(&tenant.admin).await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let owner = fleet.operator_with_role("owner").await;
    let doors = |visitor: &Caller| [visitor.clone(), visitor.through(&other.anonymous(&tenant.slug))];
    for how in ["ended", "deactivated", "demoted", "deleted"] {
        let operator = fleet.operator_with_role("member").await;
        let who = format!("/v1/users/{}", id_of(&operator).await);
        let (visit, visitor) = visit(fleet, &operator, &tenant, &user).await;
        let doors = doors(&visitor);
        for door in &doors {
            door.get(ME).await.expect(200);
        }
        match how {
            "ended" => {
                let path = format!("/platform/v1/visits/{}", visit["id"].as_str().unwrap());
                owner.delete(&path).await.expect(204);
                owner.delete(&path).await.problem(404, "not_found");
            }
            "deactivated" => drop(owner.patch(&who, &json!({ "active": false })).await.expect(200)),
            "demoted" => drop(owner.patch(&who, &json!({ "role": "viewer" })).await.expect(200)),
            _ => drop(owner.delete(&who).await.expect(204)),
        }
        assert_over(&doors).await;
        tenant.admin.get(ME).await.expect(200);
    }
}

#[tokio::test]
async fn a_token_that_names_another_operator_user_or_tenant_is_no_visit() {
    let fleet = fleet::shared().await;
    let (tenant, foreign) = (fleet.tenant().await, fleet.tenant().await);
    let operator = fleet.operator_with_role("member").await;
    let user = id_of(&tenant.admin).await;
    let colleague = id_of(&*tenant.member("member").await).await;
    let (visit, visitor) = visit(fleet, &operator, &tenant, &colleague).await;
    visitor.get(ME).await.expect(200);
    visitor.at(&foreign.slug).get(ME).await.problem(403, "tenant_mismatch");
    let token = visit["access_token"].as_str().unwrap().into();
    for (claim, value) in [("sub", json!(user)), ("act", json!({ "sub": user })), ("act", Value::Null)] {
        let forged = fleet.resign(&token, |claims| claims[claim] = value.clone()).await;
        visitor.with(&forged).get(ME).await.problem(401, "invalid_token");
    }
    let id = visit["id"].as_str().unwrap().trim_start_matches("vis_");
    fleet.control().run(&format!("UPDATE visits SET expires_at = now() - interval '1 s' WHERE id = '{id}'")).await;
    let forged = fleet.resign(&token, |claims| claims["jti"] = json!("another")).await;
    visitor.with(&forged).get(ME).await.problem(401, "invalid_token");
}
