//! Invitations: who makes them, who accepts them, and what they never do to an account that is in use.

use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD,
        actors::Caller,
        answer::Answer,
        fleet::{self, Fleet},
        tenant::Tenant,
        unique,
    },
    people::id_of,
};

const INVITATIONS: &str = "/v1/invitations";
const OTHER_PASSWORD: &str = "seven blue lanterns hum at dusk";

async fn invite(caller: &Caller, email: &str, role: &str) -> Value {
    caller.post(INVITATIONS, &json!({ "email": email, "role": role })).await.expect(201)
}

async fn accept(caller: &Caller, token: &Value, password: &str) -> Answer {
    caller.post("/v1/auth/invitations/accept", &json!({ "token": token, "password": password })).await
}

async fn join(caller: &Caller, token: &Value) -> Answer {
    caller.post("/v1/auth/invitations/join", &json!({ "token": token })).await
}

fn path(invitation: &Value) -> String {
    format!("{INVITATIONS}/{}", invitation["id"].as_str().unwrap())
}

async fn signed_in(fleet: &Fleet, tenant: &Tenant<'_>, email: &str, password: &str) -> Caller {
    let tokens = tenant.anonymous().login(email, password).await.expect(200);
    (*fleet.replica.member(&tenant.slug, &tokens["access_token"].as_str().unwrap().into())).clone()
}

#[tokio::test]
async fn an_invitation_is_made_sent_again_revoked_and_accepted_once() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (admin, anonymous) = (&tenant.admin, tenant.anonymous());
    let first = invite(admin, "Guest@Example.com", "member").await;
    assert_eq!((&first["email"], &first["state"]), (&json!("guest@example.com"), &json!("open")));
    assert!(first["url"].as_str().unwrap().starts_with(&format!("http://{}.", tenant.slug)));
    let again = json!({ "email": "guest@example.com", "role": "viewer" });
    admin.post(INVITATIONS, &again).await.problem(409, "invitation_exists");
    let read = admin.get(&path(&first)).await;
    assert!(read.expect(200).get("token").is_none());

    let resend = format!("{}/resend", path(&first));
    let second = admin.post(&resend, &json!({})).await.expect(200);
    assert_ne!(first["token"], second["token"]);
    accept(&anonymous, &first["token"], PASSWORD).await.problem(422, "invalid_invitation");
    // One whose time is over is sent again as well.
    tenant.database().run("UPDATE freehold.invitations SET expires_at = now() - interval '1 minute'").await;
    accept(&anonymous, &second["token"], PASSWORD).await.problem(422, "invalid_invitation");
    assert_eq!(admin.get(&path(&first)).await.expect(200)["state"], "expired");
    let third = admin.post(&resend, &json!({})).await.expect(200);
    let accepting = futures::future::join_all((0..8).map(|_| accept(&anonymous, &third["token"], PASSWORD))).await;
    assert_eq!(accepting.iter().filter(|answer| answer.status() == 204).count(), 1, "{accepting:?}");
    let guest = signed_in(fleet, &tenant, "guest@example.com", PASSWORD).await;
    assert_eq!(guest.get("/v1/auth/me").await.expect(200)["role"], "member");
    for refused in [admin.post(&resend, &json!({})).await, admin.delete(&path(&first)).await] {
        refused.problem(409, "invitation_ended");
    }

    let other = invite(admin, "other@example.com", "viewer").await;
    admin.delete(&path(&other)).await.expect(204);
    admin.delete(&path(&other)).await.expect(204);
    accept(&anonymous, &other["token"], PASSWORD).await.problem(422, "invalid_invitation");
    admin.post(&format!("{}/resend", path(&other)), &json!({})).await.problem(409, "invitation_ended");
    let listed = async |query: &str| {
        let page = admin.get(&format!("{INVITATIONS}?{query}")).await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    let states = [listed("").await, listed("state=accepted").await, listed("state=revoked").await];
    assert_eq!((states, listed("state=open").await, listed("email=other@example.com").await), ([2, 1, 1], 0, 1));
}

#[tokio::test]
async fn an_account_in_use_gets_no_password_and_is_joined_by_its_owner_alone() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (viewer, other) = (tenant.member("viewer").await, tenant.member("viewer").await);
    let email = viewer.get("/v1/auth/me").await.member("email");
    let invitation = invite(&tenant.admin, &email, "admin").await;
    // The invitation is a link: whoever has it opens nothing with it.
    accept(&tenant.anonymous(), &invitation["token"], OTHER_PASSWORD).await.problem(409, "user_exists");
    tenant.anonymous().login(&email, OTHER_PASSWORD).await.problem(401, "invalid_credentials");
    tenant.anonymous().login(&email, PASSWORD).await.expect(200);
    join(&tenant.anonymous(), &invitation["token"]).await.problem(401, "authentication_required");
    join(&other, &invitation["token"]).await.problem(403, "other_address");
    join(&tenant.admin, &invitation["token"]).await.problem(403, "other_address");
    assert_eq!(viewer.get("/v1/auth/me").await.expect(200)["role"], "viewer");
    assert_eq!(join(&viewer, &invitation["token"]).await.expect(200)["role"], "admin");
    viewer.get("/v1/users").await.expect(200);
    join(&viewer, &invitation["token"]).await.problem(422, "invalid_invitation");

    // Nobody invites the last owner away.
    let owner = invite(&tenant.admin, &tenant.admin_email, "viewer").await;
    join(&tenant.admin, &owner["token"]).await.problem(409, "last_owner");
    // A key is nobody who could accept.
    let key = json!({ "name": "ci", "scopes": ["users:read"] });
    let key = viewer.post("/v1/api-keys", &key).await.expect(201);
    let key = fleet.replica.member(&tenant.slug, &key["key"].as_str().unwrap().into());
    join(&key, &owner["token"]).await.problem(403, "session_required");
}

