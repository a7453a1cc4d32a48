//! Somebody wants an account, where the tenant lets people register.

use secrecy::SecretString;

use super::{count_address, record};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{
        Client, Identity, credentials,
        links::{self, Purpose},
        people::{self, Standing},
        settings::{self, Decisions, registration_closed},
    },
    mail::Words,
    tenancy::TenantTxn,
    types::{DisplayName, Email, UserId},
};

/// An account that somebody wants.
#[derive(Debug)]
pub struct Registration {
    /// Their address.
    pub email: Email,
    /// The password that they want to sign in with.
    pub password: SecretString,
    /// Their name.
    pub name: Option<DisplayName>,
}

/// What the address gets mailed.
enum Reply {
    /// A link that proves it. `is_in_use`: there is an account already that has not proven it.
    Verification { is_in_use: bool },
    /// That it has an account.
    Taken(UserId),
    /// Nothing: whoever has it may not enter, or was invited and has not accepted.
    Nothing,
}

impl Reply {
    fn of(standing: Option<&Standing>) -> Self {
        match standing {
            None => Self::Verification { is_in_use: false },
            Some(one) if !one.may_enter => Self::Nothing,
            Some(one) if one.is_proven => Self::Taken(one.user),
            Some(one) if one.is_used => Self::Verification { is_in_use: true },
            Some(_) => Self::Nothing,
        }
    }

    const fn says(&self) -> (Words, Purpose) {
        match self {
            Self::Taken(_) => (Words::EmailTaken, Purpose::EmailTaken),
            Self::Verification { .. } | Self::Nothing => (Words::Verification, Purpose::Verification),
        }
    }
}

/// Registers somebody. Whatever comes of it is told to the address alone.
///
/// # Errors
/// `registration_closed` (403); `domain_not_allowed` on `email`; those of the password policy on `password`;
/// `too_many_attempts`; `hashing_busy`.
pub async fn register(ctx: &Identity, tenant: &Tenant, wanted: &Registration, client: &Client) -> Result<()> {
    if tenant.is_platform {
        return Err(registration_closed());
    }
    links::require_links(tenant)?;
    let email = &wanted.email;
    let (decisions, _) = Decisions::read(&ctx.tenancy.connect(tenant.id).await?).await?;
    decisions.require_registration(email)?;
    count_address(ctx, tenant, ("register", email), client).await?;
    let hash = ctx.hasher.hash(&wanted.password, credentials::REQUEST).await?;
    credentials::require_policy(ctx, tenant, (&decisions, email.as_str()), ("password", &wanted.password))?;
    let standing = people::standing(&ctx.tenancy.connect(tenant.id).await?, email).await?;
    let reply = Reply::of(standing.as_ref());
    let token = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (email, &token), reply.says(), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let (_, purpose) = reply.says();
    if links::may_mail_in_txn(&txn, email, purpose).await? {
        // By domain nobody is let in who has not proven theirs.
        let lets_in = !decisions.require_verified_email && decisions.registration == settings::Registration::Open;
        let enters_at_once = lets_in && standing.is_none();
        let asked = Asked { wanted, hash: &hash, token: &token, client };
        answer_in_txn(ctx, &txn, (&reply, enters_at_once), &asked).await?;
    } else {
        // Nothing is mailed, and whoever has registered before is not the only one.
        links::contest_in_txn(&txn, email, client.ip.to_canonical()).await?;
    }
    let target = standing.as_ref().map(|standing| standing.user);
    record(ctx, &txn, ("registration.requested", target), client).await?;
    txn.commit().await
}

/// What was asked for.
struct Asked<'a> {
    wanted: &'a Registration,
    hash: &'a str,
    token: &'a SecretString,
    client: &'a Client,
}

async fn answer_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    (reply, enters_at_once): (&Reply, bool),
    asked: &Asked<'_>,
) -> Result<()> {
    let (email, name) = (&asked.wanted.email, asked.wanted.name.as_ref().map(DisplayName::as_str));
    let new = match *reply {
        Reply::Nothing => return Ok(()),
        Reply::Taken(user) => links::New::about(user, Purpose::EmailTaken, email, asked.client),
        Reply::Verification { is_in_use } => links::New {
            purpose: Purpose::Verification,
            user: None,
            email,
            password_hash: Some(asked.hash),
            name,
            ip: asked.client.ip.to_canonical(),
            is_in_use,
            session: None,
        },
    };
    links::issue_in_txn(txn, asked.token, &new).await?;
    if enters_at_once {
        let id = UserId::generate(&ctx.clock, ctx.random);
        // Another registration may have been quicker: then this one waits for the proof of the address.
        if people::register(txn, id, (email, name), false).await? {
            credentials::add_first_password_in_txn(ctx, txn, id, asked.hash).await?;
            record(ctx, txn, ("user.registered", Some(id)), asked.client).await?;
        }
    }
    Ok(())
}
