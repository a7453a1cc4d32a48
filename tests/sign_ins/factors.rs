//! Second factors: set up, asked for, used up, replaced, required, taken away.

use freehold::types::Clock;
use serde_json::{Value, json};

use super::{
    App, CONFIRM, CONFIRM_ENROLMENT, DISABLE, ENROL, ME, RECOVERY_CODES, SETTINGS, SETUP, STEP_UP, VERIFY, age_proofs,
    as_admin, forget_steps, holder, patiently, tried, with_app,
};
use crate::{
    cloning::made,
    harness::{PASSWORD, actors::Caller, answer::Answer, eventually, fleet, tenant::Tenant, unique},
};

/// The token of a sign-in whose password was right.
async fn half_way(anonymous: &Caller, body: &Value, code: &str) -> String {
    let answer = tried(anonymous, body).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.problem(401, code)["mfa_token"].as_str().unwrap().to_owned()
}

async fn verified(anonymous: &Caller, token: &str, code: &str) -> Answer {
    patiently(anonymous, VERIFY, &json!({ "mfa_token": token, "code": code })).await
}

#[tokio::test]
async fn an_app_is_asked_for_once_it_is_confirmed() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, admin) = (tenant.anonymous(), &tenant.admin);
    let setup = admin.post(SETUP, &json!({})).await;
    assert_eq!(setup.header("cache-control"), "no-store");
    let setup = setup.expect(200);
    let secret = setup["secret"].as_str().unwrap();
    assert!(setup["otpauth_uri"].as_str().unwrap().contains(&format!("secret={secret}&issuer=A%20tenant&")));
    assert!(setup["qr_svg"].as_str().unwrap().contains("<svg"));
    let app = App::of(secret);
    let stored = "SELECT data::text FROM freehold.credentials WHERE kind = 'totp'";
    assert!(!tenant.database().value::<String>(stored).await.contains(secret));
    assert_eq!(admin.get(ME).await.expect(200)["mfa_enabled"], false);
    tried(&anonymous, &as_admin(&tenant)).await.expect(200);
    admin.post(CONFIRM, &json!({ "code": app.wrong() })).await.wrong_field("code", "wrong_code");
    let (used, next) = (app.code(0), app.code(1));
    let codes = admin.post(CONFIRM, &json!({ "code": used })).await.expect(200);
    assert_eq!(codes["recovery_codes"].as_array().unwrap().len(), 10);
    assert_eq!(admin.get(ME).await.expect(200)["mfa_enabled"], true);
    admin.post(CONFIRM, &json!({ "code": next })).await.wrong_field("code", "wrong_code");

    let token = half_way(&anonymous, &as_admin(&tenant), "mfa_required").await;
    verified(&anonymous, &token, &app.wrong()).await.problem(401, "invalid_code");
    verified(&anonymous, &token, &used).await.problem(401, "invalid_code");
    let tokens = verified(&anonymous, &token, &next).await.expect(200);
    holder(fleet, &tenant, &tokens).get(ME).await.expect(200);
    verified(&anonymous, &token, &next).await.problem(401, "invalid_mfa_token");
    let mut body = as_admin(&tenant);
    body["mfa_code"] = json!(next);
    tried(&anonymous, &body).await.problem(401, "invalid_code");
    forget_steps(&tenant.database()).await;
    tried(&anonymous, &body).await.expect(200);
}

