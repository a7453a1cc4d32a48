//! Guessing: how many attempts get through, on whichever replica, with or without Redis, and who is not kept out by those
//! of others.

use std::{collections::BTreeMap, time::Duration};

use freehold::types::Clock;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD,
        actors::{Anonymous, Caller},
        answer::Answer,
        eventually,
        fleet::{self, Fleet},
        replica::Replica,
        sql::Database,
        tenant::Tenant,
    },
    sign_ins::{ME, STEP_UP, VERIFY, patiently, tried, with_app},
};

const LOGIN: &str = "/v1/auth/login";
const WRONG: &str = "not my password it is";

/// The body of a wrong attempt.
fn wrong(email: &str) -> Value {
    json!({ "email": email, "password": WRONG })
}

/// A replica that believes what the tests say of where their requests come from.
async fn behind_a_proxy(fleet: &Fleet) -> Replica {
    fleet.another_replica(&[("FREEHOLD_TRUSTED_PROXIES", "127.0.0.0/8")], Clock::default()).await
}

/// A POST that comes from `address`, once there was a turn for it.
async fn post_from(caller: &Caller, address: &str, path: &str, body: &Value) -> Answer {
    for _ in 0..60 {
        let request = caller.request(Method::POST, path).header("x-forwarded-for", address).json(body);
        let answer = Answer::to(request).await;
        if answer.status() != 503 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{path} is never answered");
}

/// How many passwords or codes were found wrong: each leaves an event.
async fn verified(database: &Database, reason: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM freehold.audit_events WHERE action = 'login.failed' AND details ->> 'reason' = '{reason}'"
    );
    database.value(&sql).await
}

/// Lets time pass for all that is counted.
async fn pass(database: &Database, minutes: u32) {
    let sql = format!(
        "UPDATE freehold.sign_in_attempts SET last_at = last_at - interval '{minutes} min',
             ends_at = ends_at - interval '{minutes} min', barred_until = barred_until - interval '{minutes} min'"
    );
    database.run(&sql).await;
}

/// Keeps what is slowed down from going on, however slow the machine is.
async fn hold(database: &Database) {
    let sql = "UPDATE freehold.sign_in_attempts SET tries = 10, last_at = now()
               WHERE kind IN ('account', 'device') AND tries >= 5";
    database.run(sql).await;
}

/// Tries at once, by turns at each of these, and counts the answers.
async fn storm(doors: &[Anonymous], tries: usize, path: &str, body: &Value) -> BTreeMap<u16, usize> {
    let one = async |number: usize| doors[number % doors.len()].post(path, body).await;
    let mut counts = BTreeMap::new();
    for answer in join_all((0..tries).map(one)).await {
        match answer.status() {
            401 => {}
            429 => drop(answer.problem(429, "too_many_attempts")),
            // Without a turn an attempt is none, and makes room for another one.
            status => assert_eq!(status, 503, "{}", answer.text()),
        }
        *counts.entry(answer.status()).or_default() += 1;
    }
    counts
}

/// Holds the count until each connection of both replicas wants it: so they judge it at the same moment.
async fn line_up(database: &Database) {
    let gate = database.connect().await.unwrap();
    gate.batch_execute("BEGIN; SELECT FROM freehold.sign_in_attempts FOR UPDATE").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("all to wait", async || (database.value::<i64>(waiting).await >= 8).then_some(())).await;
    gate.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn of_two_hundred_guesses_at_once_on_two_replicas_five_are_verified() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let doors = [tenant.anonymous(), other.anonymous(&tenant.slug)];
    for email in [tenant.admin_email.as_str(), "nobody@example.com"] {
        let database = tenant.database();
        tried_wrong(&doors[0], email).await.problem(401, "invalid_credentials");
        database.run("UPDATE freehold.sign_in_attempts SET tries = 0").await;
        let before = verified(&database, "invalid_credentials").await;
        let body = wrong(email);
        let (counts, ()) = tokio::join!(storm(&doors, 200, LOGIN, &body), line_up(&database));
        let tried = verified(&database, "invalid_credentials").await - before;
        assert_eq!(usize::try_from(tried).unwrap(), counts.get(&401).copied().unwrap_or_default(), "{counts:?}");
        assert!(tried <= 5, "{email}: {counts:?}");
        assert!(counts.contains_key(&503) || tried == 5, "{email}: {counts:?}");
    }
}

