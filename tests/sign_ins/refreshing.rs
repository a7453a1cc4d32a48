//! Refresh tokens: a lost answer signs nobody out, and two holders of one family are always found out.

use std::collections::BTreeSet;

use freehold::types::Clock;
use serde_json::{Value, json};

use super::{ME, below, holder, patiently, signed_in};
use crate::harness::{
    PASSWORD,
    actors::Caller,
    earlier, eventually,
    fleet::{self, Fleet},
    tenant::Tenant,
};

const REFRESH: &str = "/v1/auth/refresh";

async fn refreshed(anonymous: &Caller, token: &Value) -> Value {
    patiently(anonymous, REFRESH, &json!({ "refresh_token": token })).await.expect(200)
}

async fn is_refused(anonymous: &Caller, token: &Value) {
    let body = json!({ "refresh_token": token });
    patiently(anonymous, REFRESH, &body).await.problem(401, "invalid_refresh_token");
}

/// Lets so many milliseconds pass for the tenant's refresh tokens.
async fn pass(session: &tokio_postgres::Client, millis: u32) {
    let sql = format!(
        "UPDATE freehold.refresh_tokens SET used_at = used_at - interval '{millis} ms',
             issued_at = issued_at - interval '{millis} ms', confirmed_at = confirmed_at - interval '{millis} ms'"
    );
    session.batch_execute(&sql).await.unwrap();
}

/// Loses the answer to so many refreshes, and asks again after 0.1 to 120 s: once, or until the second answer is lost
/// too.
async fn lose_answers(losses: u32) {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, session) = (tenant.anonymous(), tenant.database().connect().await.unwrap());
    let mut tokens = tenant.login().await;
    for loss in 0..losses {
        let lost = refreshed(&anonymous, &tokens["refresh_token"]).await;
        for _ in 0..=loss % 3 {
            pass(&session, 100 + below(119_900)).await;
            let again = refreshed(&anonymous, &tokens["refresh_token"]).await;
            assert_eq!(again["refresh_token"], lost["refresh_token"], "never a second successor");
        }
        // The last answer arrives. Some clients use its access token before they refresh again, some do not.
        tokens = refreshed(&anonymous, &tokens["refresh_token"]).await;
        if loss % 2 == 0 {
            holder(fleet, &tenant, &tokens).get(ME).await.expect(200);
        }
    }
    holder(fleet, &tenant, &tokens).get(ME).await.expect(200);
    let ended = "SELECT count(*) FROM freehold.sessions WHERE revoked_at IS NOT NULL";
    assert_eq!(tenant.database().value::<i64>(ended).await, 0);
}

#[tokio::test]
async fn a_lost_answer_signs_nobody_out() {
    lose_answers(40).await;
}

#[tokio::test]
#[ignore = "long: ./ops/test --soak"]
async fn a_thousand_lost_answers_sign_nobody_out() {
    lose_answers(1_000).await;
}

/// One family in two hands, in one of the ways in which that comes to light.
async fn share_a_family(fleet: &Fleet, tenant: &Tenant<'_>, way: u32) {
    let (anonymous, session) = (tenant.anonymous(), tenant.database().connect().await.unwrap());
    let first = signed_in(&anonymous, &tenant.admin_email, PASSWORD).await;
    let second = refreshed(&anonymous, &first["refresh_token"]).await;
    let mut all = vec![second.clone()];
    let shown = match way % 5 {
        // One has got the answer and uses its access token; the other one comes with the token before.
        0 => {
            holder(fleet, tenant, &second).get(ME).await.expect(200);
            first
        }
        // The same after a look-up of the session was remembered.
        1 => {
            holder(fleet, tenant, &first).get(ME).await.expect(200);
            holder(fleet, tenant, &second).get(ME).await.expect(200);
            holder(fleet, tenant, &second).get(ME).await.expect(200);
            first
        }
        // One has refreshed again meanwhile.
        2 => {
            all.push(refreshed(&anonymous, &second["refresh_token"]).await);
            first
        }
        // Both got the same token, and one has used it.
        3 => {
            let same = refreshed(&anonymous, &first["refresh_token"]).await;
            assert_eq!(same["refresh_token"], second["refresh_token"]);
            let third = refreshed(&anonymous, &second["refresh_token"]).await;
            holder(fleet, tenant, &third).get(ME).await.expect(200);
            all.push(third);
            same
        }
        // Nobody asks for a lost answer so late.
        _ => {
            pass(&session, 601_000).await;
            first
        }
    };
    is_refused(&anonymous, &shown["refresh_token"]).await;
    for tokens in all {
        is_refused(&anonymous, &tokens["refresh_token"]).await;
        holder(fleet, tenant, &tokens).get(ME).await.problem(401, "invalid_token");
    }
    let events = "SELECT count(*) FROM freehold.audit_events WHERE action = 'refresh_token.reused'";
    assert_eq!(tenant.database().value::<i64>(events).await, i64::from(way) + 1, "each told once");
}

