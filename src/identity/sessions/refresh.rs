//! Exchanging a refresh token for the next pair of tokens.
//!
//! A token is spent by one conditional UPDATE. A second use within ten seconds, while its successor is unused, is
//! a client that asked twice: it gets the same successor. Any other second use means that two parties hold the
//! token, and the whole session ends.

use secrecy::SecretString;
use serde_json::json;

use super::{
    idle,
    store::{self, Spent},
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity,
        audit::{self, ANONYMOUS, Event},
        tokens::{self, Grant, Tokens, successor, token_hash},
    },
    types::SessionId,
};

/// What became of a refresh token.
#[derive(Debug)]
pub enum RefreshOutcome {
    /// It was exchanged, or had just been, for these.
    Exchanged(Tokens),
    /// It is unknown or expired, or its session has ended.
    Unknown,
    /// It was used before, by somebody else: its session has ended.
    Reused,
}

impl RefreshOutcome {
    /// As it is answered: whoever holds a token that is good for nothing does not learn why.
    ///
    /// # Errors
    /// `invalid_refresh_token`.
    pub fn into_result(self) -> Result<Tokens> {
        match self {
            Self::Exchanged(tokens) => Ok(tokens),
            Self::Unknown | Self::Reused => {
                let detail = "the refresh token is not valid, or not any more";
                Err(Error::Unauthenticated { code: "invalid_refresh_token", detail })
            }
        }
    }
}

/// What there is to say of a token that could not be spent.
enum Before {
    /// It, or its session, is not there.
    Unknown,
    /// A client has asked twice.
    Twice(Grant),
    /// Two parties hold a token of this session.
    Reused(SessionId),
}

/// Exchanges a refresh token.
///
/// # Errors
/// Something that is needed is away.
pub async fn refresh(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<RefreshOutcome> {
    ctx.issuer.prepare(tenant).await?;
    let grant = match rotate(ctx, tenant, token).await? {
        Some(grant) => grant,
        None => match look_back(ctx, tenant, token).await? {
            Before::Unknown => return Ok(RefreshOutcome::Unknown),
            Before::Twice(grant) => grant,
            Before::Reused(session) => {
                end_family(ctx, tenant, session, client).await?;
                return Ok(RefreshOutcome::Reused);
            }
        },
    };
    ctx.issuer.issue(tenant, grant).await.map(RefreshOutcome::Exchanged)
}

/// Spends the token and stores the next. `None` when it cannot be spent.
async fn rotate(ctx: &Identity, tenant: &Tenant, token: &SecretString) -> Result<Option<Grant>> {
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let Some(spent) = store::spend(&txn, &token_hash(token)).await? else { return Ok(None) };
    let grant = following(spent, token);
    store::follow(&txn, grant.session, &token_hash(&grant.refresh_token), idle(ctx)).await?;
    txn.commit().await?;
    Ok(Some(grant))
}

async fn look_back(ctx: &Identity, tenant: &Tenant, token: &SecretString) -> Result<Before> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let found = store::spent(&connection, &token_hash(token)).await?;
    let Some((spent, is_just_now)) = found else { return Ok(Before::Unknown) };
    let grant = following(spent, token);
    if is_just_now && tokens::is_unused(&connection, &token_hash(&grant.refresh_token)).await? {
        return Ok(Before::Twice(grant));
    }
    Ok(Before::Reused(grant.session))
}

async fn end_family(ctx: &Identity, tenant: &Tenant, session: SessionId, client: &Client) -> Result<()> {
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    if !store::end_family(&txn, session).await? {
        return Ok(());
    }
    let target = Some(session.to_string());
    let event = Event { actor: ANONYMOUS, action: "refresh_token.reused", target, details: json!({}) };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    drop(connection);
    metrics::counter!("freehold_refresh_token_reuse_total").increment(1);
    // If this fails, access tokens that were verified just before are remembered for some seconds longer.
    ctx.verdicts.forget(tenant.id).await
}

/// The grant of a spent token: its session, with the token that follows.
fn following(spent: Spent, token: &SecretString) -> Grant {
    let Spent { session, user, role, rotation_key } = spent;
    Grant { session, user, role, refresh_token: successor(&rotation_key, token) }
}
