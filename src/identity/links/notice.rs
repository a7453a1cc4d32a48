//! A notice: something was done to an account, and its owner is told, with a link that says "this was not me".
//!
//! It is queued before the change's transaction, and sent only if that was committed, because the link's row is written in
//! it. A change whose notice cannot be queued is refused: a thief must not be able to make one unseen.
//!
//! A sign-in is none: people sign in while the control database is away. Its notice is queued after its transaction
//! ([`Notice::prepare_in_txn`]), and is lost if the replica dies in between or nothing can be queued; the audit log has the
//! sign-in.

use std::time::Duration;

use secrecy::SecretString;

use super::{New, Purpose, issue_in_txn, may_mail_in_txn, queue, require_links};
use crate::{
    control::{bounded, tenants::Tenant},
    error::Result,
    identity::{Client, Identity},
    mail::Words,
    tenancy::TenantTxn,
    types::{Email, UserId},
};

/// How long a sign-in waits until its notice is queued.
const PATIENCE: Duration = Duration::from_millis(500);

/// A notice whose mail is queued, or whose link is stored.
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
    /// Stores the link of a notice that is queued when the transaction is committed ([`Self::queue_after`]). None where
    /// [`announce`] has none either, and when the address has got as many within the hour.
    pub(in crate::identity) async fn prepare_in_txn(
        ctx: &Identity,
        (tenant, txn): (&Tenant, &TenantTxn<'_>),
        (user, email): (UserId, &str),
        client: &Client,
    ) -> Result<Option<Self>> {
        if ctx.letters.is_none() || require_links(tenant).is_err() {
            return Ok(None);
        }
        let Ok(email) = email.parse::<Email>() else { return Ok(None) };
        let purpose = Purpose::NotMe;
        if !may_mail_in_txn(txn, &email, purpose).await? {
            return Ok(None);
        }
        let notice = Self { token: SecretString::from(ctx.random.token()), email, purpose, client: client.clone() };
        Self::confirm_in_txn(Some(&notice), txn, user).await?;
        Ok(Some(notice))
    }

    /// Queues a notice whose link is stored. Whoever signs in waits for that a moment at most, and never fails with it.
    pub(in crate::identity) async fn queue_after(self, ctx: &Identity, tenant: &Tenant, words: Words) {
        let queued = queue(ctx, tenant, (&self.email, &self.token), (words, self.purpose), &self.client);
        if let Err(error) = bounded(PATIENCE, queued).await {
            tracing::warn!(error = error.chain(), tenant.id = %tenant.id, "nobody is told of a new device by mail");
        }
    }

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
