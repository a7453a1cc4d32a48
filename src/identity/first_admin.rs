//! A tenant's first administrator. The operation that provisions the tenant creates them, before the tenant is open.
//!
//! Everything here can be repeated, because an operation runs a step again when it is unknown whether the step was
//! done. The user and their password or invitation are created by one statement, which is the fastest way: clients wait
//! for it.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{Identity, credentials, invitations, people, permissions::OWNER, tokens::token_hash};
use crate::{
    error::{Error, Result},
    tenancy::{Param, Statements},
    types::{CredentialId, DisplayName, Email, InvitationId, TenantId, UserId},
};

/// How the first administrator signs in.
#[derive(Clone, Debug)]
pub enum FirstAdmin {
    /// With a password that the operator has set. The email address counts as verified by the operator.
    Password(SecretString),
    /// With an invitation, whose token the operator passes on.
    Invitation {
        /// The token that the invited person presents.
        token: SecretString,
        /// Until when it can be accepted.
        expires_at: DateTime<Utc>,
    },
}

const ADD_WITH_PASSWORD: &str =
    people::add_first!(verified = "now()", credentials::add_password!("admin", id = "$5", hash = "$6"));

const ADD_AND_INVITE: &str = people::add_first!(
    verified = "NULL::timestamptz",
    invitations::add_first!("admin", id = "$5", hash = "$6", expires = "$7")
);

/// Creates the tenant's first administrator, with the role `owner`, unless they exist. Does not check the tenant's
/// state. The caller has checked the password against the policy.
///
/// # Errors
/// `hashing_busy` after half a minute without a permit; `database_used` (409) when the tenant has other users already.
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

/// Whether [`ensure`] has created this administrator.
///
/// # Errors
/// The tenant's database is unavailable.
pub async fn exists(ctx: &Identity, tenant: TenantId, email: &Email) -> Result<bool> {
    people::holds(&ctx.tenancy.connect(tenant).await?, email, OWNER).await
}

async fn add(ctx: &Identity, tenant: TenantId, sql: &'static str, params: &[Param<'_>]) -> Result<()> {
    let row = ctx.tenancy.connect(tenant).await?.row(sql, params).await?;
    let has_others: Option<bool> = row.map(|row| row.try_get("has_others")).transpose()?;
    // A control database that was restored from a backup may treat a customer's database as a new one.
    if has_others == Some(true) {
        let detail = "the database that a new tenant was to get holds people already: find out whose it is";
        return Err(Error::conflict("database_used", detail));
    }
    Ok(())
}
