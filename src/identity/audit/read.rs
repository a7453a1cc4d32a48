//! Reads audit logs: a page of a tenant's or of the platform's own, and what a user sees about themselves.

use serde_json::json;

use super::{record, source::Source, store};
use crate::{
    control::audit::{self as platform, Event, Filter, Place},
    error::Result,
    identity::{Caller, Identity},
    types::UserId,
};

/// A page of the events that match, newest first.
///
/// # Errors
/// The database cannot be reached.
pub async fn page(
    ctx: &Identity,
    source: Source<'_>,
    filter: &Filter,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Event>> {
    match source {
        Source::Tenant(tenant) => store::page(&ctx.tenancy.connect(tenant.id).await?, filter, before, limit).await,
        Source::Platform(_) => platform::page(&mut *ctx.db.acquire().await?, filter, before, limit).await,
    }
}

/// A page of the events about the user themselves, newest first: what they did, and what others did to their account. From
/// where others came is theirs to know.
///
/// # Errors
/// The database cannot be reached.
pub async fn own(ctx: &Identity, caller: Caller<'_>, before: Option<Place>, limit: i64) -> Result<Vec<Event>> {
    let user: UserId = caller.principal.user();
    let me = user.to_string();
    let mut events = store::about(&ctx.tenancy.connect(caller.tenant.id).await?, &me, before, limit).await?;
    for event in events.iter_mut().filter(|event| event.actor.starts_with("usr_") && event.actor != me) {
        (event.ip, event.user_agent, event.request_id) = (None, None, None);
    }
    Ok(events)
}

/// Writes that the caller has begun to export a log. What follows is read page by page.
///
/// # Errors
/// The database cannot be reached.
pub async fn export_began(ctx: &Identity, caller: Caller<'_>, source: Source<'_>, format: &'static str) -> Result<()> {
    let connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let details = json!({ "format": format });
    record(ctx, &connection, caller, ("audit.exported", source.log().to_owned()), details).await
}
