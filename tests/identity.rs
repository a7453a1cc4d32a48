//! Who somebody is: signing in and out, refreshed and forged tokens, API keys, guessing.

use std::{collections::BTreeSet, time::Duration};

use freehold::types::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::harness::{
    PASSWORD,
    actors::{Anonymous, Member},
    answer::Answer,
    eventually,
    fleet::{self, Fleet},
    tenant::Tenant,
};

const ME: &str = "/v1/auth/me";
const WRONG: &str = "a wrong password it is";

fn member(fleet: &Fleet, tenant: &Tenant<'_>, tokens: &Value) -> Member {
    fleet.replica.member(&tenant.slug, &tokens["access_token"].as_str().unwrap().into())
}

/// A problem without what differs from request to request.
fn anonymised(mut problem: Value) -> Value {
    problem["request_id"].take();
    problem
}

#[tokio::test]
async fn a_sign_in_answers_with_tokens_and_me_says_whose() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let answer = tenant.anonymous().login(&tenant.admin_email.to_uppercase(), PASSWORD).await;
    let tokens = answer.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(600)));
    let me = member(fleet, &tenant, &tokens).get(ME).await.expect(200);
    assert_eq!((&me["email"], &me["role"]), (&json!(tenant.admin_email), &json!("owner")));
    assert_eq!(me["tenant"], json!({ "id": tenant.id, "slug": tenant.slug }));
    assert!(me["permissions"].as_array().unwrap().contains(&json!("projects:write")));
    assert!(!me.to_string().contains("tenants:"), "nothing of the operators'");
}

#[tokio::test]
async fn every_refused_sign_in_looks_the_same() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let inactive = tenant.member("member").await.get(ME).await.expect(200)["email"].as_str().unwrap().to_owned();
    tenant.database().run(&format!("UPDATE freehold.users SET active = false WHERE email = '{inactive}'")).await;
    let anonymous = tenant.anonymous();
    let mut seen = BTreeSet::new();
    for (email, password) in [
        (tenant.admin_email.as_str(), WRONG),
        ("unknown@example.com", PASSWORD),
        ("not an address", PASSWORD),
        (&inactive, PASSWORD),
        (&tenant.admin_email, ""),
    ] {
        let answer = anonymous.login(email, password).await;
        seen.insert(anonymised(answer.problem(401, "invalid_credentials")).to_string());
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    let failures = "SELECT count(*) FROM freehold.audit_events WHERE action = 'login.failed'";
    assert_eq!(tenant.database().value::<i64>(failures).await, 5);
}