#[tokio::test]
async fn a_recovery_code_opens_once_and_new_ones_replace_all() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let (_, codes) = with_app(&tenant.admin).await;
    let sign_in = async |code: &str| {
        let mut body = as_admin(&tenant);
        body["mfa_code"] = json!(code);
        tried(&anonymous, &body).await
    };
    sign_in(&codes[0].to_uppercase().replace('-', " ")).await.expect(200);
    sign_in(&codes[0]).await.problem(401, "invalid_code");
    let left = "SELECT count(*) FROM freehold.credentials WHERE kind = 'recovery_code'";
    assert_eq!(tenant.database().value::<i64>(left).await, 9);
    let stored = "SELECT string_agg(data::text, ' ') FROM freehold.credentials WHERE kind = 'recovery_code'";
    assert!(!tenant.database().value::<String>(stored).await.contains(&codes[1]));
    let anew = tenant.admin.post(RECOVERY_CODES, &json!({})).await.expect(200);
    sign_in(&codes[1]).await.problem(401, "invalid_code");
    sign_in(anew["recovery_codes"][9].as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn one_code_is_accepted_once_on_two_replicas() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let (app, recovery) = with_app(&tenant.admin).await;
    let (here, there) = (tenant.anonymous(), other.anonymous(&tenant.slug));
    // As many sign-ins as there are codes shown, whose passwords were right.
    let begin = "INSERT INTO freehold.sign_in_steps (token_hash, user_id, purpose, expires_at)
        SELECT sha256(convert_to('step ' || n, 'UTF8')), id, 'code', now() + interval '10 min'
        FROM freehold.users, generate_series(1, 64) n";
    for code in [app.code(1), recovery[0].clone()] {
        tenant.database().run(begin).await;
        let show = async |number: usize| {
            let caller = if number.is_multiple_of(2) { &here } else { &there };
            verified(caller, &format!("step {number}"), &code).await.status()
        };
        let answers = futures::future::join_all((1..=64).map(show)).await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        tenant.database().run("DELETE FROM freehold.sign_in_steps").await;
        // What was wrong before the right one came is forgotten, what came after it may wait some seconds.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        eventually("the account not to wait any more", async || {
            (tried(&here, &as_admin(&tenant)).await.status() == 401).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_right_password_takes_back_no_wrong_code_wherever_it_is_shown() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let (app, _) = with_app(&tenant.admin).await;
    let mut with_code = as_admin(&tenant);
    with_code["mfa_code"] = json!(app.wrong());
    let proof = json!({ "password": PASSWORD, "code": app.wrong() });
    let mut shown = 0;
    // Five are looked at, then delays begin. On a busy machine a delay may be over before the next one comes.
    for way in (0..3).cycle().take(30) {
        let answer = match way {
            0 => tried(&anonymous, &with_code).await,
            1 => verified(&anonymous, &insert_step(&tenant, "code").await, &app.wrong()).await,
            _ => patiently(&tenant.admin, STEP_UP, &proof).await,
        };
        if answer.status() == 429 {
            break;
        }
        assert!(matches!(answer.status(), 401 | 422), "{}", answer.text());
        shown += 1;
        // A right password in between.
        if tried(&anonymous, &as_admin(&tenant)).await.status() == 429 {
            break;
        }
    }
    assert!((5..10).contains(&shown), "{shown}");
}

/// A step of the first administrator, as if its password had been right.
pub(crate) async fn insert_step(tenant: &Tenant<'_>, purpose: &str) -> String {
    let token = unique("step");
    let sql = format!(
        "INSERT INTO freehold.sign_in_steps (token_hash, user_id, purpose, expires_at)
         SELECT sha256('{token}'), id, '{purpose}', now() + interval '10 min' FROM freehold.users
         WHERE email = '{}'",
        tenant.admin_email
    );
    tenant.database().run(&sql).await;
    token
}

#[tokio::test]
async fn a_proof_needs_the_code_too() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (app, _) = with_app(&tenant.admin).await;
    age_proofs(&tenant.database(), 16).await;
    let proof = |code: Value| json!({ "password": PASSWORD, "code": code });
    patiently(&tenant.admin, STEP_UP, &json!({ "password": PASSWORD })).await.wrong_field("code", "required");
    patiently(&tenant.admin, STEP_UP, &proof(json!(app.wrong()))).await.wrong_field("code", "wrong_code");
    let stale = tenant.admin.post(SETUP, &json!({})).await;
    assert_eq!(stale.json()["code"], "insufficient_user_authentication");
    let next = proof(json!(app.code(1)));
    patiently(&tenant.admin, STEP_UP, &next).await.expect(204);
    tenant.admin.post(SETUP, &json!({})).await.expect(200);
    patiently(&tenant.admin, STEP_UP, &next).await.wrong_field("code", "wrong_code");
}

