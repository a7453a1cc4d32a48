//! How people stay signed in, prove that they are there, and what they sign in with: over HTTP, on one replica and two.

pub(crate) mod factors;
mod lifetimes;
mod passwords;
mod proofs;
mod refreshing;
mod steps;

pub(crate) use factors::insert_step;

use aws_lc_rs::hmac;
use freehold::types::{Clock, Random};
use serde_json::{Value, json};

use crate::harness::{
    PASSWORD,
    actors::{Caller, Member},
    answer::Answer,
    fleet::Fleet,
    sql::Database,
    tenant::Tenant,
};

pub(super) const ME: &str = "/v1/auth/me";
pub(super) const SESSIONS: &str = "/v1/auth/sessions";
pub(super) const SETTINGS: &str = "/v1/settings";
pub(super) const STEP_UP: &str = "/v1/auth/step-up";
pub(super) const CHANGE: &str = "/v1/auth/password/change";
pub(super) const SETUP: &str = "/v1/auth/mfa/totp/setup";
pub(super) const CONFIRM: &str = "/v1/auth/mfa/totp/confirm";
pub(super) const DISABLE: &str = "/v1/auth/mfa/totp/disable";
pub(super) const RECOVERY_CODES: &str = "/v1/auth/mfa/recovery-codes";
pub(super) const VERIFY: &str = "/v1/auth/mfa/verify";
pub(super) const ENROL: &str = "/v1/auth/mfa/totp/enrol";
pub(super) const CONFIRM_ENROLMENT: &str = "/v1/auth/mfa/totp/enrol/confirm";

/// Somebody with these tokens.
pub(super) fn holder(fleet: &Fleet, tenant: &Tenant<'_>, tokens: &Value) -> Member {
    fleet.replica.member(&tenant.slug, &tokens["access_token"].as_str().unwrap().into())
}

/// The tokens of a sign-in with a right password. On a busy machine somebody may have to ask again.
pub(super) async fn signed_in(anonymous: &Caller, email: &str, password: &str) -> Value {
    tried(anonymous, &json!({ "email": email, "password": password })).await.expect(200)
}

/// The answer to a sign-in, once there was a turn to hash.
pub(super) async fn tried(anonymous: &Caller, body: &Value) -> Answer {
    patiently(anonymous, "/v1/auth/login", body).await
}

/// The answer to a POST, once there was a turn for it.
pub(super) async fn patiently(caller: &Caller, path: &str, body: &Value) -> Answer {
    for _ in 0..60 {
        let answer = caller.post(path, body).await;
        if answer.status() != 503 {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    panic!("{path} is never answered");
}

/// An authenticator app, as it knows nothing of Freehold.
pub(super) struct App {
    seed: Vec<u8>,
}

impl App {
    /// Set up with the secret as it is shown.
    pub(super) fn of(secret: &str) -> Self {
        let digit = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).unwrap();
        let bits: Vec<bool> =
            secret.chars().map(digit).flat_map(|five| (0..5).rev().map(move |bit| (five >> bit) & 1 == 1)).collect();
        let byte = |eight: &[bool]| eight.iter().fold(0, |byte, bit| (byte << 1) | u8::from(*bit));
        Self { seed: bits.chunks_exact(8).map(byte).collect() }
    }

    /// What it shows now, or would show so many steps later.
    pub(super) fn code(&self, steps: i64) -> String {
        let step = Clock::default().unix_seconds() / 30 + steps;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.seed);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", word % 1_000_000)
    }

    /// A code that it does not show.
    pub(super) fn wrong(&self) -> String {
        let shown: Vec<_> = (-2..=2).map(|steps| self.code(steps)).collect();
        (0..10).map(|number| format!("{number:06}")).find(|code| !shown.contains(code)).unwrap()
    }
}

/// Sets an app up for the caller, whose session is young; with the recovery codes.
pub(super) async fn with_app(caller: &Caller) -> (App, Vec<String>) {
    let setup = caller.post(SETUP, &json!({})).await.expect(200);
    let app = App::of(setup["secret"].as_str().unwrap());
    let codes = caller.post(CONFIRM, &json!({ "code": app.code(0) })).await.expect(200);
    let codes = codes["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
    (app, codes.collect())
}

/// Lets the steps that were used be used again: as if time had passed.
pub(super) async fn forget_steps(database: &Database) {
    database.run("UPDATE freehold.credentials SET data = data || '{\"last_step\": 0}' WHERE kind = 'totp'").await;
}

/// Makes every session's proof so old.
pub(super) async fn age_proofs(database: &Database, minutes: u32) {
    let sql = format!(
        "UPDATE freehold.sessions SET created_at = created_at - interval '{minutes} min',
             proved_at = proved_at - interval '{minutes} min'"
    );
    database.run(&sql).await;
}

/// A number below `bound`, by chance.
pub(super) fn below(bound: u32) -> u32 {
    u32::from_be_bytes(Random.bytes()) % bound
}

/// A body that signs the tenant's first administrator in.
pub(super) fn as_admin(tenant: &Tenant<'_>) -> Value {
    json!({ "email": tenant.admin_email, "password": PASSWORD })
}
