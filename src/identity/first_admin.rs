//! A tenant's first administrator: made by the operation that makes the tenant, before anybody can ask for them.
//!
//! Everything here can be repeated: an operation runs a step again when it does not know whether it was done. Person and
//! entry are made by one statement, and so in one transaction: tenants wait for this one.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{Identity, credentials, invitations, people, permissions::OWNER, tokens::token_hash};
use crate::{
    error::{Error, Result},
    tenancy::{Param, Statements},
    types::{CredentialId, DisplayName, Email, InvitationId, TenantId, UserId},
};

/// How the first administrator gets in.
#[derive(Clone, Debug)]
pub enum FirstAdmin {
    /// With a password that the operator has set. The operator answers for the address.
    Password(SecretString),
    /// With an invitation that the operator hands on.
    Invitation {
        /// What the invited person presents.
        token: SecretString,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
}

const ADD_WITH_PASSWORD: &str =
    people::add_first!(verified = "now()", credentials::add_password!("admin", id = "$5", hash = "$6"));

const ADD_AND_INVITE: &str = people::add_first!(
    verified = "NULL::timestamptz",
    invitations::add_first!("admin", id = "$5", hash = "$6", expires = "$7")
);

/// Sees to it that the tenant has this first administrator, with the role `owner`. The tenant's state does not matter.
/// The password is taken as it is: whoever accepted it has judged it.
///
/// # Errors
/// `hashing_busy` after half a minute without a turn; `database_used` (409) when there are other people already.
pub async fn ensure(
    ctx: &Identity,
    tenant: TenantId,
    (email, name): (&Email, &DisplayName),
    how: &FirstAdmin,
) -> Result<()> {
    let id = UserId::generate(&ctx.clock, ctx.random).uuid();
    let (email_text, name) = (email.as_str(), name.as_str());
    match how {
        FirstAdmin::Invitation { token, expires_at } => {
            let invitation = InvitationId::generate(&ctx.clock, ctx.random).uuid();
            let hash = token_hash(token);
            let params: [Param<'_>; 7] = [&id, &email_text, &name, &OWNER, &invitation, &hash, expires_at];
            add(ctx, tenant, ADD_AND_INVITE, &params).await
        }
        FirstAdmin::Password(password) => {
            if people::has_password(&ctx.tenancy.connect(tenant).await?, email).await? {
                return Ok(());
            }
            let hash = ctx.hasher.hash(password, credentials::BACKGROUND).await?;
            let credential = CredentialId::generate(&ctx.clock, ctx.random).uuid();
            let params: [Param<'_>; 6] = [&id, &email_text, &name, &OWNER, &credential, &hash];
            add(ctx, tenant, ADD_WITH_PASSWORD, &params).await
        }
    }
}

/// Whether [`ensure`] has made this one. What it makes, it makes in one transaction.
///
/// # Errors
/// The tenant's database is away.
pub async fn exists(ctx: &Identity, tenant: TenantId, email: &Email) -> Result<bool> {
    people::holds(&ctx.tenancy.connect(tenant).await?, email, OWNER).await
}

async fn add(ctx: &Identity, tenant: TenantId, sql: &'static str, params: &[Param<'_>]) -> Result<()> {
    let row = ctx.tenancy.connect(tenant).await?.row(sql, params).await?;
    let has_others: Option<bool> = row.map(|row| row.try_get("has_others")).transpose()?;
    // A control database from a backup may take a customer's database for a new one.
    if has_others == Some(true) {
        let detail = "the database that a new tenant was to get holds people already: find out whose it is";
        return Err(Error::conflict("database_used", detail));
    }
    Ok(())
}
