//! Sign-ins whose password was right and that need one more step.
//!
//! A step is begun when a password was verified, and its secret token is given out. It is taken once, by whoever shows
//! the token and what the step asks for; it ends after some minutes, and when its user changes how they sign in. Of the
//! token only a digest is stored. A clone of the tenant has no steps.
//!
//! A token must never open another step than its own: every query names the purpose.

mod store;

use std::time::Duration;

use secrecy::SecretString;
pub(super) use store::{TABLE, purge};

use super::{Identity, tokens::token_hash};
use crate::{
    error::Result,
    tenancy::{Statements, TenantTxn},
    types::UserId,
};

/// How long the next step may take.
const LIFETIME: Duration = Duration::from_mins(10);

/// What a step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A code of the user's authenticator app, or a recovery code.
    Code,
    /// That the user sets up an authenticator app, since the tenant requires one.
    Enrolment,
}

impl Purpose {
    /// The code in responses, audit events and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Code => "mfa_required",
            Self::Enrolment => "mfa_enrolment_required",
        }
    }

    /// As rows have it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Enrolment => "enrolment",
        }
    }
}

/// Begins a step of a user; its token.
pub(super) async fn begin_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
    purpose: Purpose,
) -> Result<SecretString> {
    let token = SecretString::from(ctx.random.token());
    store::begin(txn, &token_hash(&token), (user, purpose.as_str()), LIFETIME).await?;
    Ok(token)
}

/// Whose step this token is for. `None` when it is for another one, or for none that is open.
pub(super) async fn find(
    statements: &impl Statements,
    token: &SecretString,
    purpose: Purpose,
) -> Result<Option<UserId>> {
    store::find(statements, &token_hash(token), purpose.as_str()).await
}

/// Ends the step that this token is for; whose it was. Of any number who try, one does.
pub(super) async fn take_in_txn(txn: &TenantTxn<'_>, token: &SecretString, purpose: Purpose) -> Result<Option<UserId>> {
    store::take(txn, &token_hash(token), purpose.as_str()).await
}

/// Ends all steps of a user.
pub(super) async fn end_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    store::end(txn, user).await
}
