//! Exchanges a refresh token for the next pair of tokens.
//!
//! One conditional UPDATE spends the token. Its answer may be lost on the way. So whoever shows the token again gets the
//! same next token, as long as nothing proves that the answer has arrived: neither the next token nor an access token
//! that was issued with it was shown, and it was less than ten minutes ago. Any other second use means that two parties
//! have the token. Then the whole session is ended.
//!
//! In a tenant's database of version 1, which does not know what was shown, a second use is a retry for ten seconds.

use secrecy::SecretString;
use serde_json::json;

use super::{
    idle, knows_proofs,
    store::{self, Spent},
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity,
        audit::{self, ANONYMOUS, Event},
        guesses,
        tokens::{self, Grant, Tokens, successor, token_hash},
    },
    types::SessionId,
};

/// The result of the exchange of a refresh token.
#[derive(Debug)]
pub enum RefreshOutcome {
    /// It was exchanged for these tokens, now or by a request whose answer may have been lost.
    Exchanged(Tokens),
    /// It is unknown or expired, or its session has ended.
    Unknown,
    /// It was used before, by another party: its session is ended now.
    Reused,
}

impl RefreshOutcome {
    /// Converts the outcome to the response. The response does not say why a token is invalid.
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

/// Why a token could not be spent.
enum Before {
    /// The token or its session does not exist.
    Unknown,
    /// The client may not have got the answer.
    Twice(Grant),
    /// Two parties have a token of this session.
    Reused(SessionId),
}

/// Exchanges a refresh token.
///
/// # Errors
/// `too_many_attempts` for tokens that were never given out; the tenant's database or the control database is unavailable.
pub async fn refresh(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<RefreshOutcome> {
    ctx.issuer.prepare(tenant).await?;
    let grant = match rotate(ctx, tenant, token).await? {
        Some(grant) => grant,
        None => match look_back(ctx, tenant, token).await? {
            Before::Unknown => {
                if !is_known(ctx, tenant, token).await? {
                    guesses::unknown_token(ctx, tenant, client).await?;
                }
                return Ok(RefreshOutcome::Unknown);
            }
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
    let found = store::spent(&connection, &token_hash(token), knows_proofs(tenant)).await?;
    let Some((spent, is_lately)) = found else { return Ok(Before::Unknown) };
    let grant = following(spent, token);
    let next = token_hash(&grant.refresh_token);
    if is_lately && tokens::has_arrived_nowhere(&connection, &next, knows_proofs(tenant)).await? {
        return Ok(Before::Twice(grant));
    }
    Ok(Before::Reused(grant.session))
}

/// Whether the token was ever given out. Whoever has one of a session that has ended guesses nothing.
async fn is_known(ctx: &Identity, tenant: &Tenant, token: &SecretString) -> Result<bool> {
    tokens::was_issued(&ctx.tenancy.connect(tenant.id).await?, &token_hash(token)).await
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
    // If this fails, access tokens that were verified just before stay cached for some seconds.
    ctx.verdicts.forget(tenant.id).await
}

/// The grant of a spent token: its session, with the token that follows.
fn following(spent: Spent, token: &SecretString) -> Grant {
    let Spent { session, user, role, rotation_key } = spent;
    Grant { session, user, role, refresh_token: successor(&rotation_key, token) }
}