#[tokio::test]
async fn of_many_codes_at_once_on_two_replicas_five_are_verified() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (app, _) = with_app(&tenant.admin).await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let doors = [tenant.anonymous(), other.anonymous(&tenant.slug)];
    let first = tried(&doors[0], &json!({ "email": tenant.admin_email, "password": PASSWORD })).await;
    let token = first.problem(401, "mfa_required")["mfa_token"].clone();
    let counts = storm(&doors, 200, VERIFY, &json!({ "mfa_token": token, "code": app.wrong() })).await;
    let judged = counts.get(&401).copied().unwrap_or_default();
    assert_eq!(verified(&tenant.database(), "invalid_code").await, i64::try_from(judged).unwrap());
    assert!(judged <= 5 && (judged == 5 || counts.contains_key(&503)), "{counts:?}");
    // Passwords count on the same account.
    hold(&tenant.database()).await;
    doors[1].post(LOGIN, &wrong(&tenant.admin_email)).await.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn counts_are_exact_while_redis_is_slow_or_away() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    // It takes what it is sent, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = silent.accept().await {
            held.push(socket);
        }
    });
    let slow = fleet.another_replica(&[("FREEHOLD_REDIS_URL", &url)], Clock::default()).await;
    let without = fleet.another_replica(&[("FREEHOLD_REDIS_URL", "redis://127.0.0.1:1")], Clock::default()).await;
    let doors = [tenant.anonymous(), slow.anonymous(&tenant.slug), without.anonymous(&tenant.slug)];
    let counts = storm(&doors, 60, LOGIN, &wrong(&tenant.admin_email)).await;
    let tried = counts.get(&401).copied().unwrap_or_default();
    assert!(tried <= 5 && (tried == 5 || counts.contains_key(&503)), "{counts:?}");
    for _ in tried..5 {
        tried_wrong(&doors[0], &tenant.admin_email).await.problem(401, "invalid_credentials");
    }
    hold(&tenant.database()).await;
    for door in &doors {
        door.post(LOGIN, &wrong(&tenant.admin_email)).await.problem(429, "too_many_attempts");
    }
    held.abort();
}

async fn tried_wrong(anonymous: &Caller, email: &str) -> Answer {
    tried(anonymous, &wrong(email)).await
}

