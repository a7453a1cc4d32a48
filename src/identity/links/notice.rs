//! A notice: something was done to an account, and its owner is told, with a link that says "this was not me".
//!
//! It is queued before the change's transaction, and sent only if that was committed, because the link's row is written in
//! it. A change whose notice cannot be queued is refused: a thief must not be able to make one unseen.

use secrecy::SecretString;

use super::{New, Purpose, issue_in_txn, queue, require_links};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{Client, Identity},
    mail::Words,
    tenancy::TenantTxn,
    types::{Email, UserId},
};

/// A notice that is queued.
pub(in crate::identity) struct Notice {
    token: SecretString,
    email: Email,
    purpose: Purpose,
    client: Client,
}

/// Queues a notice to somebody. None where no mail is sent, where no rollout has brought the table of links yet, and where
/// the address is none that mail goes to.
///
/// # Errors
/// The control database is unavailable.
pub(in crate::identity) async fn announce(
    ctx: &Identity,
    tenant: &Tenant,
    (email, words): (&str, Words),
    client: &Client,
) -> Result<Option<Notice>> {
    let purpose = if words == Words::EmailChanged { Purpose::EmailUndo } else { Purpose::NotMe };
    if ctx.letters.is_none() || require_links(tenant).is_err() {
        return Ok(None);
    }
    let Ok(email) = email.parse::<Email>() else { return Ok(None) };
    let token = SecretString::from(ctx.random.token());
    queue(ctx, tenant, (&email, &token), (words, purpose), client).await?;
    Ok(Some(Notice { token, email, purpose, client: client.clone() }))
}

impl Notice {
    /// Lets the notice be sent, if the transaction is committed.
    pub(in crate::identity) async fn confirm_in_txn(
        notice: Option<&Self>,
        txn: &TenantTxn<'_>,
        user: UserId,
    ) -> Result<()> {
        let Some(Self { token, email, purpose, client }) = notice else { return Ok(()) };
        issue_in_txn(txn, token, &New::about(user, *purpose, email, client)).await
    }
}
