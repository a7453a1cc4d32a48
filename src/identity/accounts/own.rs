//! What somebody who is signed in does about their own account: another name, or the end of it.

use serde_json::json;

use super::tell_replicas;
use crate::{
    error::{Error, Result},
    identity::{
        Caller, Identity,
        administration::{end_access_in_txn, end_visits},
        audit, links, people,
        people::User,
        roles::lock_roster_in_txn,
        sessions, tokens,
    },
    types::DisplayName,
};

/// Changes the caller's name, if there is another one.
///
/// # Errors
/// `session_required` for API keys; `tenant_schema_outdated`.
pub async fn rename(ctx: &Identity, caller: Caller<'_>, name: Option<&DisplayName>) -> Result<()> {
    links::require_links(caller.tenant)?;
    caller.principal.session()?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    let known = people::lock(&txn, caller.principal.user()).await?.ok_or_else(tokens::invalid)?;
    sessions::require_alive_in_txn(&txn, caller.principal).await?;
    let Some(name) = name.filter(|name| name.as_str() != known.user.name) else { return Ok(()) };
    let next = User { name: name.as_str().to_owned(), ..known.user };
    people::update(&txn, &next).await?.ok_or_else(|| Error::defect("a locked user is gone"))?;
    let event = ("user.updated", next.id.to_string());
    audit::record(ctx, &txn, caller, event, json!({ "changed": ["name"] })).await?;
    txn.commit().await
}

/// Deletes the caller's account, which those who look after people can restore.
///
/// # Errors
/// `session_required` for API keys; `insufficient_user_authentication`; `last_owner` (409).
pub async fn leave(ctx: &Identity, caller: Caller<'_>) -> Result<()> {
    links::require_links(caller.tenant)?;
    let user = caller.principal.user();
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let known = people::lock(&txn, user).await?.ok_or_else(tokens::invalid)?;
    sessions::require_proof_in_txn(&txn, caller.principal).await?;
    people::require_another_owner_in_txn(&txn, &known).await?;
    if !people::delete(&txn, user).await? {
        return Err(tokens::invalid());
    }
    end_access_in_txn(&txn, user, "user.deleted").await?;
    links::end_in_txn(&txn, user).await?;
    audit::record(ctx, &txn, caller, ("user.deleted", user.to_string()), json!({ "by": "themselves" })).await?;
    txn.commit().await?;
    drop(connection);
    tell_replicas(ctx, caller.tenant).await;
    end_visits(ctx, caller, user).await
}