/// Guesses until the account is locked, without the pauses.
async fn lock(tenant: &Tenant<'_>, email: &str) {
    let database = tenant.database();
    for _ in 0..10 {
        database.run("UPDATE freehold.sign_in_attempts SET last_at = last_at - interval '10 min'").await;
        tried_wrong(&tenant.anonymous(), email).await.problem(401, "invalid_credentials");
    }
    tried_wrong(&tenant.anonymous(), email).await.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn strangers_do_not_lock_out_a_device_that_signed_in_before() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, email) = (tenant.anonymous(), tenant.admin_email.clone());
    let right = json!({ "email": email, "password": PASSWORD });
    let first = tried(&anonymous, &right).await.expect(200);
    let device = first["device_token"].as_str().unwrap().to_owned();
    let with = |device: &str, password: &str| json!({ "email": email, "password": password, "device_token": device });
    lock(&tenant, &email).await;
    let refused = tried(&anonymous, &right).await;
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 800);
    refused.problem(429, "too_many_attempts");
    tried(&anonymous, &with("another device", PASSWORD)).await.problem(429, "too_many_attempts");
    let again = tried(&anonymous, &with(&device, PASSWORD)).await.expect(200);
    assert_eq!(again["device_token"], Value::Null, "what was given out is still good");
    // The lock is not taken back by that, and the device has bounds of its own.
    tried(&anonymous, &right).await.problem(429, "too_many_attempts");
    for _ in 0..5 {
        tried(&anonymous, &with(&device, WRONG)).await.problem(401, "invalid_credentials");
    }
    hold(&tenant.database()).await;
    tried(&anonymous, &with(&device, PASSWORD)).await.problem(429, "too_many_attempts");
    // It is its user's alone.
    let colleague = tenant.member("member").await.get(ME).await.expect(200)["email"].as_str().unwrap().to_owned();
    lock(&tenant, &colleague).await;
    let theirs = json!({ "email": colleague, "password": PASSWORD, "device_token": device });
    tried(&anonymous, &theirs).await.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn a_device_is_known_until_its_user_changes_the_password() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, database) = (tenant.anonymous(), tenant.database());
    let body = |device: &Value| json!({ "email": tenant.admin_email, "password": PASSWORD, "device_token": device });
    let device = tried(&anonymous, &body(&Value::Null)).await.expect(200)["device_token"].clone();
    tried(&anonymous, &body(&device)).await.expect(200);
    let newness = "SELECT details ->> 'new_device' FROM freehold.audit_events WHERE action = 'login.succeeded'
                   ORDER BY id DESC LIMIT 2";
    assert_eq!(database.values::<String>(newness).await, ["false", "true"]);
    let stored = "SELECT handle FROM freehold.credentials WHERE kind = 'known_device'";
    assert!(database.values::<String>(stored).await.iter().all(|handle| Some(handle.as_str()) != device.as_str()));
    let change = json!({ "current_password": PASSWORD, "new_password": "eight blue kettles hum gently" });
    patiently(&tenant.admin, "/v1/auth/password/change", &change).await.expect(204);
    let mut body = body(&device);
    body["password"] = json!("eight blue kettles hum gently");
    let other = tried(&anonymous, &body).await.expect(200)["device_token"].clone();
    assert!(other.is_string() && other != device, "{other}");
}

#[tokio::test]
async fn administrators_see_a_lock_and_end_it() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await.get(ME).await.expect(200);
    let (id, email) = (member["id"].as_str().unwrap(), member["email"].as_str().unwrap());
    let (lockout, unlock) = (format!("/v1/users/{id}/lockout"), format!("/v1/users/{id}/unlock"));
    let open = tenant.admin.get(&lockout).await.expect(200);
    assert_eq!(open, json!({ "locked": false, "until": null, "failures": 0, "by": null }));
    lock(&tenant, email).await;
    let locked = tenant.admin.get(&lockout).await.expect(200);
    assert_eq!((&locked["locked"], &locked["failures"], &locked["by"]), (&json!(true), &json!(10), &json!("lock")));
    assert!(locked["until"].is_string(), "{locked}");
    tenant.admin.post(&unlock, &json!({})).await.expect(204);
    tried(&tenant.anonymous(), &json!({ "email": email, "password": PASSWORD })).await.expect(200);
    let told =
        "SELECT target || ' ' || (details ->> 'failures') FROM freehold.audit_events WHERE action = 'user.unlocked'";
    assert_eq!(tenant.database().values::<String>(told).await, [format!("{id} 10")]);
    // Who may not change an owner unlocks none.
    let owner = tenant.admin.get(ME).await.expect(200)["id"].as_str().unwrap().to_owned();
    let admin = tenant.member("admin").await;
    admin.post(&format!("/v1/users/{owner}/unlock"), &json!({})).await.problem(403, "exceeds_own_rights");
}

#[tokio::test]
async fn operators_are_unlocked_in_the_same_way() {
    let fleet = fleet::shared().await;
    let operator = fleet.operator_with_role("viewer").await.get(ME).await.expect(200);
    let (id, email) = (operator["id"].as_str().unwrap(), operator["email"].as_str().unwrap());
    let anonymous = fleet.replica.admin_anonymous();
    for _ in 0..5 {
        tried_wrong(&anonymous, email).await.problem(401, "invalid_credentials");
    }
    let lockout = fleet.operator().get(&format!("/v1/users/{id}/lockout")).await.expect(200);
    assert_eq!((&lockout["locked"], &lockout["failures"]), (&json!(false), &json!(5)));
    fleet.operator().post(&format!("/v1/users/{id}/unlock"), &json!({})).await.expect(204);
    let lockout = fleet.operator().get(&format!("/v1/users/{id}/lockout")).await.expect(200);
    assert_eq!((&lockout["by"], &lockout["failures"]), (&Value::Null, &json!(0)));
}