#[tokio::test]
async fn a_refresh_token_is_used_once_and_parallel_uses_get_the_same_successor() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let first = tenant.login().await;
    let uses = (0..8).map(|_| anonymous.refresh(&first["refresh_token"]));
    let successors: BTreeSet<_> = futures::future::join_all(uses)
        .await
        .iter()
        .map(|answer| answer.expect(200)["refresh_token"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(successors.len(), 1);
    let second = json!(successors.first().unwrap());
    assert_ne!(second, first["refresh_token"]);
    let third = anonymous.refresh(&second).await.expect(200);
    member(fleet, &tenant, &third).get(ME).await.expect(200);
    // The successor was used: from here on the first token is in two hands, and everybody is out.
    anonymous.refresh(&first["refresh_token"]).await.problem(401, "invalid_refresh_token");
    anonymous.refresh(&third["refresh_token"]).await.problem(401, "invalid_refresh_token");
    member(fleet, &tenant, &third).get(ME).await.problem(401, "invalid_token");
    tenant.admin.get(ME).await.expect(200);
    anonymous.refresh(&json!("nonsense")).await.problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn signing_out_takes_effect_at_once_and_on_the_other_replica_within_a_second() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let (one, two) = (tenant.login().await, tenant.login().await);
    let (here, kept) = (member(fleet, &tenant, &one), member(fleet, &tenant, &two));
    let there = other.member(&tenant.slug, here.bearer());
    for caller in [&here, &there, &kept] {
        caller.get(ME).await.expect(200);
    }
    here.post("/v1/auth/logout", &json!({})).await.expect(204);
    let at = std::time::Instant::now();
    here.get(ME).await.problem(401, "invalid_token");
    eventually("the other replica to hear of it", async || (there.get(ME).await.status() == 401).then_some(())).await;
    assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
    tenant.anonymous().refresh(&one["refresh_token"]).await.problem(401, "invalid_refresh_token");
    kept.get(ME).await.expect(200);
    kept.post("/v1/auth/logout-all", &json!({})).await.expect(204);
    for caller in [&kept, &tenant.admin] {
        caller.get(ME).await.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_token_opens_nothing_in_another_tenant() {
    let fleet = fleet::shared().await;
    let (ours, theirs) = (fleet.tenant().await, fleet.tenant().await);
    let stray = fleet.replica.member(&theirs.slug, ours.admin.bearer());
    stray.get("/v1/projects").await.problem(403, "tenant_mismatch");
    stray.post("/v1/projects", &json!({ "name": "mine" })).await.problem(403, "tenant_mismatch");
    let operator = fleet.signed_in_operator().await;
    fleet.replica.member(&theirs.slug, operator.bearer()).get(ME).await.problem(403, "tenant_mismatch");
    fleet.replica.operator(ours.admin.bearer()).get(ME).await.problem(403, "tenant_mismatch");
    let rows: i64 = theirs.database().value("SELECT count(*) FROM projects").await;
    let sessions: i64 = theirs.database().value("SELECT count(*) FROM freehold.sessions").await;
    assert_eq!((rows, sessions), (0, 1), "the other tenant is as it was");
}

/// A token signed with `key`, whatever it says.
fn token(header: &Header, claims: &Value, key: &EncodingKey) -> SecretString {
    jsonwebtoken::encode(header, claims, key).unwrap().into()
}

fn header(algorithm: Algorithm, kid: &str) -> Header {
    Header { typ: Some("at+jwt".to_owned()), kid: Some(kid.to_owned()), ..Header::new(algorithm) }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let fleet = fleet::shared().await;
    let (tenant, foreign) = (fleet.tenant().await, fleet.tenant().await);
    let bearer = tenant.admin.bearer();
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(bearer.expose_secret()).unwrap();
    let (kid, key) = fleet.signing_key(&tenant.id).await;
    let (foreign_kid, foreign_key) = fleet.signing_key(&foreign.id).await;
    let ours = header(Algorithm::EdDSA, &kid);
    let me = async |bearer: &SecretString| fleet.replica.member(&tenant.slug, bearer).get(ME).await;
    me(&token(&ours, &claims, &key)).await.expect(200);

    let keys = tenant.anonymous().get("/.well-known/jwks.json").await.expect(200);
    let public = EncodingKey::from_base64_secret(&with_padding(keys["keys"][0]["x"].as_str().unwrap())).unwrap();
    let (_, rest) = bearer.expose_secret().split_once('.').unwrap();
    let payload = rest.split_once('.').unwrap().0;
    let none = format!("{}.{payload}.", base64_url(&json!({ "alg": "none", "typ": "at+jwt", "kid": kid })));
    let typ = Header { typ: Some("JWT".to_owned()), ..ours.clone() };
    let mut forged = vec![
        ("algorithm none", none.into()),
        ("public key as secret", token(&header(Algorithm::HS256, &kid), &claims, &public)),
        ("another tenant's key", token(&ours, &claims, &foreign_key)),
        ("another tenant's key and name", token(&header(Algorithm::EdDSA, &foreign_kid), &claims, &foreign_key)),
        ("unknown key", token(&header(Algorithm::EdDSA, "key_01900000000070008000000000000000"), &claims, &key)),
        ("key that is a path", token(&header(Algorithm::EdDSA, "../../etc/passwd"), &claims, &key)),
        ("another type", token(&typ, &claims, &key)),
        ("expired", fleet.expired(bearer).await),
        ("not yet valid", fleet.resign(bearer, |claims| claims["nbf"] = json!(4_000_000_000_u32)).await),
        ("another issuer", fleet.resign(bearer, |claims| claims["iss"] = json!("http://evil.localhost")).await),
        ("another audience", fleet.resign(bearer, |claims| claims["aud"] = json!(foreign.id)).await),
        (
            "unknown session",
            fleet.resign(bearer, |claims| claims["sid"] = json!("ses_01900000000070008000000000000000")).await,
        ),
    ];
    for claim in ["iss", "aud", "sub", "tid", "sid", "role", "epoch", "exp", "iat", "nbf", "jti"] {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(claim);
        forged.push((claim, token(&ours, &without, &key)));
    }
    for (what, forged) in forged {
        let answer = me(&forged).await;
        assert_eq!((answer.status(), answer.json()["code"].as_str()), (401, Some("invalid_token")), "{what}");
    }
    let lifted = fleet.resign(tenant.member("viewer").await.bearer(), |claims| claims["role"] = json!("owner")).await;
    let lifted = fleet.replica.member(&tenant.slug, &lifted);
    lifted.post("/v1/projects", &json!({ "name": "mine" })).await.problem(403, "forbidden");
}

fn base64_url(value: &Value) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn with_padding(url_safe: &str) -> String {
    let standard = url_safe.replace('-', "+").replace('_', "/");
    format!("{standard}{}", "=".repeat((4 - standard.len() % 4) % 4))
}

#[tokio::test]
async fn anybody_can_verify_a_token_with_the_published_keys() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let keys = tenant.anonymous().get("/.well-known/jwks.json").await;
    assert_eq!(keys.header("cache-control"), "public, max-age=300");
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys.expect(200)).unwrap();
    let bearer = tenant.admin.bearer().expose_secret();
    let header = jsonwebtoken::decode_header(bearer).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&[&tenant.id]);
    rules.set_issuer(&[format!("http://{}.localhost", tenant.slug)]);
    let claims = jsonwebtoken::decode::<Value>(bearer, &key, &rules).unwrap().claims;
    assert_eq!((&claims["tid"], &claims["role"]), (&json!(tenant.id), &json!("owner")));
}

