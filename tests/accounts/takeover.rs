//! Nobody takes an account over by typing its address first, in another way, or at the same time.

use futures::future::join_all;
use serde_json::json;

use super::{
    ACCEPT, ATTACKERS, CHANGE, CONFIRM, FORGOT, ME, OWNERS, Post, REGISTER, RESEND, THIRD, UNDO, VERIFY, address_of,
    decide, login, open_tenant, patiently, post, register, register_from, reset, send,
};
use crate::{
    harness::{eventually, tenant::Tenant},
    sign_ins::with_app,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_first_with_somebody_elses_address_has_nothing_when_its_owner_comes() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, email) = (post.anonymous(&tenant), address_of("victim", &tenant));
    register(&anonymous, &email, ATTACKERS).await.expect(202);
    let attackers = post.link(&email, "verify-email", 0).await;
    register(&anonymous, &email, OWNERS).await.expect(202);
    let owners = post.link(&email, "verify-email", 1).await;
    send(&anonymous, VERIFY, &attackers).await.problem(422, "invalid_link");
    send(&anonymous, VERIFY, &owners).await.expect(204);
    login(&anonymous, &email, ATTACKERS).await.problem(401, "invalid_credentials");
    login(&anonymous, &email, OWNERS).await.expect(200);
}

/// Two who come from different places want the same address: the owner of it may follow the other one's link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_somebody_else_contests_opens_the_account_to_neither_password() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, email) = (post.anonymous(&tenant), address_of("victim", &tenant));
    register_from(&anonymous, "192.0.2.1", (&email, OWNERS)).await.expect(202);
    post.link(&email, "verify-email", 0).await;
    register_from(&anonymous, "198.51.100.7", (&email, ATTACKERS)).await.expect(202);
    post.link(&email, "verify-email", 1).await;
    // Sent again, it is contested still.
    patiently(&anonymous, RESEND, &json!({ "email": email })).await.expect(202);
    let newest = post.link(&email, "verify-email", 2).await;
    send(&anonymous, VERIFY, &newest).await.expect(204);
    for password in [ATTACKERS, OWNERS] {
        login(&anonymous, &email, password).await.problem(401, "invalid_credentials");
    }
    let choosing = post.link(&email, "reset-password", 0).await;
    reset(&anonymous, &choosing, THIRD).await.expect(204);
    login(&anonymous, &email, THIRD).await.expect(200);
}

/// How the owner of an address proves it for the first time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Proof {
    Reset,
    Invitation,
    Verification,
    Registration,
}

