//! One password is hashed for each attempt, whatever comes of it: counted by the program itself.
//!
//! The program is one of the test's own, because all replicas in this process count together.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{actors::Caller, answer::Answer, programs::Dev, unique},
    sign_ins::patiently,
};

const ACCEPT: &str = "/v1/auth/invitations/accept";
const CHOSEN: &str = "eight blue kettles hum gently";

/// How many passwords were hashed or verified so far.
async fn hashes(dev: &Dev) -> u64 {
    let metrics = Caller::at_url(dev.told("/admin_url")).get("/metrics").await;
    let name = "freehold_password_hash_duration_seconds_count ";
    metrics.text().lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.trim().parse().unwrap())
}

/// An attempt: what it is, its route and body, and the status and code that it is answered with.
type Attempt<'a> = (&'a str, &'a str, Value, u16, &'a str);

async fn assert_one_each(dev: &Dev, anonymous: &Caller, attempts: &[Attempt<'_>]) {
    for (what, path, body, status, code) in attempts {
        let before = hashes(dev).await;
        let answer = patiently(anonymous, path, body).await;
        assert_eq!(answer.status(), *status, "{what}: {}", answer.text());
        if !code.is_empty() {
            answer.problem(*status, code);
        }
        assert_eq!(hashes(dev).await - before, 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_costs_exactly_one_hash_whatever_comes_of_it() {
    let dev = Dev::start_with(&[("PASSWORD_HASH_CONCURRENCY", "1")]).await;
    let slug = dev.told("/tenants/0/slug");
    let (anonymous, admin) = (dev.public().at(slug), dev.admin_of(slug).await);

    // People of every kind that a sign-in tells apart, all of whose hashes are of today.
    let mut people = Vec::new();
    for name in ["plain", "inactive", "deleted"] {
        let email = format!("{}@example.com", unique(name));
        let invited = admin.post("/v1/invitations", &json!({ "email": email, "role": "member" })).await.expect(201);
        let accept = json!({ "token": invited["token"], "password": CHOSEN });
        patiently(&anonymous, ACCEPT, &accept).await.expect(204);
        let found = admin.get(&format!("/v1/users?q={email}")).await.expect(200);
        people.push((email, format!("/v1/users/{}", found["items"][0]["id"].as_str().unwrap())));
    }
    admin.patch(&people[1].1, &json!({ "active": false })).await.expect(200);
    admin.delete(&people[2].1).await.expect(204);
    let bare = format!("{}@example.com", unique("bare"));
    let request = admin.request(Method::POST, "/v1/users/import").header("content-type", "application/x-ndjson");
    Answer::to(request.body(json!({ "email": bare }).to_string())).await.expect(200);

    let login = |email: &str, password: &str| json!({ "email": email, "password": password });
    let (path, wrong) = ("/v1/auth/login", "not the password at all");
    let refused = "invalid_credentials";
    let attempts = [
        ("an unknown address", path, login("nobody@example.com", wrong), 401, refused),
        ("no address", path, login("nobody", wrong), 401, refused),
        ("a wrong password", path, login(&people[0].0, wrong), 401, refused),
        ("a right password", path, login(&people[0].0, CHOSEN), 200, ""),
        ("somebody inactive", path, login(&people[1].0, CHOSEN), 401, refused),
        ("somebody inactive, wrong", path, login(&people[1].0, wrong), 401, refused),
        ("somebody deleted", path, login(&people[2].0, CHOSEN), 401, refused),
        ("somebody without a password", path, login(&bare, wrong), 401, refused),
    ];
    assert_one_each(&dev, &anonymous, &attempts).await;

    let invite = async |email: &str| {
        let body = json!({ "email": email, "role": "member" });
        admin.post("/v1/invitations", &body).await.expect(201)
    };
    let (open, used) = (invite(&format!("{}@example.com", unique("guest"))).await, invite(&people[0].0).await);
    let revoked = invite(&format!("{}@example.com", unique("gone"))).await;
    admin.delete(&format!("/v1/invitations/{}", revoked["id"].as_str().unwrap())).await.expect(204);
    let accept = |token: &Value| json!({ "token": token, "password": CHOSEN });
    let refused = "invalid_invitation";
    let attempts = [
        ("an unknown invitation", ACCEPT, accept(&json!("nothing of the kind")), 422, refused),
        ("a revoked invitation", ACCEPT, accept(&revoked["token"]), 422, refused),
        ("an invitation of somebody who is there", ACCEPT, accept(&used["token"]), 409, "user_exists"),
        ("an open invitation", ACCEPT, accept(&open["token"]), 204, ""),
        ("a used invitation", ACCEPT, accept(&open["token"]), 422, refused),
    ];
    assert_one_each(&dev, &anonymous, &attempts).await;
    ask_for_accounts(&dev, (&anonymous, &admin), (&people[0].0, &people[1].0, &bare)).await;
}

/// Whoever registers or resets, with the address of somebody who can sign in, who is inactive, and who has no password.
async fn ask_for_accounts(
    dev: &Dev,
    (anonymous, admin): (&Caller, &Caller),
    (active, inactive, bare): (&str, &str, &str),
) {
    admin.patch("/v1/settings", &json!({ "registration": "open" })).await.expect(200);
    let (register, forgot, reset) = ("/v1/auth/register", "/v1/auth/password/forgot", "/v1/auth/password/reset");
    let stranger = format!("{}@example.com", unique("stranger"));
    let login = |email: &str| json!({ "email": email, "password": CHOSEN });
    let asks = |email: &str| json!({ "email": email });
    let attempts = [
        ("a new address", register, login(&stranger), 202, ""),
        ("the same once more", register, login(&stranger), 202, ""),
        ("an address in use", register, login(active), 202, ""),
        ("the address of somebody inactive", register, login(inactive), 202, ""),
        ("an address without a password", register, login(bare), 202, ""),
        ("an address to reset that nobody has", forgot, asks("nobody@example.com"), 202, ""),
        ("an address to reset", forgot, asks(active), 202, ""),
        ("that of somebody inactive", forgot, asks(inactive), 202, ""),
        ("a link that there is not", reset, json!({ "token": "nothing", "password": CHOSEN }), 422, "invalid_link"),
    ];
    assert_one_each(dev, anonymous, &attempts).await;
}
