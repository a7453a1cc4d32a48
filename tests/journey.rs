//! A whole life as somebody's account, over HTTP and with a real mail server: invited, in, protected, with a password that
//! is forgotten and chosen anew, looked after, and gone.
//! The same for an operator.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD,
        actors::{Anonymous, Caller},
        eventually_within,
        fleet::{self, Fleet},
        smtp::Sink,
        unique,
    },
    mail::mailing,
    sign_ins::{forget_steps, patiently, tried, with_app},
};

const ME: &str = "/v1/auth/me";
/// Chosen when the first one is forgotten.
const RENEWED: &str = "eight blue kettles hum gently";

/// Somebody who has been given the secret of an invitation, and those who look after them.
struct Guest<'a> {
    anonymous: Anonymous,
    email: String,
    token: String,
    /// An owner.
    owner: &'a Caller,
    /// What a key of theirs may do, and a route that asks for it.
    right: (&'static str, &'static str),
    database: crate::harness::sql::Database,
    sink: &'a Sink,
}

impl Guest<'_> {
    fn with(&self, token: &Value) -> Caller {
        self.anonymous.with(&SecretString::from(token.as_str().unwrap()))
    }

    async fn signed_in(&self, more: Value) -> Value {
        let mut body = json!({ "email": self.email, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tried(&self.anonymous, &body).await.expect(200)
    }

    /// Accepts, signs in, and sets an app up; what they hold then, and their recovery codes.
    async fn comes(&self) -> (Caller, Vec<String>) {
        let accept = json!({ "token": self.token, "password": PASSWORD, "name": "Grace" });
        patiently(&self.anonymous, "/v1/auth/invitations/accept", &accept).await.expect(204);
        patiently(&self.anonymous, "/v1/auth/invitations/accept", &accept).await.problem(422, "invalid_invitation");
        let tokens = self.signed_in(json!({})).await;
        let me = self.with(&tokens["access_token"]);
        let told = me.get(ME).await.expect(200);
        assert_eq!((&told["email"], &told["email_verified"]), (&json!(self.email), &json!(true)));
        let (app, codes) = with_app(&me).await;
        let plain = json!({ "email": self.email, "password": PASSWORD });
        let step = tried(&self.anonymous, &plain).await.problem(401, "mfa_required")["mfa_token"].clone();
        forget_steps(&self.database).await;
        let verify = json!({ "mfa_token": step, "code": app.code(0) });
        let verified = patiently(&self.anonymous, "/v1/auth/mfa/verify", &verify).await.expect(200);
        patiently(&self.anonymous, "/v1/auth/mfa/verify", &verify).await.problem(401, "invalid_mfa_token");
        (self.with(&verified["access_token"]), codes)
    }

    /// Forgets the password and chooses another one by the link that is mailed.
    async fn resets(&self) {
        patiently(&self.anonymous, "/v1/auth/password/forgot", &json!({ "email": self.email })).await.expect(202);
        let token = eventually_within("the link to choose a password", Duration::from_secs(40), async || {
            self.sink.mails_to(&self.email).iter().find_map(|mail| token_of(&mail.plain(), "/reset-password#token="))
        })
        .await;
        let chosen = json!({ "token": token, "password": RENEWED });
        patiently(&self.anonymous, "/v1/auth/password/reset", &chosen).await.expect(204);
        patiently(&self.anonymous, "/v1/auth/password/reset", &chosen).await.problem(422, "invalid_link");
    }

    /// All of it, to the end.
    async fn lives(&self) {
        let (me, codes) = self.comes().await;
        let code = &codes[0];
        // The day that the phone is lost.
        let again = self.signed_in(json!({ "mfa_code": code })).await;
        let spent = json!({ "email": self.email, "password": PASSWORD, "mfa_code": code });
        tried(&self.anonymous, &spent).await.problem(401, "invalid_code");
        let (scope, route) = self.right;
        let key = json!({ "name": "ci", "scopes": [scope] });
        let key = self.with(&me.post("/v1/api-keys", &key).await.expect(201)["key"]);
        key.get(route).await.expect(200);
        let refreshed = self.anonymous.refresh(&again["refresh_token"]).await.expect(200);

        let id = me.get(ME).await.member("id");
        let user = format!("/v1/users/{id}");
        self.resets().await;
        for gone in [&me, &self.with(&refreshed["access_token"])] {
            gone.get(ME).await.problem(401, "invalid_token");
        }
        self.anonymous.refresh(&refreshed["refresh_token"]).await.problem(401, "invalid_refresh_token");
        let forgotten = json!({ "email": self.email, "password": PASSWORD });
        tried(&self.anonymous, &forgotten).await.problem(401, "invalid_credentials");
        let renewed = json!({ "email": self.email, "password": RENEWED });
        tried(&self.anonymous, &renewed).await.problem(401, "mfa_required");
        let last = self.signed_in(json!({ "password": RENEWED, "mfa_code": codes[1] })).await;

        let revoked = self.owner.post(&format!("{user}/revoke-sessions"), &json!({})).await.expect(200);
        assert_eq!(revoked["revoked"], 1);
        self.with(&last["access_token"]).get(ME).await.problem(401, "invalid_token");
        key.get(route).await.expect(200);
        self.owner.patch(&user, &json!({ "active": false })).await.expect(200);
        assert_eq!(key.get(route).await.status(), 401);
        tried(&self.anonymous, &renewed).await.problem(401, "invalid_credentials");
        self.owner.delete(&user).await.expect(204);
        self.owner.post(&format!("{user}/erase"), &json!({})).await.expect(204);
        self.owner.get(&user).await.problem(404, "not_found");
        self.assert_told(&id).await;
    }

    /// The log has all of it, in order, the erased one's id included.
    async fn assert_told(&self, id: &str) {
        let of = async |query: String| -> Vec<String> {
            let events = self.owner.get(&format!("/v1/audit-events?limit=200&{query}")).await.expect(200);
            let items = events["items"].as_array().unwrap().iter().rev();
            items.map(|event| event["action"].as_str().unwrap().to_owned()).collect()
        };
        let about = of(format!("target={id}&action=user")).await;
        assert_eq!(about, ["user.sessions_revoked", "user.deactivated", "user.deleted", "user.erased"]);
        let own = of(format!("actor={id}")).await;
        for action in ["invitation.accepted", "login.succeeded", "api_key.created"] {
            assert!(own.iter().any(|told| told == action), "{action}: {own:?}");
        }
    }
}

/// The token behind the mark in a mail.
fn token_of(mail: &str, mark: &str) -> Option<String> {
    let (_, token) = mail.split_once(mark)?;
    Some(token.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect())
}

async fn owner_of(fleet: &Fleet) -> Caller {
    (*fleet.operator_with_role("owner").await).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_is_invited_by_mail_lives_in_a_tenant_and_is_erased() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    // A tenant whose owner gets a mail, and looks after the guest then.
    let slug = unique("journey");
    let email = format!("ada@{slug}.example.com");
    let body = json!({ "slug": slug, "name": "Journey", "admin": { "email": email } });
    let operator = fleet.operator().through(&replica.admin_anonymous());
    let made = operator.post("/platform/v1/tenants", &body).await.json();
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    let token = token_of(&sink.mail_to(&email).await.plain(), "#token=").unwrap();
    let anonymous = replica.anonymous(&slug);
    let accept = json!({ "token": token, "password": PASSWORD });
    patiently(&anonymous, "/v1/auth/invitations/accept", &accept).await.expect(204);
    let tokens = tried(&anonymous, &json!({ "email": email, "password": PASSWORD })).await.expect(200);
    let owner = anonymous.with(&tokens["access_token"].as_str().unwrap().into());
    assert_eq!(owner.get(ME).await.expect(200)["role"], "owner");

    let email = format!("{}@example.com", unique("guest"));
    let invited = owner.post("/v1/invitations", &json!({ "email": email, "role": "member" })).await.expect(201);
    let database = fleet.on_server(&made["id"].as_str().unwrap().replace("ten_", "tenant_"));
    let token = invited["token"].as_str().unwrap().to_owned();
    let right = ("projects:read", "/v1/projects");
    Guest { anonymous, email, token, owner: &owner, right, database, sink: &sink }.lives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lives_likewise_on_the_admin_listener() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    let owner = owner_of(&fleet).await.through(&replica.admin_anonymous());
    let email = format!("{}@example.com", unique("operator"));
    let invited = owner.post("/v1/invitations", &json!({ "email": email, "role": "member" })).await.expect(201);
    let token = invited["token"].as_str().unwrap().to_owned();
    let (anonymous, database) = (replica.admin_anonymous(), fleet.platform_database().await);
    let right = ("tenants:read", "/platform/v1/tenants");
    Guest { anonymous, email, token, owner: &owner, right, database, sink: &sink }.lives().await;
}