/// Where people are let in before they have proven their address, an attacker may have used the account for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_proof_of_an_address_voids_all_that_was_made_before_it() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, admin) = (post.anonymous(&tenant), post.admin(&tenant));
    decide(post, &tenant, json!({ "require_verified_email": false })).await;
    for proof in [Proof::Reset, Proof::Invitation, Proof::Verification, Proof::Registration] {
        let email = address_of(&format!("{proof:?}").to_lowercase(), &tenant);
        register(&anonymous, &email, ATTACKERS).await.expect(202);
        let tokens = login(&anonymous, &email, ATTACKERS).await.expect(200);
        let attacker = post.holder(&tenant, &tokens);
        let key = json!({ "name": "back door", "scopes": ["projects:read"] });
        let key = attacker.post("/v1/api-keys", &key).await.expect(201);
        let key = (*post.replica.member(&tenant.slug, &key["key"].as_str().unwrap().into())).clone();
        crate::sign_ins::with_app(&attacker).await;
        key.get("/v1/projects").await.expect(200);
        match proof {
            Proof::Reset => {
                patiently(&anonymous, FORGOT, &json!({ "email": email })).await.expect(202);
                let token = post.link(&email, "reset-password", 0).await;
                reset(&anonymous, &token, OWNERS).await.expect(204);
            }
            Proof::Invitation => {
                let invited = json!({ "email": email, "role": "viewer" });
                let invitation = admin.post("/v1/invitations", &invited).await.expect(201);
                let body = json!({ "token": invitation["token"], "password": OWNERS });
                patiently(&anonymous, ACCEPT, &body).await.expect(204);
            }
            Proof::Verification => {
                // The link of a registration that has ended meanwhile: there is an account, and nothing pending.
                tenant.database().run("DELETE FROM freehold.account_tokens WHERE purpose = 'verification'").await;
                patiently(&anonymous, RESEND, &json!({ "email": email })).await.expect(202);
                let token = post.link(&email, "verify-email", 1).await;
                send(&anonymous, VERIFY, &token).await.expect(204);
                let token = post.link(&email, "reset-password", 0).await;
                reset(&anonymous, &token, OWNERS).await.expect(204);
            }
            Proof::Registration => {
                register(&anonymous, &email, OWNERS).await.expect(202);
                let token = post.link(&email, "verify-email", 1).await;
                send(&anonymous, VERIFY, &token).await.expect(204);
            }
        }
        attacker.get(ME).await.problem(401, "invalid_token");
        anonymous.refresh(&tokens["refresh_token"]).await.problem(401, "invalid_refresh_token");
        key.get("/v1/projects").await.problem(401, "invalid_token");
        login(&anonymous, &email, ATTACKERS).await.problem(401, "invalid_credentials");
        // Neither a second factor of the attacker's is left.
        let tokens = login(&anonymous, &email, OWNERS).await.expect(200);
        let me = post.holder(&tenant, &tokens).get(ME).await.expect(200);
        assert_eq!((&me["email_verified"], &me["mfa_enabled"]), (&json!(true), &json!(false)), "{proof:?}");
    }
}

/// A request of the attacker's waits for the account while the proof is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_under_way_leaves_nothing_behind_the_first_proof() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let anonymous = post.anonymous(&tenant);
    decide(post, &tenant, json!({ "require_verified_email": false })).await;
    let email = address_of("victim", &tenant);
    register(&anonymous, &email, ATTACKERS).await.expect(202);
    let key = json!({ "name": "back door", "scopes": ["projects:read"] });
    let change = json!({ "email": address_of("attacker", &tenant) });
    for (path, body) in [("/v1/api-keys", &key), (CHANGE, &change)] {
        let attacker = post.holder(&tenant, &login(&anonymous, &email, ATTACKERS).await.expect(200));
        attacker.get(ME).await.expect(200);
        let mut session = tenant.database().connect().await.unwrap();
        let txn = session.transaction().await.unwrap();
        txn.batch_execute("SELECT FROM freehold.users FOR UPDATE").await.unwrap();
        let (requester, body) = (attacker.clone(), body.clone());
        let under_way = tokio::spawn(async move { requester.post(path, &body).await });
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        eventually("the request to wait for the account", async || {
            (tenant.database().value::<i64>(waits).await > 0).then_some(())
        })
        .await;
        txn.batch_execute("UPDATE freehold.sessions SET revoked_at = now(), revoked_because = 'email.proven'")
            .await
            .unwrap();
        txn.commit().await.unwrap();
        under_way.await.unwrap().problem(401, "invalid_token");
    }
    let left = "SELECT (SELECT count(*) FROM freehold.api_keys) +
        (SELECT count(*) FROM freehold.account_tokens WHERE purpose = 'email_change')";
    assert_eq!(tenant.database().value::<i64>(left).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_one_account_however_it_is_written() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, admin) = (post.anonymous(&tenant), post.admin(&tenant));
    let domain = format!("b\u{fc}cher.{}.example", tenant.slug);
    let ascii = format!("xn--bcher-kva.{}.example", tenant.slug);
    let stored = format!("kim@{ascii}");
    let spelled = [
        format!("kim@{domain}"),
        format!("KIM@{}", domain.to_uppercase()),
        format!("\u{212A}im@{ascii}"),
        format!("\u{ff4b}\u{ff49}\u{ff4d}@bu\u{308}cher.{}.example", tenant.slug),
        format!("kim@b\u{fc}cher\u{3002}{}\u{3002}example", tenant.slug),
    ];
    register(&anonymous, &spelled[0], OWNERS).await.expect(202);
    send(&anonymous, VERIFY, &post.link(&stored, "verify-email", 0).await).await.expect(204);
    for (number, other) in spelled.iter().enumerate() {
        login(&anonymous, other, OWNERS).await.expect(200);
        if number < 3 {
            register(&anonymous, other, ATTACKERS).await.expect(202);
        }
        let invited = json!({ "email": other, "role": "admin" });
        let invitation = admin.post("/v1/invitations", &invited).await.expect(201);
        assert_eq!(invitation["email"], json!(stored));
        let body = json!({ "token": invitation["token"], "password": ATTACKERS });
        patiently(&anonymous, ACCEPT, &body).await.problem(409, "user_exists");
        admin.delete(&format!("/v1/invitations/{}", invitation["id"].as_str().unwrap())).await.expect(204);
    }
    login(&anonymous, &stored, ATTACKERS).await.problem(401, "invalid_credentials");
    // Mail goes to the address of the account, and to no other spelling of it.
    patiently(&anonymous, FORGOT, &json!({ "email": spelled[3] })).await.expect(202);
    post.link(&stored, "reset-password", 0).await;
    let users = "SELECT count(*) FROM freehold.users WHERE email LIKE '%xn--bcher-kva%'";
    assert_eq!(tenant.database().value::<i64>(users).await, 1);
    // What only looks alike is another address, and none that mail goes to.
    let alike = format!("\u{43a}im@{ascii}");
    register(&anonymous, &alike, ATTACKERS).await.wrong_field("email", "invalid_email");
}

