//! Mails to people: what is queued, and when it is sent.
//!
//! A mail that carries a token is queued before the token's row is in the tenant's database, in a transaction of the
//! control database: its payload is sealed with the tenant's data key. The job sends it only when the row is there and
//! open, so that nobody gets a link that leads nowhere, and a request that was taken back mails nobody.
//!
//! A mail has a struct that the job carries, a function that queues it and one that sends it; its words are in `mail`.
//! Without a mail server nothing is queued.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::PgConnection;

use super::{
    Identity, invitations,
    links::{self, Mailing, Purpose},
    tokens::Address,
};
use crate::{
    control::{
        sealing::DataKey,
        tenants::{Tenant, TenantState},
    },
    error::{Error, Result},
    jobs::{self, Done, Job, Kind},
    mail::{self, AboutAccount, Action, Letter, Link, Mailer, Sent},
    types::{Email, JobId, TenantId},
};

/// The kind of jobs that mail an invitation.
const INVITATION: &str = "mail.invitation";

/// How long after its job a row may come, at most: a request ends long before.
const LATEST: TimeDelta = TimeDelta::minutes(10);

/// How mails to people are written and sent. Clones share everything.
#[derive(Clone)]
pub struct Letters {
    mailer: Mailer,
    address: Address,
    link: Link,
}

impl Letters {
    /// Does no I/O.
    #[must_use]
    pub fn new(mailer: Mailer, address: Address, link: Link) -> Self {
        Self { mailer, address, link }
    }

    fn link(&self, tenant: &Tenant, action: Action, token: &str) -> String {
        self.link.to((&(self.address)(&tenant.slug), &tenant.slug), action, token)
    }

    async fn send(&self, job: &Job, to: &Email, letter: &Letter) -> Result<Done> {
        Ok(match self.mailer.send((job.id, job.created_at), to, letter).await? {
            Sent::Accepted => Done::Worked,
            Sent::Refused(why) => Done::Refused(why),
        })
    }
}

/// An invitation that is to be mailed.
#[derive(Serialize, Deserialize)]
pub struct Invitation {
    /// To whom.
    pub to: Email,
    /// What accepts it.
    pub token: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// Has an invitation mailed once it is in the tenant's database, if mail is sent and the transaction is committed.
///
/// # Errors
/// The control database is unavailable.
pub async fn queue_invitation_in_txn(
    ctx: &Identity,
    txn: &mut PgConnection,
    (key, tenant): (&DataKey, TenantId),
    invitation: &Invitation,
) -> Result<()> {
    if ctx.letters.is_none() {
        return Ok(());
    }
    let payload = serde_json::to_vec(invitation).map_err(Error::internal)?;
    let id = JobId::generate(&ctx.clock, ctx.random);
    jobs::queue_in_txn(txn, key, (id, tenant), INVITATION, &payload).await
}

/// The kinds of jobs that mail something; none where no mail is sent.
#[must_use]
pub fn kinds(ctx: &Arc<Identity>) -> Vec<Kind> {
    let Some(letters) = &ctx.letters else { return Vec::new() };
    let both = (ctx.clone(), letters.clone());
    let invite = move |job| {
        let (ctx, letters) = both.clone();
        async move { send_invitation(&ctx, &letters, &job).await }
    };
    let both = (ctx.clone(), letters.clone());
    let tell = move |job| {
        let (ctx, letters) = both.clone();
        async move { send_link(&ctx, &letters, &job).await }
    };
    vec![Kind::new(INVITATION, invite), Kind::new(links::MAIL, tell)]
}

async fn send_link(ctx: &Identity, letters: &Letters, job: &Job) -> Result<Done> {
    let Mailing { to, words, token, purpose, expires_at, at, ip } = parse(job)?;
    if expires_at <= ctx.clock.now() {
        return Ok(Done::Void("the link expired before it could be mailed"));
    }
    let tenant = match open(ctx, job.tenant).await? {
        Ok(tenant) => tenant,
        Err(done) => return Ok(done),
    };
    match links::is_open(ctx, tenant.id, (&SecretString::from(token.as_str()), purpose)).await? {
        Some(true) => {}
        Some(false) => return Ok(Done::Void("the link is used or void")),
        None if ctx.clock.now() < job.created_at + LATEST => return Ok(Done::Wait("the link is not there yet")),
        None => return Ok(Done::Void("nothing came of what was asked for")),
    }
    let (link, from) = (letters.link(&tenant, action(purpose), &token), ip.to_string());
    let about = AboutAccount { tenant: &tenant.name, link: &link, expires_at, at, from: &from };
    letters.send(job, &to, &letters.mailer.account(words, &about)?).await
}

/// The page for a link.
const fn action(purpose: Purpose) -> Action {
    match purpose {
        Purpose::Verification => Action::VerifyEmail,
        Purpose::PasswordReset => Action::ResetPassword,
        Purpose::EmailChange => Action::ConfirmEmail,
        Purpose::EmailUndo => Action::UndoEmail,
        // A mail of the other kind has no link.
        Purpose::NotMe | Purpose::EmailTaken => Action::NotMe,
    }
}

async fn send_invitation(ctx: &Identity, letters: &Letters, job: &Job) -> Result<Done> {
    let Invitation { to, token, expires_at } = parse(job)?;
    if expires_at <= ctx.clock.now() {
        return Ok(Done::Void("the invitation expired before it could be mailed"));
    }
    let tenant = match open(ctx, job.tenant).await? {
        Ok(tenant) => tenant,
        Err(done) => return Ok(done),
    };
    match invitations::is_open(ctx, tenant.id, &SecretString::from(token.as_str())).await? {
        Some(true) => {}
        Some(false) => return Ok(Done::Void("the invitation is used, withdrawn or expired")),
        None if ctx.clock.now() < job.created_at + LATEST => return Ok(Done::Wait("the invitation is not there yet")),
        None => return Ok(Done::Void("the tenant has no such invitation")),
    }
    let link = letters.link(&tenant, Action::AcceptInvitation, &token);
    let about = mail::Invitation { tenant: &tenant.name, link: &link, expires_at };
    letters.send(job, &to, &letters.mailer.invitation(&about)?).await
}

/// The tenant, if it serves; else what becomes of a mail for it.
async fn open(ctx: &Identity, tenant: TenantId) -> Result<Result<Arc<Tenant>, Done>> {
    // What this replica remembers of a tenant that was made just now may be old: that means to come again.
    let Some(tenant) = ctx.tenancy.by_id(tenant).await? else { return Ok(Err(Done::Wait(NOT_YET))) };
    Ok(match tenant.state {
        TenantState::Active if tenant.is_settling => Err(Done::Wait(NOT_YET)),
        TenantState::Active => Ok(tenant),
        TenantState::Provisioning => Err(Done::Wait(NOT_YET)),
        TenantState::Deleted => Err(Done::Void("the tenant is gone")),
        // None of its links leads anywhere meanwhile. The mail ends with what it tells, at the latest.
        TenantState::Suspended | TenantState::Archived | TenantState::Deleting => {
            Err(Done::Wait("the tenant does not serve now"))
        }
    })
}

const NOT_YET: &str = "the tenant is being made";

fn parse<T: DeserializeOwned>(job: &Job) -> Result<T> {
    // The error would repeat what it could not read.
    serde_json::from_slice(job.payload()).map_err(|_| Error::defect("the payload of a job cannot be read"))
}
