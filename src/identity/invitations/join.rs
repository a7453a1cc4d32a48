//! Accepts an invitation for an account that is in use: its owner, who is signed in, takes the role.

use secrecy::SecretString;
use serde_json::json;

use super::{not_open, store};
use crate::{
    error::{Error, Result},
    identity::{
        Caller, Identity, audit, guesses,
        people::{self, User},
        require_people_schema,
        roles::lock_roster_in_txn,
        tokens::token_hash,
    },
};

/// Accepts an invitation as the signed-in user, whose role becomes the invited one.
///
/// # Errors
/// `session_required` for API keys; `invalid_invitation` (422); `too_many_attempts` for tokens that were never given out;
/// `other_address` (403); `last_owner` (409).
pub async fn join(ctx: &Identity, caller: Caller<'_>, token: &SecretString) -> Result<User> {
    caller.principal.session()?;
    require_people_schema(caller.tenant)?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let Some(invitation) = store::take(&txn, &token_hash(token)).await? else {
        let was_issued = store::is_open(&txn, &token_hash(token)).await?.is_some();
        drop(txn);
        drop(connection);
        if !was_issued {
            guesses::unknown_token(ctx, caller.tenant, caller.client).await?;
        }
        return Err(not_open());
    };
    let known = people::lock(&txn, caller.principal.user()).await?.ok_or_else(not_open)?;
    if known.user.email.as_deref() != Some(invitation.email.as_str()) {
        let detail = "this invitation is for another address: sign in with that".to_owned();
        return Err(Error::Forbidden { code: "other_address", detail });
    }
    if !known.user.active {
        return Err(not_open());
    }
    if known.user.role != invitation.role {
        people::require_another_owner_in_txn(&txn, &known).await?;
        store::revoke_made_by(&txn, known.user.id).await?;
    }
    let next = User { role: invitation.role, ..known.user };
    let joined = people::update(&txn, &next).await?.ok_or_else(|| Error::defect("a locked user is gone"))?;
    let details = json!({ "role": joined.role });
    audit::record(ctx, &txn, caller, ("invitation.accepted", invitation.id.to_string()), details).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(caller.tenant.id).await?;
    Ok(joined)
}