/// Attackers and the owner register, ask for links and accept an invitation at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_who_want_an_address_at_once_nobody_gets_it_but_its_owner() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, admin, email) = (post.anonymous(&tenant), post.admin(&tenant), address_of("victim", &tenant));
    decide(post, &tenant, json!({ "require_verified_email": false })).await;
    let invitation = admin.post("/v1/invitations", &json!({ "email": email, "role": "viewer" })).await.expect(201);
    let accepting = json!({ "token": invitation["token"], "password": OWNERS });
    let all = join_all((0..64).map(|number| {
        let (anonymous, email, accepting) = (&anonymous, &email, &accepting);
        async move {
            match number % 8 {
                0 => anonymous.post(ACCEPT, accepting).await,
                1 => anonymous.post(FORGOT, &json!({ "email": email })).await,
                2 => anonymous.post(RESEND, &json!({ "email": email })).await,
                _ => anonymous.post(REGISTER, &json!({ "email": email, "password": ATTACKERS })).await,
            }
        }
    }));
    for answer in all.await {
        assert!(matches!(answer.status(), 202 | 204 | 409 | 422 | 429 | 503), "{}", answer.text());
    }
    // Whatever came first, the owner has the last word by any link that reaches them.
    let database = tenant.database();
    let proven =
        format!("SELECT count(*) FROM freehold.users WHERE email = '{email}' AND email_verified_at IS NOT NULL");
    if database.value::<i64>(&proven).await == 0 {
        eventually("the invitation to be accepted", async || {
            let answer = anonymous.post(ACCEPT, &accepting).await;
            (answer.status() == 204).then_some(())
        })
        .await;
    }
    login(&anonymous, &email, ATTACKERS).await.problem(401, "invalid_credentials");
    login(&anonymous, &email, OWNERS).await.expect(200);
    // Links of registrations from before are nothing now.
    for token in post.links(&email, "verify-email") {
        send(&anonymous, VERIFY, &token).await.problem(422, "invalid_link");
    }
    login(&anonymous, &email, OWNERS).await.expect(200);
    let users = format!("SELECT count(*) FROM freehold.users WHERE email = '{email}'");
    assert_eq!(database.value::<i64>(&users).await, 1);
}

