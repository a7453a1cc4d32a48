//! What people do about their own accounts, over HTTP and with a mail server: register, prove an address, choose another
//! password, change the address, take a change back, leave.

mod journeys;
mod takeover;
mod tokens;

use std::time::Duration;

use freehold::types::Clock;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::{
    actors::Caller,
    answer::Answer,
    eventually_within,
    fleet::{self, Fleet},
    replica::Replica,
    smtp::{Mail, Sink},
    tenant::Tenant,
    unique,
};

const REGISTER: &str = "/v1/auth/register";
const RESEND: &str = "/v1/auth/email/resend";
const VERIFY: &str = "/v1/auth/email/verify";
const FORGOT: &str = "/v1/auth/password/forgot";
const RESET: &str = "/v1/auth/password/reset";
const CHANGE: &str = "/v1/auth/email/change";
const CONFIRM: &str = "/v1/auth/email/change/confirm";
const UNDO: &str = "/v1/auth/email/change/undo";
const NOT_ME: &str = "/v1/auth/not-me";
const ME: &str = "/v1/auth/me";
const ACCEPT: &str = "/v1/auth/invitations/accept";

/// Another one than [`PASSWORD`](crate::harness::PASSWORD).
const OWNERS: &str = "eight blue kettles hum gently";
const ATTACKERS: &str = "three grey herons wait patiently";
const THIRD: &str = "seven tall lanterns glow at dusk";

/// A replica that sends mail, and the mail server.
struct Post {
    replica: Replica,
    sink: Sink,
}

/// One for all tests here, beside the Freehold that all tests share: addresses are of one test alone. It takes for granted
/// where a request says that it comes from.
async fn post() -> (&'static Fleet, &'static Post) {
    static POST: OnceCell<Post> = OnceCell::const_new();
    let fleet = fleet::shared().await;
    let make = async || {
        let (sink, name) = (Sink::start().await, unique("post"));
        let settings = sink.settings();
        let mut changes: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        changes.extend([("FREEHOLD_REPLICA", name.as_str()), ("FREEHOLD_TRUSTED_PROXIES", "127.0.0.1/32")]);
        Post { replica: fleet.another_replica(&changes, Clock::default()).await, sink }
    };
    (fleet, POST.get_or_init(make).await)
}

impl Post {
    fn anonymous(&self, tenant: &Tenant<'_>) -> Caller {
        (*self.replica.anonymous(&tenant.slug)).clone()
    }

    /// The administrator of the tenant, at this replica.
    fn admin(&self, tenant: &Tenant<'_>) -> Caller {
        tenant.admin.through(&self.replica.anonymous(&tenant.slug))
    }

    /// Somebody who is signed in with these tokens.
    fn holder(&self, tenant: &Tenant<'_>, tokens: &Value) -> Caller {
        let token: SecretString = tokens["access_token"].as_str().unwrap().into();
        (*self.replica.member(&tenant.slug, &token)).clone()
    }

    /// The tokens in the links to a page that were mailed to somebody, in that order.
    fn links(&self, email: &str, page: &str) -> Vec<String> {
        let mark = format!("/account/{page}#token=");
        let of = |mail: &Mail| {
            let plain = mail.plain();
            let (_, rest) = plain.split_once(&mark)?;
            Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect())
        };
        self.sink.mails_to(email).iter().filter_map(of).collect()
    }

    /// The token in the link of this number to a page, once it was mailed.
    async fn link(&self, email: &str, page: &str, number: usize) -> String {
        eventually_within(&format!("link {number} to {page}"), Duration::from_secs(40), async || {
            self.links(email, page).into_iter().nth(number)
        })
        .await
    }

    /// The mail to somebody whose subject begins so, once it is there.
    async fn mail(&self, email: &str, subject: &str) -> Mail {
        eventually_within(&format!("a mail with the subject {subject}"), Duration::from_secs(40), async || {
            self.sink.mails_to(email).into_iter().find(|mail| mail.header("Subject").starts_with(subject))
        })
        .await
    }
}

/// A tenant where anybody may register.
async fn open_tenant<'a>(fleet: &'a Fleet, post: &Post) -> Tenant<'a> {
    let tenant = fleet.tenant().await;
    decide(post, &tenant, json!({ "registration": "open" })).await;
    tenant
}

async fn decide(post: &Post, tenant: &Tenant<'_>, settings: Value) {
    post.admin(tenant).patch("/v1/settings", &settings).await.expect(200);
}

/// The answer once there was a turn to hash: other tests want some, too.
async fn patiently(caller: &Caller, path: &str, body: &Value) -> Answer {
    eventually_within("a turn among the passwords", Duration::from_mins(1), async || {
        let answer = caller.post(path, body).await;
        let is_busy = answer.status() == 503 && answer.json()["code"] == "hashing_busy";
        (!is_busy).then_some(answer)
    })
    .await
}

async fn register(caller: &Caller, email: &str, password: &str) -> Answer {
    patiently(caller, REGISTER, &json!({ "email": email, "password": password })).await
}

async fn login(caller: &Caller, email: &str, password: &str) -> Answer {
    patiently(caller, "/v1/auth/login", &json!({ "email": email, "password": password })).await
}

async fn reset(caller: &Caller, token: &str, password: &str) -> Answer {
    patiently(caller, RESET, &json!({ "token": token, "password": password })).await
}

async fn send(caller: &Caller, path: &str, token: &str) -> Answer {
    caller.post(path, &json!({ "token": token })).await
}

/// The same request, from another network address.
async fn register_from(caller: &Caller, address: &str, (email, password): (&str, &str)) -> Answer {
    let body = json!({ "email": email, "password": password });
    let request = caller.request(Method::POST, REGISTER).header("x-forwarded-for", address).json(&body);
    Answer::to(request).await
}

fn address_of(name: &str, tenant: &Tenant<'_>) -> String {
    format!("{name}@{}.example.org", tenant.slug)
}
