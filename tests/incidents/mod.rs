//! What has gone wrong elsewhere in 2025 and 2026, each incident as a test over HTTP: this must not happen here.
//!
//! What concerns registration, the reset of passwords and the change of addresses is tested where those are.

mod accounts;
mod flows;
mod tokens;

use freehold::types::Clock;
use serde_json::{Value, json};

use crate::{
    harness::{
        actors::{Caller, Member},
        fleet::Fleet,
        replica::Replica,
        tenant::Tenant,
        unique,
    },
    sign_ins::{App, tried, with_app},
};

const ME: &str = "/v1/auth/me";
const INVITATIONS: &str = "/v1/invitations";
const ACCEPT: &str = "/v1/auth/invitations/accept";
/// What nobody has as a password who was not asked to choose one.
const OTHER_PASSWORD: &str = "eight blue kettles hum gently";

/// A second replica.
async fn beside(fleet: &Fleet) -> Replica {
    fleet.another_replica(&[("FREEHOLD_REPLICA", &unique("beside"))], Clock::default()).await
}

/// The secret of an invitation of somebody new.
async fn invited(tenant: &Tenant<'_>, email: &str) -> String {
    let body = json!({ "email": email, "role": "member" });
    tenant.admin.post(INVITATIONS, &body).await.expect(201)["token"].as_str().unwrap().to_owned()
}

/// A member with an app, who is half way through a sign-in: what they hold, their app, and the step's token.
async fn half_way(fleet: &Fleet, tenant: &Tenant<'_>) -> (Member, Value, App, String) {
    let member = tenant.member("member").await;
    let credentials = json!({ "email": member.get(ME).await.member("email"), "password": crate::harness::PASSWORD });
    let (app, _) = with_app(&member).await;
    let step = begun(&tenant.anonymous(), &credentials).await;
    let member = fleet.replica.member(&tenant.slug, member.bearer());
    (member, credentials, app, step)
}

/// The token of the step that a sign-in stops at.
async fn begun(anonymous: &Caller, credentials: &Value) -> String {
    tried(anonymous, credentials).await.problem(401, "mfa_required")["mfa_token"].as_str().unwrap().to_owned()
}
