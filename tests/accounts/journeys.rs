//! What leads to an account, and what becomes of it.

use serde_json::json;

use super::{
    CHANGE, CONFIRM, FORGOT, ME, NOT_ME, OWNERS, RESEND, THIRD, UNDO, VERIFY, address_of, decide, login, open_tenant,
    patiently, post, register, reset, send,
};
use crate::{
    harness::{PASSWORD, eventually, fleet},
    people::id_of,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_gets_in_once_the_address_is_proven_and_can_disown_it() {
    let (fleet, post) = post().await;
    let tenant = fleet.tenant().await;
    let (anonymous, admin, email) = (post.anonymous(&tenant), post.admin(&tenant), address_of("ada", &tenant));
    for closed in ["invitation", "closed"] {
        decide(post, &tenant, json!({ "registration": closed })).await;
        register(&anonymous, &email, OWNERS).await.problem(403, "registration_closed");
    }
    let body = json!({ "email": email, "password": OWNERS });
    post.replica.admin_anonymous().post(super::REGISTER, &body).await.problem(403, "registration_closed");
    decide(post, &tenant, json!({ "registration": "open" })).await;
    register(&anonymous, &email, "short").await.wrong_field("password", "password_too_short");
    let body = json!({ "email": email, "password": OWNERS, "name": "Ada" });
    patiently(&anonymous, super::REGISTER, &body).await.expect(202);
    let first = post.link(&email, "verify-email", 0).await;
    login(&anonymous, &email, OWNERS).await.problem(401, "invalid_credentials");
    assert_eq!(admin.get("/v1/users").await.expect(200)["items"].as_array().unwrap().len(), 1, "no user yet");
    anonymous.post(RESEND, &json!({ "email": email })).await.expect(202);
    let token = post.link(&email, "verify-email", 1).await;
    send(&anonymous, VERIFY, &first).await.problem(422, "invalid_link");
    send(&anonymous, VERIFY, &token).await.expect(204);
    send(&anonymous, VERIFY, &token).await.problem(422, "invalid_link");
    let tokens = login(&anonymous, &email, OWNERS).await.expect(200);
    let me = post.holder(&tenant, &tokens).get(ME).await.expect(200);
    assert_eq!((&me["name"], &me["role"], &me["email_verified"]), (&json!("Ada"), &json!("member"), &json!(true)));

    post.mail(&email, "Welcome").await;
    let disowning = post.link(&email, "not-me", 0).await;
    send(&anonymous, NOT_ME, &disowning).await.expect(204);
    send(&anonymous, NOT_ME, &disowning).await.problem(422, "invalid_link");
    post.holder(&tenant, &tokens).get(ME).await.problem(401, "invalid_token");
    login(&anonymous, &email, OWNERS).await.problem(401, "invalid_credentials");
    let choosing = post.link(&email, "reset-password", 0).await;
    reset(&anonymous, &choosing, THIRD).await.expect(204);
    login(&anonymous, &email, THIRD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_in_with_another_device_is_told_and_can_disown_it() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, email) = (post.anonymous(&tenant), address_of("ada", &tenant));
    register(&anonymous, &email, OWNERS).await.expect(202);
    send(&anonymous, VERIFY, &post.link(&email, "verify-email", 0).await).await.expect(204);
    let first = login(&anonymous, &email, OWNERS).await.expect(200);
    let known = json!({ "email": email, "password": OWNERS, "device_token": first["device_token"] });
    patiently(&anonymous, "/v1/auth/login", &known).await.expect(200);
    let thiefs = login(&anonymous, &email, OWNERS).await.expect(200);
    let mail = post.mail(&email, "Somebody signed in").await;
    let told = post.sink.mails_to(&email).iter().filter(|mail| mail.header("Subject").starts_with("Somebody")).count();
    assert_eq!(told, 1, "the first device and a known one are no news: {}", mail.plain());
    let links = post.links(&email, "not-me");
    send(&anonymous, NOT_ME, links.last().unwrap()).await.expect(204);
    post.holder(&tenant, &thiefs).get(ME).await.problem(401, "invalid_token");
    login(&anonymous, &email, OWNERS).await.problem(401, "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_by_domain_has_an_address_in_it_and_an_address_in_use_is_told_alone() {
    let (fleet, post) = post().await;
    let tenant = fleet.tenant().await;
    let (anonymous, admin) = (post.anonymous(&tenant), post.admin(&tenant));
    let domain = format!("{}.example.org", tenant.slug);
    for (settings, field, code) in [
        (json!({ "registration": "domain" }), "registration_domains", "invalid_length"),
        (json!({ "registration_domains": ["Example.org"] }), "registration_domains[0]", "invalid_domain"),
    ] {
        admin.patch("/v1/settings", &settings).await.wrong_field(field, code);
    }
    decide(post, &tenant, json!({ "registration": "domain", "registration_domains": [domain] })).await;
    register(&anonymous, "ada@elsewhere.example", OWNERS).await.wrong_field("email", "domain_not_allowed");
    let email = address_of("ada", &tenant);
    let unknown = register(&anonymous, &email, OWNERS).await;
    send(&anonymous, VERIFY, &post.link(&email, "verify-email", 0).await).await.expect(204);
    let known = register(&anonymous, &email.to_uppercase(), THIRD).await;
    assert_eq!((known.status(), known.text()), (unknown.status(), unknown.text()));
    let told = post.mail(&email, "You have an account").await;
    assert!(!told.plain().contains("#token="), "there is nothing to take back");
    login(&anonymous, &email, THIRD).await.problem(401, "invalid_credentials");
    login(&anonymous, &email, OWNERS).await.expect(200);

    // Nobody registers any more: a link that is on its way makes no user.
    let late = address_of("late", &tenant);
    register(&anonymous, &late, OWNERS).await.expect(202);
    let token = post.link(&late, "verify-email", 0).await;
    decide(post, &tenant, json!({ "registration": "invitation" })).await;
    send(&anonymous, VERIFY, &token).await.problem(403, "registration_closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_password_is_replaced_once_and_everybody_is_signed_out() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, email) = (post.anonymous(&tenant), address_of("ada", &tenant));
    tenant.database().add_user(&tenant.admin_email, &email, "member").await;
    decide(post, &tenant, json!({ "password_history": 3 })).await;
    let tokens = login(&anonymous, &email, PASSWORD).await.expect(200);
    let member = post.holder(&tenant, &tokens);
    let (app, _) = crate::sign_ins::with_app(&member).await;
    post.mail(&email, "An authenticator app").await;
    let unknown = patiently(&anonymous, FORGOT, &json!({ "email": address_of("nobody", &tenant) })).await;
    let known = patiently(&anonymous, FORGOT, &json!({ "email": email })).await;
    assert_eq!((known.status(), known.text()), (202, ""));
    assert_eq!((unknown.status(), unknown.text()), (202, ""));
    let token = post.link(&email, "reset-password", 0).await;
    reset(&anonymous, &token, "short").await.wrong_field("password", "password_too_short");
    reset(&anonymous, "nothing", OWNERS).await.problem(422, "invalid_link");
    reset(&anonymous, &token, OWNERS).await.expect(204);
    reset(&anonymous, &token, THIRD).await.problem(422, "invalid_link");
    member.get(ME).await.problem(401, "invalid_token");
    anonymous.refresh(&tokens["refresh_token"]).await.problem(401, "invalid_refresh_token");
    login(&anonymous, &email, PASSWORD).await.problem(401, "invalid_credentials");
    login(&anonymous, &email, OWNERS).await.problem(401, "mfa_required");
    let with_code = json!({ "email": email, "password": OWNERS, "mfa_code": app.code(1) });
    patiently(&anonymous, "/v1/auth/login", &with_code).await.expect(200);
    post.mail(&email, "Your password").await;

    // The former one is in the history, and a newer link voids the one before.
    patiently(&anonymous, FORGOT, &json!({ "email": email })).await.expect(202);
    let older = post.link(&email, "reset-password", 1).await;
    patiently(&anonymous, FORGOT, &json!({ "email": email })).await.expect(202);
    let newer = post.link(&email, "reset-password", 2).await;
    reset(&anonymous, &older, THIRD).await.problem(422, "invalid_link");
    reset(&anonymous, &newer, OWNERS).await.expect(204);
    patiently(&anonymous, FORGOT, &json!({ "email": email })).await;
    assert_eq!(post.links(&email, "reset-password").len(), 3, "three mails of a kind within an hour");
    assert!(post.sink.mails_to(&address_of("nobody", &tenant)).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_changes_by_a_link_to_the_new_one_and_back_by_a_link_to_the_old_one() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let anonymous = post.anonymous(&tenant);
    let (old, new) = (address_of("old", &tenant), address_of("new", &tenant));
    tenant.database().add_user(&tenant.admin_email, &old, "member").await;
    let tokens = login(&anonymous, &old, PASSWORD).await.expect(200);
    let member = post.holder(&tenant, &tokens);
    let key = member.post("/v1/api-keys", &json!({ "name": "ci", "scopes": ["projects:read"] })).await.expect(201);
    let key = (*post.replica.member(&tenant.slug, &key["key"].as_str().unwrap().into())).clone();
    post.mail(&old, "An API key").await;
    patiently(&member, CHANGE, &json!({ "email": old })).await.wrong_field("email", "same_address");
    patiently(&key, CHANGE, &json!({ "email": new })).await.problem(403, "session_required");
    crate::sign_ins::age_proofs(&tenant.database(), 16).await;
    patiently(&member, CHANGE, &json!({ "email": new })).await.expect(401);
    tenant.database().run("UPDATE freehold.sessions SET proved_at = now()").await;
    // An address in use is told, and nobody else.
    patiently(&member, CHANGE, &json!({ "email": tenant.admin_email })).await.expect(202);
    post.mail(&tenant.admin_email, "You have an account").await;
    patiently(&member, CHANGE, &json!({ "email": new })).await.expect(202);
    patiently(&anonymous, FORGOT, &json!({ "email": old })).await.expect(202);
    let resetting = post.link(&old, "reset-password", 0).await;
    let confirming = post.link(&new, "confirm-email", 0).await;
    send(&anonymous, CONFIRM, &confirming).await.expect(204);
    send(&anonymous, CONFIRM, &confirming).await.problem(422, "invalid_link");
    member.get(ME).await.problem(401, "invalid_token");
    reset(&anonymous, &resetting, OWNERS).await.problem(422, "invalid_link");
    login(&anonymous, &old, PASSWORD).await.problem(401, "invalid_credentials");
    let tokens = login(&anonymous, &new, PASSWORD).await.expect(200);

    let undoing = post.link(&old, "undo-email", 0).await;
    send(&anonymous, UNDO, &undoing).await.expect(204);
    send(&anonymous, UNDO, &undoing).await.problem(422, "invalid_link");
    post.holder(&tenant, &tokens).get(ME).await.problem(401, "invalid_token");
    key.get("/v1/projects").await.problem(401, "invalid_token");
    for address in [&old, &new] {
        login(&anonymous, address, PASSWORD).await.problem(401, "invalid_credentials");
    }
    let choosing = post.link(&old, "reset-password", 1).await;
    reset(&anonymous, &choosing, OWNERS).await.expect(204);
    login(&anonymous, &old, OWNERS).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_rename_and_delete_themselves_but_not_the_last_owner() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let (id, email) = (id_of(&member).await, member.get(ME).await.member("email"));
    assert_eq!(member.patch(ME, &json!({ "name": "Grace" })).await.expect(200)["name"], "Grace");
    for (field, value) in [("role", json!("owner")), ("email_verified", json!(true)), ("active", json!(true))] {
        assert!(member.patch(ME, &json!({ field: value })).await.names(field, "unknown_field"));
    }
    tenant.admin.delete(ME).await.problem(409, "last_owner");
    crate::sign_ins::age_proofs(&tenant.database(), 16).await;
    member.delete(ME).await.expect(401);
    tenant.database().run("UPDATE freehold.sessions SET proved_at = now()").await;
    member.delete(ME).await.expect(204);
    member.get(ME).await.problem(401, "invalid_token");
    tenant.anonymous().login(&email, PASSWORD).await.problem(401, "invalid_credentials");
    let restored = tenant.admin.post(&format!("/v1/users/{id}/restore"), &json!({})).await.expect(200);
    assert_eq!(restored["name"], "Grace");
    tenant.anonymous().login(&email, PASSWORD).await.expect(200);
}

/// Before a rollout: the tenant has no table of links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_without_the_table_of_links_serves_as_before_and_asks_to_wait_for_the_rest() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, admin) = (post.anonymous(&tenant), post.admin(&tenant));
    let member = tenant.member("member").await.through(&anonymous);
    let email = member.get(ME).await.member("email");
    let invited = json!({ "email": "guest@example.com", "role": "member" });
    let invitation = admin.post("/v1/invitations", &invited).await.expect(201);
    tenant.database().run("DROP TABLE freehold.account_tokens").await;
    let set = format!("UPDATE tenants SET freehold_version = 3 WHERE slug = '{}'", tenant.slug);
    fleet.control().run(&set).await;
    eventually("the replica to know", async || {
        (send(&anonymous, VERIFY, "nothing").await.status() == 503).then_some(())
    })
    .await;
    let outdated = "tenant_schema_outdated";
    register(&anonymous, &address_of("ada", &tenant), OWNERS).await.problem(503, outdated);
    for path in [RESEND, FORGOT] {
        anonymous.post(path, &json!({ "email": email })).await.problem(503, outdated);
    }
    for path in [VERIFY, CONFIRM, UNDO, NOT_ME] {
        send(&anonymous, path, "nothing").await.problem(503, outdated);
    }
    reset(&anonymous, "nothing", OWNERS).await.problem(503, outdated);
    member.post(CHANGE, &json!({ "email": address_of("new", &tenant) })).await.problem(503, outdated);
    member.patch(ME, &json!({ "name": "Grace" })).await.problem(503, outdated);
    member.delete(ME).await.problem(503, outdated);
    // All that was there before goes on, without a notice.
    let body = json!({ "token": invitation["token"], "password": OWNERS });
    patiently(&anonymous, super::ACCEPT, &body).await.expect(204);
    login(&anonymous, "guest@example.com", OWNERS).await.expect(200);
    let change = json!({ "current_password": PASSWORD, "new_password": THIRD });
    patiently(&member, "/v1/auth/password/change", &change).await.expect(204);
    login(&anonymous, &email, THIRD).await.expect(200);
    let key = json!({ "name": "ci", "scopes": ["projects:read"] });
    member.post("/v1/api-keys", &key).await.expect(201);
    let set = format!("UPDATE tenants SET freehold_version = 4 WHERE slug = '{}'", tenant.slug);
    fleet.control().run(&set).await;
    tenant.erase().await;
}
