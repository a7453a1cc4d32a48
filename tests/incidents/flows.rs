//! Where tokens are handed out: what is checked at one place is checked at each of them.

use serde_json::{Value, json};

use super::{ACCEPT, ME, OTHER_PASSWORD, begun, beside, half_way, invited};
use crate::{
    harness::{PASSWORD, actors::Caller, answer::Answer, eventually, fleet, unique},
    sign_ins::{CHANGE, DISABLE, SETUP, STEP_UP, VERIFY, holder, patiently, tried, with_app},
};

/// Keycloak CVE-2026-16103: a flow looked at the account when it began, and not where it handed tokens out.
#[tokio::test]
async fn whoever_is_shut_out_meanwhile_gets_tokens_nowhere() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    for shut in ["active = false", "active = false, deleted_at = now()"] {
        let (member, credentials, app, step) = half_way(fleet, &tenant).await;
        let id = member.get(ME).await.member("id");
        let plain = tenant.member("member").await;
        let plain_email = plain.get(ME).await.member("email");
        let tokens = tried(&anonymous, &json!({ "email": plain_email, "password": PASSWORD })).await.expect(200);
        let invitation = invited(&tenant, &plain_email).await;
        let key = json!({ "name": "ci", "scopes": ["projects:read"] });
        let key = plain.post("/v1/api-keys", &key).await.expect(201)["key"].clone();
        let emails = format!("'{}', '{plain_email}'", credentials["email"].as_str().unwrap());
        let sql = format!("UPDATE freehold.users SET {shut} WHERE email IN ({emails})");
        tenant.database().run(&sql).await;
        let raise = format!("UPDATE tenants SET epoch = epoch + 1 WHERE slug = '{}'", tenant.slug);
        fleet.control().run(&raise).await;
        let gone = async || (member.get(ME).await.status() == 401).then_some(());
        eventually("the replica to ask again", gone).await;
        let verify = json!({ "mfa_token": step, "code": app.code(1) });
        patiently(&anonymous, VERIFY, &verify).await.problem(401, "invalid_credentials");
        tried(&anonymous, &credentials).await.problem(401, "invalid_credentials");
        anonymous.refresh(&tokens["refresh_token"]).await.problem(401, "invalid_refresh_token");
        let accept = json!({ "token": invitation, "password": OTHER_PASSWORD });
        patiently(&anonymous, ACCEPT, &accept).await.problem(409, "user_exists");
        let with_key = fleet.replica.member(&tenant.slug, &key.as_str().unwrap().into());
        assert_eq!(with_key.get("/v1/projects").await.status(), 401);
        holder(fleet, &tenant, &tokens).get(ME).await.problem(401, "invalid_token");
        assert!(id.starts_with("usr_"));
    }
}

/// The same of the lock after guesses: every place where a secret is shown counts, and refuses.
#[tokio::test]
async fn an_account_that_is_locked_is_locked_wherever_a_secret_is_shown() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let (member, credentials, app, step) = half_way(fleet, &tenant).await;
    let guess = json!({ "email": credentials["email"], "password": "not the password at all" });
    let locked = async || {
        let answer = tried(&anonymous, &guess).await;
        (answer.status() == 429).then_some(())
    };
    eventually("the lock", locked).await;
    let tries: [(&Caller, &str, Value); 5] = [
        (&anonymous, "/v1/auth/login", credentials.clone()),
        (&anonymous, VERIFY, json!({ "mfa_token": step, "code": app.code(1) })),
        (&member, STEP_UP, json!({ "password": PASSWORD, "code": app.code(1) })),
        (&member, CHANGE, json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD })),
        (&member, DISABLE, json!({ "password": PASSWORD })),
    ];
    for (caller, path, body) in tries {
        // The delay may have passed meanwhile: then a guess brings it back.
        let mut answer = patiently(caller, path, &body).await;
        for _ in 0..5 {
            if answer.status() == 429 {
                break;
            }
            assert_ne!(answer.status() / 100, 2, "{path} while the account is locked");
            locked().await;
            answer = patiently(caller, path, &body).await;
        }
        answer.problem(429, "too_many_attempts");
    }
}

/// Better Auth GHSA-p6v2-xcpg-h6xw: guesses were counted for each IPv6 address, of which everybody has 2^64.
#[tokio::test]
async fn all_addresses_of_one_network_are_one() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let name = unique("beside");
    let changes = [("FREEHOLD_REPLICA", name.as_str()), ("FREEHOLD_TRUSTED_PROXIES", "127.0.0.1")];
    let replica = fleet.another_replica(&changes, freehold::types::Clock::default()).await;
    let anonymous = replica.anonymous(&tenant.slug);
    let guess = async |network: &str, host: usize| {
        let body = json!({ "email": format!("{host}@example.com"), "password": "not the password at all" });
        let request = anonymous.request(reqwest::Method::POST, "/v1/auth/login").json(&body);
        Answer::to(request.header("x-forwarded-for", format!("{network}::{host:x}"))).await
    };
    let mut refused = None;
    for host in 1..=90 {
        let answer = guess("2001:db8:7:1", host).await;
        if answer.status() == 429 {
            refused = Some(host);
            break;
        }
    }
    assert!(refused.is_some_and(|host| host > 20), "{refused:?}");
    assert_eq!(guess("2001:db8:9:1", 900).await.status(), 401, "another network");
}

/// Better Auth GHSA-xg6x-h9c9-2m83: whoever had signed in before a second factor was set up was believed to have shown it.
#[tokio::test]
async fn a_second_factor_counts_at_once_on_every_replica_and_for_sessions_from_before() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = beside(fleet).await;
    let member = tenant.member("member").await;
    let email = member.get(ME).await.member("email");
    let credentials = json!({ "email": email, "password": PASSWORD });
    let before = tried(&tenant.anonymous(), &credentials).await.expect(200);
    let there = other.member(&tenant.slug, &before["access_token"].as_str().unwrap().into());
    assert_eq!(there.get(ME).await.expect(200)["mfa_enabled"], false);
    let (app, _) = with_app(&member).await;
    // With tokens from before, at a replica that has just been told that there is none.
    assert_eq!(there.get(ME).await.expect(200)["mfa_enabled"], true);
    let step_up = async |body: Value| patiently(&there, STEP_UP, &body).await;
    step_up(json!({ "password": PASSWORD })).await.wrong_field("code", "required");
    step_up(json!({ "password": PASSWORD, "code": app.wrong() })).await.wrong_field("code", "wrong_code");
    begun(&other.anonymous(&tenant.slug), &credentials).await;
    step_up(json!({ "password": PASSWORD, "code": app.code(1) })).await.expect(204);
    // And it is gone at once when it was taken away.
    patiently(&member, DISABLE, &json!({ "password": PASSWORD })).await.expect(204);
    assert_eq!(there.get(ME).await.expect(200)["mfa_enabled"], false);
    tried(&other.anonymous(&tenant.slug), &credentials).await.expect(200);
    there.post(SETUP, &json!({})).await.expect(200);
}