#[tokio::test]
async fn an_app_is_taken_away_by_who_proves_themselves() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    tenant.admin.post(DISABLE, &json!({ "password": PASSWORD })).await.problem(409, "mfa_not_enabled");
    with_app(&tenant.admin).await;
    let wrong = json!({ "password": "not my password it is" });
    patiently(&tenant.admin, DISABLE, &wrong).await.wrong_field("password", "wrong_password");
    let waiting = half_way(&tenant.anonymous(), &as_admin(&tenant), "mfa_required").await;
    patiently(&tenant.admin, DISABLE, &json!({ "password": PASSWORD })).await.expect(204);
    let left = "SELECT count(*) FROM freehold.credentials WHERE kind <> 'password'";
    assert_eq!(tenant.database().value::<i64>(left).await, 0);
    verified(&tenant.anonymous(), &waiting, "000000").await.problem(401, "invalid_mfa_token");
    tried(&tenant.anonymous(), &as_admin(&tenant)).await.expect(200);
}

#[tokio::test]
async fn where_a_factor_is_required_it_is_set_up_in_the_next_sign_in() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let policy = json!({ "mfa_required": true, "password_min_length": 8 });
    tenant.admin.patch(SETTINGS, &policy).await.expect(200);
    tenant.admin.get(ME).await.expect(200);
    let token = half_way(&anonymous, &as_admin(&tenant), "mfa_enrolment_required").await;
    let confirm = async |token: &str, code: &str| {
        patiently(&anonymous, CONFIRM_ENROLMENT, &json!({ "mfa_token": token, "code": code })).await
    };
    confirm(&token, "000000").await.problem(401, "invalid_code");
    let setup = anonymous.post(ENROL, &json!({ "mfa_token": token })).await.expect(200);
    let app = App::of(setup["secret"].as_str().unwrap());
    confirm(&token, &app.wrong()).await.problem(401, "invalid_code");
    let enrolled = confirm(&token, &app.code(0)).await.expect(200);
    assert_eq!(enrolled["recovery_codes"].as_array().unwrap().len(), 10);
    let member = holder(fleet, &tenant, &enrolled);
    assert_eq!(member.get(ME).await.expect(200)["mfa_enabled"], true);
    confirm(&token, &app.code(1)).await.problem(401, "invalid_mfa_token");
    half_way(&anonymous, &as_admin(&tenant), "mfa_required").await;
    let password = json!({ "password": PASSWORD });
    patiently(&member, DISABLE, &password).await.problem(409, "mfa_required_by_tenant");
    // A short password protects nobody alone.
    member.patch(SETTINGS, &json!({ "mfa_required": false })).await.wrong_field("password_min_length", "invalid_range");
}

#[tokio::test]
async fn a_password_that_has_to_be_changed_is_changed_with_the_code_only() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let (app, _) = with_app(&tenant.admin).await;
    tenant
        .database()
        .run("UPDATE freehold.credentials SET data = data || '{\"must_change\": true}' WHERE kind = 'password'")
        .await;
    let mut body = as_admin(&tenant);
    tried(&anonymous, &body).await.problem(401, "password_change_required");
    body["new_password"] = json!("eight blue kettles hum gently");
    half_way(&anonymous, &body, "mfa_required").await;
    body["mfa_code"] = json!(app.wrong());
    tried(&anonymous, &body).await.problem(401, "invalid_code");
    // The old one is still the password.
    tried(&anonymous, &as_admin(&tenant)).await.problem(401, "password_change_required");
    body["mfa_code"] = json!(app.code(1));
    tried(&anonymous, &body).await.expect(200);
    tried(&anonymous, &as_admin(&tenant)).await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn people_sign_in_at_a_clone_with_their_app() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let (app, codes) = with_app(&tenant.admin).await;
    let clone = made(&fleet, &tenant).await;
    let here = fleet.replica.anonymous(clone["slug"].as_str().unwrap());
    half_way(&here, &as_admin(&tenant), "mfa_required").await;
    for code in [app.code(1), codes[0].clone()] {
        let mut body = as_admin(&tenant);
        body["mfa_code"] = json!(code);
        tried(&here, &body).await.expect(200);
        // What was used at the clone was not used at the source.
        tried(&tenant.anonymous(), &body).await.expect(200);
    }
}