#[tokio::test]
async fn a_deactivated_account_is_not_opened_by_an_invitation() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let (id, email) = (id_of(&member).await, member.get("/v1/auth/me").await.member("email"));
    let invitation = invite(&tenant.admin, &email, "admin").await;
    tenant.admin.patch(&format!("/v1/users/{id}"), &json!({ "active": false })).await.expect(200);
    accept(&tenant.anonymous(), &invitation["token"], OTHER_PASSWORD).await.problem(409, "user_exists");
    join(&member, &invitation["token"]).await.problem(401, "invalid_token");
    // Not even one that nobody has given a password.
    tenant
        .database()
        .run("DELETE FROM freehold.credentials c USING freehold.users u WHERE u.id = c.user_id AND NOT u.active")
        .await;
    accept(&tenant.anonymous(), &invitation["token"], OTHER_PASSWORD).await.problem(409, "user_exists");
    assert_eq!(tenant.admin.get(&format!("/v1/users/{id}")).await.expect(200)["role"], "member");
}

#[tokio::test]
async fn nobody_invites_to_more_than_they_hold_and_whoever_loses_a_role_loses_their_invitations() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let admin = tenant.member("admin").await;
    let owner = json!({ "email": "guest@example.com", "role": "owner" });
    admin.post(INVITATIONS, &owner).await.problem(403, "exceeds_own_rights");
    let unknown = json!({ "email": "guest@example.com", "role": "nobody" });
    admin.post(INVITATIONS, &unknown).await.wrong_field("role", "unknown_role");
    for (at, code) in [("2001-01-01T00:00:00Z", "invalid_range"), ("2999-01-01T00:00:00Z", "invalid_range")] {
        let body = json!({ "email": "guest@example.com", "role": "member", "expires_at": at });
        admin.post(INVITATIONS, &body).await.wrong_field("expires_at", code);
    }
    tenant.member("member").await.post(INVITATIONS, &unknown).await.problem(403, "forbidden");
    let invitation = invite(&admin, "friend@example.com", "admin").await;
    let of_owner = invite(&tenant.admin, "boss@example.com", "owner").await;
    admin.post(&format!("{}/resend", path(&of_owner)), &json!({})).await.problem(403, "exceeds_own_rights");
    let path = format!("/v1/users/{}", id_of(&admin).await);
    tenant.admin.patch(&path, &json!({ "role": "viewer" })).await.expect(200);
    accept(&tenant.anonymous(), &invitation["token"], PASSWORD).await.problem(422, "invalid_invitation");
    accept(&tenant.anonymous(), &of_owner["token"], PASSWORD).await.expect(204);
}

#[tokio::test]
async fn a_repeated_request_invites_once_and_tells_the_secret_once() {
    let tenant = fleet::shared().await.tenant().await;
    let (body, key) = (json!({ "email": "guest@example.com", "role": "member" }), unique("key"));
    let first = tenant.admin.post_once(INVITATIONS, &key, &body).await;
    let again = tenant.admin.post_once(INVITATIONS, &key, &body).await;
    let (first, again) = (first.expect(201), again.expect(201));
    assert_eq!(first["id"], again["id"]);
    assert!(first["token"].is_string() && again.get("token").is_none());
    let kept = "SELECT count(*) FROM freehold.idempotency_keys WHERE response::text LIKE '%' || $$TOKEN$$ || '%'";
    let kept = kept.replace("TOKEN", first["token"].as_str().unwrap());
    assert_eq!(tenant.database().value::<i64>(&kept).await, 0);
}

/// A tenant's first administrator has an account that nobody has used: an invitation to less must not take it.
#[tokio::test]
async fn the_first_administrators_account_is_not_taken_by_another_invitation() {
    let fleet = fleet::shared().await;
    let slug = unique("first");
    let mut body = crate::harness::tenant::new_tenant(&slug);
    body["admin"] = json!({ "email": "ada@example.com" });
    let created = fleet.create(&body).await.json();
    fleet.finished(created["operation_id"].as_str().unwrap()).await;
    let database = fleet.on_server(&created["id"].as_str().unwrap().replace("ten_", "tenant_"));
    let plant = "INSERT INTO freehold.invitations (id, email, role, token_hash, invited_by, expires_at)
                 VALUES (gen_random_uuid(), 'ada@example.com', 'viewer', sha256('token'), 'usr_1', now() + interval '1 day')";
    database.run(plant).await;
    let anonymous = fleet.replica.anonymous(&slug);
    accept(&anonymous, &json!("token"), PASSWORD).await.problem(409, "user_exists");
    accept(&anonymous, &created["admin_invitation"]["token"], PASSWORD).await.expect(204);
}