#[tokio::test]
async fn an_operators_key_opens_the_admin_listener_as_far_as_its_scopes() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let operator = fleet.operator();
    operator.get("/platform/v1/tenants").await.expect(200);
    operator.post("/v1/auth/logout", &json!({})).await.problem(403, "session_required");
    let at_tenant = fleet.replica.member(&tenant.slug, operator.bearer());
    at_tenant.get(ME).await.problem(401, "invalid_token");
    let mut mistyped = operator.bearer().expose_secret().to_owned();
    mistyped.replace_range(40..41, if &mistyped[40..41] == "0" { "1" } else { "0" });
    fleet.replica.operator(&mistyped.into()).get(ME).await.problem(401, "invalid_token");
    let alone = fleet::alone().await;
    let platform = alone.platform_database().await;
    let all: Vec<String> = platform.value("SELECT scopes FROM freehold.api_keys").await;
    for (change, status, code) in [
        ("scopes = '{tenants:read}'", 403, "forbidden"),
        ("expires_at = now()", 401, "invalid_token"),
        ("expires_at = NULL, allowed_addresses = '{192.0.2.0/24}'", 401, "invalid_token"),
        ("allowed_addresses = NULL, revoked_at = now()", 401, "invalid_token"),
    ] {
        platform.run(&format!("UPDATE freehold.api_keys SET {change}")).await;
        forget(&alone).await;
        alone.operator().get("/platform/v1/servers").await.problem(status, code);
    }
    platform.run(&format!("UPDATE freehold.api_keys SET revoked_at = NULL, scopes = '{{{}}}'", all.join(","))).await;
    forget(&alone).await;
    alone.operator().get("/platform/v1/servers").await.expect(200);
}