#[tokio::test]
async fn a_trusted_device_shows_no_code_until_it_is_forgotten() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, database) = (tenant.anonymous(), tenant.database());
    let (app, codes) = with_app(&tenant.admin).await;
    let trust = async |code: &str| {
        let token = half_way(&anonymous, &as_admin(&tenant), "mfa_required").await;
        let body = json!({ "mfa_token": token, "code": code, "trust_device": true });
        let tokens = patiently(&anonymous, VERIFY, &body).await.expect(200);
        tokens["device_token"].as_str().unwrap().to_owned()
    };
    let with = |device: &str, password: &str| json!({ "email": tenant.admin_email, "password": password, "device_token": device });
    let device = trust(&app.code(1)).await;
    let tokens = tried(&anonymous, &with(&device, PASSWORD)).await.expect(200);
    assert_eq!(tokens["device_token"], Value::Null, "shown once");
    tried(&anonymous, &with(&device, "not my password it is")).await.problem(401, "invalid_credentials");
    half_way(&anonymous, &with("another device", PASSWORD), "mfa_required").await;
    // It is its user's alone.
    let colleague = tenant.member("member").await;
    let email = colleague.get(ME).await.expect(200)["email"].clone();
    with_app(&colleague).await;
    let theirs = json!({ "email": email, "password": PASSWORD, "device_token": device });
    half_way(&anonymous, &theirs, "mfa_required").await;

    let expire = "UPDATE freehold.credentials SET data = data || '{\"expires_at\": \"2020-01-31T00:00:00Z\"}'
                  WHERE kind = 'known_device'";
    database.run(expire).await;
    half_way(&anonymous, &with(&device, PASSWORD), "mfa_required").await;
    let device = trust(&codes[0]).await;
    let known = "SELECT count(*) FROM freehold.credentials c JOIN freehold.users u ON u.id = c.user_id
                 WHERE c.kind = 'known_device' AND u.role = 'owner'";
    assert_eq!(database.value::<i64>(known).await, 1, "the expired ones are gone");
    tenant.admin.delete("/v1/auth/mfa/devices").await.expect(204);
    half_way(&anonymous, &with(&device, PASSWORD), "mfa_required").await;
    let device = trust(&codes[1]).await;
    let change = json!({ "current_password": PASSWORD, "new_password": "eight blue kettles hum gently" });
    patiently(&tenant.admin, super::CHANGE, &change).await.expect(204);
    half_way(&anonymous, &with(&device, "eight blue kettles hum gently"), "mfa_required").await;
}

#[tokio::test]
async fn operators_have_second_factors_too() {
    let fleet = fleet::shared().await;
    let operator = fleet.operator_with_role("viewer").await;
    let email = operator.get(ME).await.expect(200)["email"].clone();
    let (app, codes) = with_app(&operator).await;
    let anonymous = fleet.replica.admin_anonymous();
    let mut body = json!({ "email": email, "password": PASSWORD });
    let token = half_way(&anonymous, &body, "mfa_required").await;
    verified(&anonymous, &token, &app.code(1)).await.expect(200);
    body["mfa_code"] = json!(codes[3]);
    tried(&anonymous, &body).await.expect(200);
    patiently(&operator, DISABLE, &json!({ "password": PASSWORD })).await.expect(204);
}