#[tokio::test]
async fn an_ipv6_customer_is_counted_by_their_networks() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let replica = behind_a_proxy(fleet).await;
    let (anonymous, database) = (replica.anonymous(&tenant.slug), tenant.database());
    let attempt = async |address: &str| post_from(&anonymous, address, LOGIN, &wrong("nobody@example.com")).await;
    attempt("2001:db8:7:1::1").await.problem(401, "invalid_credentials");
    // As if the rest of what a /64 may do had been done, each time for another account.
    let spend = |kind: &str, tries: u32| {
        format!("UPDATE freehold.sign_in_attempts SET tries = {tries}, last_at = now() WHERE kind = '{kind}'")
    };
    database.run(&spend("address", 60)).await;
    attempt("2001:db8:7:1:ffff::9").await.problem(429, "too_many_attempts");
    attempt("2001:db8:7:2::1").await.problem(401, "invalid_credentials");
    database.run(&spend("network", 240)).await;
    attempt("2001:db8:7:3::1").await.problem(429, "too_many_attempts");
    attempt("2001:db8:8:3::1").await.problem(401, "invalid_credentials");
    attempt("192.0.2.7").await.problem(401, "invalid_credentials");
    pass(&database, 16).await;
    attempt("2001:db8:7:1::1").await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn an_address_that_tries_many_accounts_in_vain_is_refused() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let replica = behind_a_proxy(fleet).await;
    let (anonymous, database) = (replica.anonymous(&tenant.slug), tenant.database());
    let attempt = async |address: &str, body: &Value| post_from(&anonymous, address, LOGIN, body).await;
    let right = json!({ "email": tenant.admin_email, "password": PASSWORD });
    for name in 0..19 {
        attempt("192.0.2.66", &wrong(&format!("{name}@example.com"))).await.problem(401, "invalid_credentials");
        // Those of one account are one account, and whoever is who they say counts for nothing.
        attempt("192.0.2.66", &wrong("0@EXAMPLE.com")).await;
        attempt("192.0.2.66", &right).await.expect(200);
    }
    let told = "SELECT details::text FROM freehold.audit_events WHERE action = 'sign_in.spraying'";
    assert!(database.values::<String>(told).await.is_empty());
    attempt("192.0.2.66", &wrong("one more@example.com")).await.problem(401, "invalid_credentials");
    attempt("192.0.2.66", &right).await.problem(429, "too_many_attempts");
    attempt("192.0.2.67", &right).await.expect(200);
    assert_eq!(database.values::<String>(told).await, [r#"{"network": "address", "accounts": 20}"#]);
    assert!(fleet.metrics().await.contains("freehold_spraying_total{kind=\"address\"}"));
    pass(&database, 16).await;
    attempt("192.0.2.66", &right).await.expect(200);
}

#[tokio::test]
async fn tokens_that_were_never_given_out_are_counted_and_others_go_on() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let tokens = tenant.login().await;
    let paths = [
        ("/v1/auth/refresh", json!({ "refresh_token": "guessed" }), 401),
        (VERIFY, json!({ "mfa_token": "guessed", "code": "123456" }), 401),
        ("/v1/auth/mfa/totp/enrol", json!({ "mfa_token": "guessed" }), 401),
        ("/v1/auth/invitations/accept", json!({ "token": "guessed", "password": PASSWORD }), 422),
    ];
    for (path, body, status) in &paths {
        assert_eq!(anonymous.post(path, body).await.status(), *status, "{path}");
    }
    let join = json!({ "token": "guessed" });
    assert_eq!(tenant.admin.post("/v1/auth/invitations/join", &join).await.status(), 422);
    let counted = "SELECT tries FROM freehold.sign_in_attempts WHERE kind = 'token'";
    assert_eq!(tenant.database().value::<i32>(counted).await, 5);
    tenant
        .database()
        .run("UPDATE freehold.sign_in_attempts SET tries = 60, last_at = now() WHERE kind = 'token'")
        .await;
    for (path, body, _) in &paths {
        anonymous.post(path, body).await.problem(429, "too_many_attempts");
    }
    tenant.admin.post("/v1/auth/invitations/join", &join).await.problem(429, "too_many_attempts");
    // Who has what was given out is not kept out by that, and is told what has become of it.
    let next = anonymous.refresh(&tokens["refresh_token"]).await.expect(200);
    tenant.admin.post("/v1/auth/logout-all", &json!({})).await.expect(204);
    anonymous.refresh(&next["refresh_token"]).await.problem(401, "invalid_refresh_token");
    tried(&anonymous, &json!({ "email": tenant.admin_email, "password": PASSWORD })).await.expect(200);
}

