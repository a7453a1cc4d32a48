//! Every kind of link at every route that takes one, and at those that take other tokens: each does its own thing alone.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ACCEPT, CONFIRM, NOT_ME, OWNERS, RESET, UNDO, VERIFY, login, post};
use crate::{
    harness::{PASSWORD, actors::Caller, answer::Answer, eventually_within, tenant::Tenant},
    people::id_of,
};

/// The kinds of links, and the route of each.
const KINDS: [(&str, &str); 5] = [
    ("verification", VERIFY),
    ("password_reset", RESET),
    ("email_change", CONFIRM),
    ("email_undo", UNDO),
    ("not_me", NOT_ME),
];

/// Routes that take a token of another kind: the field, the status and the code of the refusal.
const OTHERS: [(&str, &str, u16, &str); 4] = [
    (ACCEPT, "token", 422, "invalid_invitation"),
    ("/v1/auth/refresh", "refresh_token", 401, "invalid_refresh_token"),
    ("/v1/auth/mfa/verify", "mfa_token", 401, "invalid_mfa_token"),
    ("/v1/auth/mfa/totp/enrol", "mfa_token", 401, "invalid_mfa_token"),
];

/// Plants a link about somebody, whose token is `text`.
async fn plant(tenant: &Tenant<'_>, (purpose, text): (&str, &str), (user, email): (&str, &str)) {
    let sql = format!(
        "INSERT INTO freehold.account_tokens (token_hash, purpose, user_id, email, expires_at)
         VALUES (sha256('{text}'), '{purpose}', '{}', '{email}', now() + interval '1 hour')",
        user.trim_start_matches("usr_")
    );
    tenant.database().run(&sql).await;
}

fn body(route: &str, field: &str, token: &str) -> Value {
    let mut body = json!({ field: token });
    if [RESET, ACCEPT].contains(&route) {
        body["password"] = json!(OWNERS);
    }
    if route.ends_with("/mfa/verify") {
        body["code"] = json!("123456");
    }
    body
}

/// The answer to somebody at this network address, once there was a turn to hash.
async fn from(address: &str, caller: &Caller, (route, body): (&str, &Value)) -> Answer {
    eventually_within("a turn among the passwords", Duration::from_mins(1), async || {
        let request = caller.request(Method::POST, route).header("x-forwarded-for", address).json(body);
        let answer = Answer::to(request).await;
        let is_busy = answer.status() == 503 && answer.json()["code"] == "hashing_busy";
        (!is_busy).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_does_its_own_thing_and_no_other() {
    let (fleet, post) = post().await;
    let (tenant, stranger) = (fleet.tenant().await, fleet.tenant().await);
    let anonymous = post.anonymous(&tenant);
    let member = tenant.member("member").await;
    let (user, email) = (id_of(&member).await, member.get(super::ME).await.member("email"));
    let theirs = id_of(&stranger.admin).await;
    for (purpose, _) in KINDS {
        plant(&tenant, (purpose, &format!("own {purpose}")), (&user, &email)).await;
        plant(&stranger, (purpose, &format!("foreign {purpose}")), (&theirs, &stranger.admin_email)).await;
    }
    let mut tried = 0;
    for (number, (purpose, own)) in KINDS.into_iter().enumerate() {
        // Each from a place of its own: what counts attempts is not what this is about.
        let address = format!("192.0.2.{number}");
        let (owns, foreign) = (format!("own {purpose}"), format!("foreign {purpose}"));
        for (_, route) in KINDS {
            for token in [&owns, &foreign].into_iter().filter(|token| route != own || **token == foreign) {
                from(&address, &anonymous, (route, &body(route, "token", token))).await.problem(422, "invalid_link");
                tried += 1;
            }
        }
        for (route, field, status, code) in OTHERS {
            from(&address, &anonymous, (route, &body(route, field, &owns))).await.problem(status, code);
            tried += 1;
        }
        post.replica.member(&tenant.slug, &owns.into()).get(super::ME).await.problem(401, "invalid_token");
    }
    // Nor does any other token do what a link does.
    let tokens = tenant.login().await;
    let invited = json!({ "email": "guest@example.com", "role": "member" });
    let invitation = tenant.admin.post("/v1/invitations", &invited).await.expect(201);
    let step = crate::sign_ins::factors::insert_step(&tenant, "code").await;
    for token in [&tokens["refresh_token"], &tokens["access_token"], &invitation["token"], &json!(step)] {
        for (_, route) in KINDS {
            let body = body(route, "token", token.as_str().unwrap());
            from("192.0.2.99", &anonymous, (route, &body)).await.problem(422, "invalid_link");
            tried += 1;
        }
    }
    assert_eq!(tried, 5 * (9 + 4) + 4 * 5);
    let spent = "SELECT count(*) FROM freehold.account_tokens WHERE used_at IS NOT NULL";
    assert_eq!(tenant.database().value::<i64>(spent).await, 0);
    member.get(super::ME).await.expect(200);
    login(&anonymous, &email, PASSWORD).await.expect(200);

    // One whose time is over is nothing, and each is used once, of any number who try.
    tenant.database().run("UPDATE freehold.account_tokens SET expires_at = now() WHERE purpose = 'email_undo'").await;
    anonymous.post(UNDO, &json!({ "token": "own email_undo" })).await.problem(422, "invalid_link");
    let disowning = body(NOT_ME, "token", "own not_me");
    let answers = join_all((0..4).map(|_| anonymous.post(NOT_ME, &disowning))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 204).count(), 1, "{answers:?}");
    login(&anonymous, &email, PASSWORD).await.problem(401, "invalid_credentials");
}
