//! Links that are mailed to people: to prove an address, to choose another password, to take something back.
//!
//! A link has a secret token. Of it a digest is stored, with the purpose that it is for, the address that it was mailed to,
//! and the account that it is about. It is used once, by one conditional UPDATE of one row, and ends in time, when a newer
//! one of its kind is made, and when what it is about has changed. A clone of the tenant has no links.
//!
//! The mail is queued before the row is there ([`queue`]): the job sends it only when it finds the row. So a mail is never
//! lost, and nobody gets one about a change that was not made.
//!
//! A token must never do another thing than its own: every query names the purpose.

mod mailing;
mod notice;
mod store;

use std::time::Duration;

pub(super) use mailing::{MAIL, Mailing, queue};
pub(super) use notice::{Notice, announce};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
pub(super) use store::{
    New, TABLE, Taken, contest as contest_in_txn, end as end_in_txn, end_later as end_later_in_txn,
    newest_registration, purge,
};

use super::{Identity, require_schema, tokens::token_hash};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    tenancy::{Statements, TenantTxn},
    types::{Email, TenantId},
};

/// The version of Freehold's stream with the table of links.
pub(super) const ACCOUNTS_SINCE: i32 = 4;

/// How many mails of one kind go to one address within an hour.
const MOST_AN_HOUR: i64 = 3;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Proves an address: of a registration, or of an account that has not proven its address.
    Verification,
    /// Chooses another password, and proves the address.
    PasswordReset,
    /// Gives an account this address.
    EmailChange,
    /// Gives an account its former address back.
    EmailUndo,
    /// Tells somebody that their address has an account already. It leads nowhere.
    EmailTaken,
    /// Says that somebody else has done something to the account.
    NotMe,
}

impl Purpose {
    /// As rows have it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
            Self::EmailChange => "email_change",
            Self::EmailUndo => "email_undo",
            Self::EmailTaken => "email_taken",
            Self::NotMe => "not_me",
        }
    }

    /// How long a link can be used.
    pub(super) const fn lifetime(self) -> Duration {
        match self {
            Self::PasswordReset => Duration::from_hours(1),
            Self::Verification | Self::EmailChange | Self::EmailTaken => Duration::from_hours(24),
            Self::EmailUndo | Self::NotMe => Duration::from_hours(7 * 24),
        }
    }
}

/// Refuses what needs links in a tenant that no rollout has taken to them yet.
///
/// # Errors
/// `tenant_schema_outdated`.
pub(super) fn require_links(tenant: &Tenant) -> Result<()> {
    require_schema(tenant, ACCOUNTS_SINCE)
}

/// The refusal of whatever is no link, or is one for something else, or not any more.
pub(super) fn not_open() -> Error {
    let detail = "this link is unknown, used, replaced by a newer one, or too old: ask for another one".to_owned();
    Error::Unprocessable { code: "invalid_link", detail }
}

/// Whether one more mail of this kind may go to the address now. Until the transaction ends, nobody else is told so.
pub(super) async fn may_mail_in_txn(txn: &TenantTxn<'_>, email: &Email, purpose: Purpose) -> Result<bool> {
    store::lock_address(txn, email).await?;
    Ok(store::mailed(txn, email, purpose.as_str()).await? < MOST_AN_HOUR)
}

/// Stores a link. What there was of its kind is void, but for those that take something back.
pub(super) async fn issue_in_txn(txn: &TenantTxn<'_>, token: &SecretString, new: &New<'_>) -> Result<()> {
    store::issue(txn, &token_hash(token), new).await
}

/// What an open link of this purpose is about.
pub(super) async fn find(
    statements: &impl Statements,
    token: &SecretString,
    purpose: Purpose,
) -> Result<Option<Taken>> {
    store::find(statements, &token_hash(token), purpose.as_str()).await
}

/// Uses a link up. Of any number who try, one does.
pub(super) async fn take_in_txn(txn: &TenantTxn<'_>, token: &SecretString, purpose: Purpose) -> Result<Option<Taken>> {
    store::take(txn, &token_hash(token), purpose.as_str()).await
}

/// Whether there is this link, and whether it is open. Does not check the tenant's state.
///
/// # Errors
/// The tenant's database is unavailable.
pub(super) async fn is_open(
    ctx: &Identity,
    tenant: TenantId,
    (token, purpose): (&SecretString, Purpose),
) -> Result<Option<bool>> {
    store::is_open(&ctx.tenancy.connect(tenant).await?, &token_hash(token), purpose.as_str()).await
}