/// Somebody who has registered and is let in.
async fn joined(post: &Post, tenant: &Tenant<'_>, email: &str) {
    let anonymous = post.anonymous(tenant);
    register(&anonymous, email, OWNERS).await.expect(202);
    send(&anonymous, VERIFY, &post.link(email, "verify-email", 0).await).await.expect(204);
}

/// A thief who knows the password changes the address twice, sets an app up, and makes more notices than are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_takes_their_address_back_for_good() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, owners) = (post.anonymous(&tenant), address_of("owner", &tenant));
    joined(post, &tenant, &owners).await;
    let mut held = owners.clone();
    for name in ["first", "second"] {
        let thief = post.holder(&tenant, &login(&anonymous, &held, OWNERS).await.expect(200));
        held = address_of(name, &tenant);
        patiently(&thief, CHANGE, &json!({ "email": held })).await.expect(202);
        send(&anonymous, CONFIRM, &post.link(&held, "confirm-email", 0).await).await.expect(204);
    }
    let thief = post.holder(&tenant, &login(&anonymous, &held, OWNERS).await.expect(200));
    with_app(&thief).await;
    for _ in 0..20 {
        thief.post("/v1/api-keys", &json!({ "name": "more", "scopes": ["projects:read"] })).await.expect(201);
    }
    let (own, thiefs) =
        (post.link(&owners, "undo-email", 0).await, post.link(&address_of("first", &tenant), "undo-email", 0).await);
    send(&anonymous, UNDO, &own).await.expect(204);
    send(&anonymous, UNDO, &thiefs).await.problem(422, "invalid_link");
    let choosing = post.link(&owners, "reset-password", 0).await;
    reset(&anonymous, &choosing, THIRD).await.expect(204);
    login(&anonymous, &owners, THIRD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_address_ends_with_the_session_that_asked_for_it() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, owners, thiefs) =
        (post.anonymous(&tenant), address_of("owner", &tenant), address_of("thief", &tenant));
    joined(post, &tenant, &owners).await;
    let thief = post.holder(&tenant, &login(&anonymous, &owners, OWNERS).await.expect(200));
    patiently(&thief, CHANGE, &json!({ "email": thiefs })).await.expect(202);
    let link = post.link(&thiefs, "confirm-email", 0).await;
    let owner = post.holder(&tenant, &login(&anonymous, &owners, OWNERS).await.expect(200));
    owner.post("/v1/auth/logout-all", &json!({})).await.expect(204);
    send(&anonymous, CONFIRM, &link).await.problem(422, "invalid_link");
    login(&anonymous, &owners, OWNERS).await.expect(200);
}

/// Whoever registers first as often as mails go to an address keeps nobody's registration from contesting theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_contested_though_the_address_has_got_its_mails() {
    let (fleet, post) = post().await;
    let tenant = open_tenant(fleet, post).await;
    let (anonymous, email) = (post.anonymous(&tenant), address_of("victim", &tenant));
    let mut newest = String::new();
    for number in 0..3 {
        register_from(&anonymous, "198.51.100.7", (&email, ATTACKERS)).await.expect(202);
        newest = post.link(&email, "verify-email", number).await;
    }
    register_from(&anonymous, "203.0.113.9", (&email, OWNERS)).await.expect(202);
    send(&anonymous, VERIFY, &newest).await.expect(204);
    for password in [ATTACKERS, OWNERS] {
        login(&anonymous, &email, password).await.problem(401, "invalid_credentials");
    }
    let choosing = post.link(&email, "reset-password", 0).await;
    reset(&anonymous, &choosing, OWNERS).await.expect(204);
    login(&anonymous, &email, OWNERS).await.expect(200);
}