#[tokio::test]
async fn every_check_of_a_password_or_code_shares_the_count() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let setup = tenant.admin.post("/v1/auth/mfa/totp/setup", &json!({})).await.expect(200);
    let app = crate::sign_ins::App::of(setup["secret"].as_str().unwrap());
    let (confirm, code) = ("/v1/auth/mfa/totp/confirm", json!({ "code": app.wrong() }));
    tenant.admin.post(confirm, &code).await.wrong_field("code", "wrong_code");
    patiently(&tenant.admin, STEP_UP, &json!({ "password": WRONG })).await.wrong_field("password", "wrong_password");
    let change = json!({ "current_password": WRONG, "new_password": "eight blue kettles hum gently" });
    let change = patiently(&tenant.admin, "/v1/auth/password/change", &change).await;
    change.wrong_field("current_password", "wrong_password");
    patiently(&tenant.admin, "/v1/auth/mfa/totp/disable", &json!({ "password": WRONG }))
        .await
        .wrong_field("password", "wrong_password");
    tried_wrong(&tenant.anonymous(), &tenant.admin_email).await.problem(401, "invalid_credentials");
    hold(&tenant.database()).await;
    for (path, body) in [
        (confirm, &code),
        (STEP_UP, &json!({ "password": PASSWORD })),
        ("/v1/auth/mfa/totp/disable", &json!({ "password": PASSWORD })),
    ] {
        tenant.admin.post(path, body).await.problem(429, "too_many_attempts");
    }
    tried_wrong(&tenant.anonymous(), &tenant.admin_email).await.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn what_has_ended_is_swept_away() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    for name in 0..3 {
        tried_wrong(&tenant.anonymous(), &format!("{name}@example.com")).await.problem(401, "invalid_credentials");
    }
    pass(&tenant.database(), 16).await;
    tried_wrong(&tenant.anonymous(), "last@example.com").await.problem(401, "invalid_credentials");
    let left = "SELECT count(*) FROM freehold.sign_in_attempts WHERE kind = 'account'";
    assert_eq!(tenant.database().value::<i64>(left).await, 1);
}

#[tokio::test]
async fn a_tenant_that_no_rollout_has_reached_counts_as_before() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let lockout = format!("/v1/users/{}/lockout", member.get(ME).await.expect(200)["id"].as_str().unwrap());
    fleet.control().run(&format!("UPDATE tenants SET freehold_version = 3 WHERE slug = '{}'", tenant.slug)).await;
    eventually("new routes to be refused", async || {
        let answer = tenant.admin.get(&lockout).await;
        (answer.status() == 503).then(|| answer.problem(503, "tenant_schema_outdated"))
    })
    .await;
    tenant.database().run("DROP TABLE freehold.sign_in_attempts").await;
    let right = json!({ "email": tenant.admin_email, "password": PASSWORD });
    let tokens = tried(&tenant.anonymous(), &right).await.expect(200);
    assert_eq!(tokens.get("device_token"), None);
    let answer = tenant.anonymous().refresh(&json!("guessed")).await;
    answer.problem(401, "invalid_refresh_token");
    let mut let_through = 0;
    while let_through < 10 {
        let answer = tried_wrong(&tenant.anonymous(), &tenant.admin_email).await;
        if answer.status() == 429 {
            break;
        }
        let_through += 1;
    }
    // Three where Redis was too slow.
    assert!((3..=8).contains(&let_through), "{let_through}");
    tenant.erase().await;
}
