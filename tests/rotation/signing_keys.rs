//! The keys that sign a tenant's access tokens.

use std::{collections::BTreeSet, time::Duration};

use freehold::{
    operations::tenants::rotate_signing_keys,
    types::{Clock, KeyId, Random},
};
use jsonwebtoken::decode_header;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{
    actors::Caller,
    eventually,
    fleet::{self, Fleet, RUNTIME},
    tenant::Tenant,
};

/// A key is published this long before it signs.
const PUBLISHED_BEFORE: Duration = Duration::from_secs(5);

/// The `kid` of the new key.
pub(super) async fn rotate(fleet: &Fleet, tenant: &Tenant<'_>) -> String {
    ask(fleet, tenant, &json!({})).await
}

async fn ask(fleet: &Fleet, tenant: &Tenant<'_>, body: &Value) -> String {
    let path = format!("/platform/v1/tenants/{}/rotate-signing-keys", tenant.id);
    let rotated = fleet.operator().post(&path, body).await.expect(200);
    rotated["key_id"].as_str().unwrap().to_owned()
}

async fn published(caller: &Caller) -> BTreeSet<String> {
    let set = caller.get("/.well-known/jwks.json").await.expect(200);
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn key_of(tokens: &Value) -> String {
    decode_header(tokens["access_token"].as_str().unwrap()).unwrap().kid.unwrap()
}

#[tokio::test]
async fn a_key_is_published_everywhere_before_it_signs_and_the_one_before_goes_on_verifying() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let twin = fleet.another_replica(&[], Clock::default()).await;
    let (here, there) = (tenant.anonymous(), twin.anonymous(&tenant.slug));
    let first = key_of(&tenant.login().await);
    assert_eq!(published(&there).await, BTreeSet::from([first.clone()]));

    let rotated = Instant::now();
    let second = rotate(fleet, &tenant).await;
    let both = BTreeSet::from([first.clone(), second.clone()]);
    eventually("both keys at both replicas", async || {
        (published(&here).await == both && published(&there).await == both).then_some(())
    })
    .await;
    assert!(rotated.elapsed() < PUBLISHED_BEFORE, "published in {:?}", rotated.elapsed());
    let signed_by_first = tenant.login().await;
    if rotated.elapsed() < PUBLISHED_BEFORE {
        assert_eq!(key_of(&signed_by_first), first);
    }
    sleep(PUBLISHED_BEFORE).await;
    let tokens = tenant.login().await;
    assert_eq!(key_of(&tokens), second);
    for token in [&signed_by_first["access_token"], &tokens["access_token"]] {
        let bearer = SecretString::from(token.as_str().unwrap());
        twin.member(&tenant.slug, &bearer).get("/v1/projects").await.expect(200);
    }
}

#[tokio::test]
async fn revoked_keys_verify_nothing_and_refresh_tokens_buy_what_the_new_one_signed() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let twin = fleet.another_replica(&[], Clock::default()).await;
    let tokens = tenant.login().await;
    let old = SecretString::from(tokens["access_token"].as_str().unwrap());
    let (here, there) = (fleet.replica.member(&tenant.slug, &old), twin.member(&tenant.slug, &old));
    here.get("/v1/projects").await.expect(200);
    there.get("/v1/projects").await.expect(200);

    let key = ask(fleet, &tenant, &json!({ "revoke_previous": true })).await;
    here.get("/v1/projects").await.problem(401, "invalid_token");
    let refreshed = tenant.anonymous().refresh(&tokens["refresh_token"]).await.expect(200);
    assert_eq!(key_of(&refreshed), key);
    // At once: the other replica may not have heard of the key.
    let new = SecretString::from(refreshed["access_token"].as_str().unwrap());
    twin.member(&tenant.slug, &new).get("/v1/projects").await.expect(200);
    there.get("/v1/projects").await.problem(401, "invalid_token");
    assert_eq!(published(&there).await, BTreeSet::from([key]));
}

