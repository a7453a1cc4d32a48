//! What is due of a tenant's people is taken away by a round through all tenants, and nothing else is.

use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD, eventually_within,
        fleet::{self, Fleet},
        tenant::Tenant,
    },
    people::id_of,
    sign_ins::{SETTINGS, holder, tried},
};

const ME: &str = "/v1/auth/me";

/// Waits for a round that begins now, and has come to its end.
async fn round(fleet: &Fleet) {
    let control = fleet.control();
    control.run("UPDATE checks SET asked_at = clock_timestamp() WHERE name = 'people.purge'").await;
    control.run("UPDATE schedules SET due_at = now() WHERE name = 'people.purge'").await;
    control.run("SELECT pg_notify('freehold_schedules', 'people.purge')").await;
    let ended = "SELECT asked_at IS NULL FROM checks WHERE name = 'people.purge'";
    eventually_within("the round", std::time::Duration::from_mins(1), async || {
        control.run("UPDATE schedules SET due_at = now() WHERE name = 'people.purge'").await;
        control.value::<bool>(ended).await.then_some(())
    })
    .await;
}

/// Somebody who was deleted so many days ago.
async fn deleted(tenant: &Tenant<'_>, days: u32) -> String {
    let member = tenant.member("member").await;
    let id = id_of(&member).await;
    tenant.admin.delete(&format!("/v1/users/{id}")).await.expect(204);
    let uuid = id.trim_start_matches("usr_");
    let sql = format!("UPDATE freehold.users SET deleted_at = now() - interval '{days} days' WHERE id = '{uuid}'");
    tenant.database().run(&sql).await;
    id
}

async fn is_there(tenant: &Tenant<'_>, id: &str) -> bool {
    tenant.admin.get(&format!("/v1/users/{id}")).await.status() == 200
}

#[tokio::test]
async fn deleted_people_are_erased_when_the_tenants_grace_time_has_passed() {
    let fleet = fleet::alone().await;
    let (tenant, other) = (fleet.tenant().await, fleet.tenant().await);
    let old = deleted(&tenant, 31).await;
    let young = deleted(&tenant, 29).await;
    let back = deleted(&tenant, 31).await;
    tenant.admin.post(&format!("/v1/users/{back}/restore"), &json!({})).await.expect(200);
    // Rows of the product's refer to this one, and keep them.
    let busy = deleted(&tenant, 40).await;
    let uuid = busy.trim_start_matches("usr_");
    let kept = format!(
        "CREATE TABLE public.keeps (user_id uuid REFERENCES freehold.users (id)); INSERT INTO public.keeps VALUES ('{uuid}')"
    );
    tenant.database().run(&kept).await;
    // Another tenant has decided otherwise.
    let decided = other.admin.patch(SETTINGS, &json!({ "deleted_user_days": 90 })).await.expect(200);
    assert_eq!(decided["deleted_user_days"], 90);
    let (kept, gone) = (deleted(&other, 89).await, deleted(&other, 91).await);
    round(&fleet).await;
    let there = [&old, &young, &back, &busy].map(|id| is_there(&tenant, id));
    assert_eq!(futures::future::join_all(there).await, [false, true, true, true]);
    assert_eq!((is_there(&other, &kept).await, is_there(&other, &gone).await), (true, false));
    let events = tenant.admin.get(&format!("/v1/audit-events?target={old}&action=user.erased")).await.expect(200);
    let event = &events["items"][0];
    assert_eq!((&event["actor"], &event["details"]), (&json!("system"), &json!({ "after_days": 30 })));
    let counts: Value = fleet.control().value("SELECT counts FROM checks WHERE name = 'people.purge'").await;
    assert!(counts["users"].as_i64() >= Some(2) && counts["kept"].as_i64() >= Some(1), "{counts}");
    for wrong in [0, 3_651] {
        let refused = tenant.admin.patch(SETTINGS, &json!({ "deleted_user_days": wrong })).await;
        refused.wrong_field("deleted_user_days", "invalid_range");
    }
    tenant.erase().await;
    other.erase().await;
}