async fn share_families(times: u32) {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    for way in 0..times {
        share_a_family(fleet, &tenant, way).await;
    }
    tenant.admin.get(ME).await.expect(200);
}

#[tokio::test]
async fn a_thief_and_the_owner_of_one_family_are_found_out() {
    share_families(10).await;
}

#[tokio::test]
#[ignore = "long: ./ops/test --soak"]
async fn a_thief_and_the_owner_are_found_out_a_thousand_times() {
    share_families(1_000).await;
}

/// Everybody refreshes at once, on two replicas: so many rounds.
async fn crowd(rounds: u32) {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let (here, there) = (tenant.anonymous(), other.anonymous(&tenant.slug));
    let mut tokens = tenant.login().await;
    for round in 0..rounds {
        let token = &tokens["refresh_token"];
        let uses = (0..64).map(|number| refreshed(if number % 2 == 0 { &here } else { &there }, token));
        let answers = futures::future::join_all(uses).await;
        let successors: BTreeSet<_> = answers.iter().map(|answer| answer["refresh_token"].to_string()).collect();
        assert_eq!(successors.len(), 1, "round {round}");
        tokens = answers.into_iter().next_back().unwrap();
    }
    let stored = "SELECT count(*) FROM freehold.refresh_tokens t JOIN freehold.sessions s ON s.id = t.session_id
                  WHERE s.revoked_at IS NULL AND t.used_at IS NULL";
    assert_eq!(tenant.database().value::<i64>(stored).await, 2, "one of each session");
}

#[tokio::test]
async fn parallel_refreshes_on_two_replicas_get_one_successor() {
    crowd(3).await;
}

#[tokio::test]
#[ignore = "long: ./ops/test --soak"]
async fn two_hundred_rounds_of_parallel_refreshes_get_one_successor_each() {
    crowd(200).await;
}

#[tokio::test]
async fn people_of_a_tenant_that_no_rollout_has_reached_stay_signed_in() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let id = tenant.id.trim_start_matches("ten_");
    fleet.control().run(&format!("UPDATE tenants SET freehold_version = 1 WHERE id = '{id}'")).await;
    let anonymous = tenant.anonymous();
    eventually("new routes to be refused", async || {
        let answer = tenant.admin.post("/v1/auth/mfa/totp/setup", &json!({})).await;
        (answer.status() == 503).then(|| answer.problem(503, "tenant_schema_outdated"))
    })
    .await;
    tenant.database().run(&earlier::back_to(1)).await;
    tenant.admin.get("/v1/auth/sessions").await.expect(200);
    let first = tenant.login().await;
    holder(fleet, &tenant, &first).get(ME).await.expect(200);
    let second = refreshed(&anonymous, &first["refresh_token"]).await;
    let again = refreshed(&anonymous, &first["refresh_token"]).await;
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    holder(fleet, &tenant, &second).get(ME).await.expect(200);
    pass_version_1(&tenant).await;
    is_refused(&anonymous, &first["refresh_token"]).await;
    is_refused(&anonymous, &second["refresh_token"]).await;
    tenant.admin.post("/v1/auth/logout", &json!({})).await.expect(204);
    tenant.erase().await;
}

/// Lets eleven seconds pass where confirmations are unknown.
async fn pass_version_1(tenant: &Tenant<'_>) {
    tenant.database().run("UPDATE freehold.refresh_tokens SET used_at = used_at - interval '11 s'").await;
}