/// Makes the replica look again at who may do what, as whoever changes a right does.
async fn forget(fleet: &Fleet) {
    let raise = "UPDATE tenants SET epoch = epoch + 1 WHERE kind = 'platform'";
    fleet.control().run(raise).await;
    // The notification is on its way: within a second it has arrived (promises.md §2).
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Tries until the tries are refused; answers with how many were let through and the refusal.
async fn guess(anonymous: &Anonymous, email: &str) -> (usize, Answer) {
    for tries in 0..20 {
        let answer = anonymous.login(email, WRONG).await;
        if answer.status() == 429 {
            return (tries, answer);
        }
        answer.problem(401, "invalid_credentials");
    }
    panic!("nobody stops {email}");
}

#[tokio::test]
async fn guessing_is_stopped_for_known_and_unknown_names_alike() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let mut refusals = BTreeSet::new();
    for email in [tenant.admin_email.as_str(), "nobody@example.com"] {
        let (tries, refusal) = guess(&anonymous, email).await;
        assert_eq!(tries, 5, "then delays begin");
        assert_eq!(refusal.header("retry-after"), "1");
        refusals.insert(anonymised(refusal.problem(429, "too_many_attempts")).to_string());
    }
    assert_eq!(refusals.len(), 1);
    anonymous.login(&tenant.admin_email, PASSWORD).await.problem(429, "too_many_attempts");
    tenant.admin.get(ME).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    anonymous.login(&tenant.admin_email, PASSWORD).await.expect(200);
    anonymous.login(&tenant.admin_email, WRONG).await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn parallel_guesses_never_exceed_the_limit() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let answers = futures::future::join_all((0..30).map(|_| anonymous.login(&tenant.admin_email, WRONG))).await;
    let tried = answers.iter().filter(|answer| answer.status() == 401).count();
    // Those that waited for their hash in vain were withdrawn, and made room for others.
    let withdrawn = answers.iter().filter(|answer| answer.status() == 503).count();
    assert!(tried <= 5 && tried + withdrawn >= 5, "{tried} tries, {withdrawn} withdrawn");
}

#[tokio::test]
async fn without_redis_all_replicas_count_together() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[("FREEHOLD_REDIS_URL", "redis://127.0.0.1:1")], Clock::default()).await;
    let ready = other.admin_anonymous().get("/health/ready").await.expect(200);
    assert_eq!(ready["status"], "degraded");
    let anonymous = other.anonymous(&tenant.slug);
    let (tries, refusal) = guess(&anonymous, &tenant.admin_email).await;
    refusal.problem(429, "too_many_attempts");
    assert_eq!(tries, 5, "then delays begin");
    other.member(&tenant.slug, tenant.admin.bearer()).get(ME).await.expect(200);
    tenant.anonymous().login(&tenant.admin_email, PASSWORD).await.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn a_storm_of_sign_ins_never_hashes_more_than_allowed_at_once() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, member) = (tenant.anonymous(), tenant.admin.clone());
    let storm = async {
        let one = async |number: usize| anonymous.login(&format!("{number}@example.com"), WRONG).await;
        futures::future::join_all((0..40).map(one)).await
    };
    let (mut most, mut served) = (0.0_f64, 0);
    let watch = async {
        loop {
            most = most.max(hashing(fleet).await);
            member.get("/v1/projects").await.expect(200);
            served += 1;
        }
    };
    let answers = tokio::select! {
        answers = storm => answers,
        () = watch => unreachable!(),
    };
    // Two fleets run in this process, and write to one gauge.
    assert!((1.0..=4.0).contains(&most), "{most} at once");
    assert!(served > 0, "the rest of the API lives");
    for answer in answers {
        match answer.status() {
            503 => drop(answer.problem(503, "hashing_busy")),
            429 => drop(answer.problem(429, "too_many_attempts")),
            _ => drop(answer.problem(401, "invalid_credentials")),
        }
    }
}

/// How many passwords are being hashed now, as the metrics say.
async fn hashing(fleet: &Fleet) -> f64 {
    let metrics = fleet.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("freehold_password_hashes_running "));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_demoted_user_loses_the_right_with_the_next_epoch_and_an_inactive_one_everything() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let id = member.get(ME).await.expect(200)["email"].as_str().unwrap().to_owned();
    member.post("/v1/projects", &json!({ "name": "mine" })).await.expect(201);
    for (change, status, code) in [("role = 'viewer'", 403, "forbidden"), ("active = false", 401, "invalid_token")] {
        tenant.database().run(&format!("UPDATE freehold.users SET {change} WHERE email = '{id}'")).await;
        fleet.control().run(&format!("UPDATE tenants SET epoch = epoch + 1 WHERE slug = '{}'", tenant.slug)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        member.post("/v1/projects", &json!({ "name": "mine" })).await.problem(status, code);
    }
}