#[tokio::test]
async fn invented_keys_are_looked_for_rarely_and_keep_no_good_token_out() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let twin = fleet.another_replica(&[], Clock::default()).await;
    twin.member(&tenant.slug, tenant.admin.bearer()).get("/v1/projects").await.expect(200);
    let (_, foreign) = fleet.signing_key(&tenant.id).await;
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(tenant.admin.bearer().expose_secret()).unwrap();
    let invented = || {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        let kid = KeyId::generate(&Clock::default(), Random).to_string();
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(kid));
        SecretString::from(jsonwebtoken::encode(&header, &claims, &foreign).unwrap())
    };
    let strangers: Vec<_> = (0..50).map(|_| twin.member(&tenant.slug, &invented())).collect();
    let key = ask(fleet, &tenant, &json!({ "revoke_previous": true })).await;
    let good = tenant.login().await;
    assert_eq!(key_of(&good), key);
    let good = twin.member(&tenant.slug, &good["access_token"].as_str().unwrap().into());
    let began = Instant::now();
    let (refused, admitted) = tokio::join!(
        futures::future::join_all(strangers.iter().map(|stranger| stranger.get("/v1/projects"))),
        good.get("/v1/projects"),
    );
    admitted.expect(200);
    for answer in refused {
        answer.problem(401, "invalid_token");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn twenty_keys_of_a_tenant_verify_at_most() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    for _ in 1..20 {
        rotate(fleet, &tenant).await;
    }
    let path = format!("/platform/v1/tenants/{}/rotate-signing-keys", tenant.id);
    let refused = fleet.operator().post(&path, &json!({})).await;
    refused.problem(409, "rotation_too_frequent");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(published(&tenant.anonymous()).await.len(), 20);
    tenant.login().await;
    // A key that has leaked can be revoked all the same.
    ask(fleet, &tenant, &json!({ "revoke_previous": true })).await;
    assert_eq!(published(&tenant.anonymous()).await.len(), 1);
}

#[tokio::test]
async fn a_key_of_age_is_replaced_once_and_one_that_verifies_nothing_is_destroyed() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let id = tenant.id.replace("ten_", "");
    let age = format!("UPDATE signing_keys SET active_from = now() - interval '91 days' WHERE tenant_id = '{id}'");
    fleet.control().run(&age).await;
    let ctx = fleet.replica.app().operations().clone();
    let look = || {
        let ctx = ctx.clone();
        async move { rotate_signing_keys::replace_old(&ctx, Some(Duration::from_hours(90 * 24))).await.unwrap() }
    };
    let (one, other) = tokio::join!(RUNTIME.spawn(look()), RUNTIME.spawn(look()));
    one.unwrap();
    other.unwrap();
    let count = format!("SELECT count(*) FROM signing_keys WHERE tenant_id = '{id}'");
    assert_eq!(fleet.control().value::<i64>(&count).await, 2);
    let retired = format!(
        "UPDATE signing_keys SET retired_at = now() - interval '31 minutes'
          WHERE tenant_id = '{id}' AND retired_at IS NOT NULL"
    );
    fleet.control().run(&retired).await;
    RUNTIME.spawn(look()).await.unwrap();
    assert_eq!(fleet.control().value::<i64>(&count).await, 1);
}

#[tokio::test]
async fn a_tenant_whose_keys_cannot_be_opened_keeps_nobody_else_from_getting_a_new_one() {
    let fleet = fleet::alone().await;
    let [lost, other] = [fleet.tenant().await, fleet.tenant().await];
    let [lost_id, other_id] = [&lost, &other].map(|tenant| tenant.id.replace("ten_", ""));
    let control = fleet.control();
    for (id, days) in [(&lost_id, 92), (&other_id, 91)] {
        let age =
            format!("UPDATE signing_keys SET active_from = now() - interval '{days} days' WHERE tenant_id = '{id}'");
        control.run(&age).await;
    }
    control.run(&format!("UPDATE data_keys SET kek_id = 'lost-' || kek_id WHERE owner_id = '{lost_id}'")).await;
    let ctx = fleet.replica.app().operations().clone();
    let look = async move { rotate_signing_keys::replace_old(&ctx, Some(Duration::from_hours(90 * 24))).await };
    let looked = RUNTIME.spawn(look).await.unwrap();
    control
        .run(&format!("UPDATE data_keys SET kek_id = replace(kek_id, 'lost-', '') WHERE owner_id = '{lost_id}'"))
        .await;
    looked.unwrap();
    for (id, keys) in [(&lost_id, 1), (&other_id, 2)] {
        let count = format!("SELECT count(*) FROM signing_keys WHERE tenant_id = '{id}'");
        assert_eq!(control.value::<i64>(&count).await, keys);
    }
}