#[tokio::test]
async fn what_has_ended_goes_and_what_lets_somebody_in_stays() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let database = tenant.database();
    let credentials = json!({ "email": tenant.admin_email, "password": PASSWORD });
    let (living, ended) = (tenant.login().await, tenant.login().await);
    holder(&fleet, &tenant, &ended).post("/v1/auth/logout", &json!({})).await.expect(204);
    let next = tenant.anonymous().refresh(&living["refresh_token"]).await.expect(200);
    let invite = json!({ "email": "guest@example.com", "role": "member" });
    let open = tenant.admin.post("/v1/invitations", &invite).await.expect(201);
    let old = json!({ "email": "other@example.com", "role": "member" });
    let old = tenant.admin.post("/v1/invitations", &old).await.expect(201);
    tenant.admin.delete(&format!("/v1/invitations/{}", old["id"].as_str().unwrap())).await.expect(204);
    let expired = crate::sign_ins::insert_step(&tenant, "code").await;
    let device = "0".repeat(64);
    let arranged = format!(
        "UPDATE freehold.sign_in_steps SET expires_at = now() - interval '1 s';
         UPDATE freehold.sessions SET revoked_at = now() - interval '31 days' WHERE revoked_at IS NOT NULL;
         UPDATE freehold.invitations SET revoked_at = now() - interval '31 days' WHERE revoked_at IS NOT NULL;
         INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
         SELECT gen_random_uuid(), u.id, kind, '{device}', '{{\"expires_at\": \"2020-01-01T00:00:00Z\"}}'
         FROM unnest(ARRAY['trusted_device', 'known_device']) kind, (SELECT id FROM freehold.users LIMIT 1) u;
         INSERT INTO freehold.account_tokens (token_hash, purpose, email, expires_at)
         VALUES (sha256('old'), 'verification', 'old@example.com', now() - interval '25 hours'),
                (sha256('new'), 'verification', 'new@example.com', now() - interval '1 hour');
         INSERT INTO freehold.sign_in_attempts (subject, kind, ends_at)
         VALUES (sha256('old'), 'account', now() - interval '1 s'),
                (sha256('new'), 'account', now() + interval '1 hour')"
    );
    database.run(&arranged).await;
    assert!(!expired.is_empty());
    let count = async |from: &str| database.value::<i64>(&format!("SELECT count(*) FROM freehold.{from}")).await;
    // The spent token is there: its session lives, and a second use of it has to be found out.
    let spent = count("refresh_tokens WHERE used_at IS NOT NULL").await;
    round(&fleet).await;
    assert_eq!(count("sign_in_steps").await, 0);
    assert_eq!(count(&format!("credentials WHERE handle = '{device}'")).await, 0);
    assert_eq!(count("account_tokens WHERE email IN ('old@example.com', 'new@example.com')").await, 1);
    assert_eq!(count("sign_in_attempts WHERE subject IN (sha256('old'), sha256('new'))").await, 1);
    assert_eq!(count("sessions WHERE revoked_at IS NOT NULL").await, 0);
    assert_eq!((count("invitations").await, spent), (1, 1));
    assert_eq!(count("refresh_tokens WHERE used_at IS NOT NULL").await, 1);
    holder(&fleet, &tenant, &next).get(ME).await.expect(200);
    tenant.admin.get(ME).await.expect(200);
    tried(&tenant.anonymous(), &credentials).await.expect(200);
    // An expired one is a thief's no more, and goes.
    database.run("UPDATE freehold.refresh_tokens SET expires_at = now() WHERE used_at IS NOT NULL").await;
    round(&fleet).await;
    assert_eq!(count("refresh_tokens WHERE used_at IS NOT NULL").await, 0);
    let accept = json!({ "token": open["token"], "password": "eight blue kettles hum gently" });
    crate::sign_ins::patiently(&tenant.anonymous(), "/v1/auth/invitations/accept", &accept).await.expect(204);
    tenant.erase().await;
}
