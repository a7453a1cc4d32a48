//! The job that mails a link.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{Client, Identity},
    jobs,
    mail::Words,
    types::{Email, JobId},
};

/// The kind of jobs that mail a link.
pub(in crate::identity) const MAIL: &str = "mail.account";

/// A mail about an account.
#[derive(Serialize, Deserialize)]
pub(in crate::identity) struct Mailing {
    /// To whom.
    pub(in crate::identity) to: Email,
    /// What it says.
    pub(in crate::identity) words: Words,
    /// The token of its link, whose row has to be there.
    pub(in crate::identity) token: String,
    /// What the link is for.
    pub(in crate::identity) purpose: Purpose,
    /// Until when the link can be used.
    pub(in crate::identity) expires_at: DateTime<Utc>,
    /// When what it tells happened.
    pub(in crate::identity) at: DateTime<Utc>,
    /// From where that was asked for.
    pub(in crate::identity) ip: IpAddr,
}

/// Has a link mailed once its row is in the tenant's database, where mail is sent.
///
/// # Errors
/// The control database is unavailable: then the change must not be made, since nobody would hear of it.
pub(in crate::identity) async fn queue(
    ctx: &Identity,
    tenant: &Tenant,
    (to, token): (&Email, &SecretString),
    (words, purpose): (Words, Purpose),
    client: &Client,
) -> Result<()> {
    if ctx.letters.is_none() {
        return Ok(());
    }
    let at = ctx.clock.now();
    let mailing = Mailing {
        to: to.clone(),
        words,
        token: token.expose_secret().to_owned(),
        purpose,
        expires_at: at + TimeDelta::from_std(purpose.lifetime()).map_err(Error::internal)?,
        at,
        ip: client.ip.to_canonical(),
    };
    let payload = serde_json::to_vec(&mailing).map_err(Error::internal)?;
    let key = ctx.factor_key(tenant).await?.data_key(&ctx.key_ring)?;
    let mut txn = ctx.db.begin().await?;
    let id = JobId::generate(&ctx.clock, ctx.random);
    jobs::queue_in_txn(&mut txn, &key, (id, tenant.id), MAIL, &payload).await?;
    txn.commit().await?;
    Ok(())
}
