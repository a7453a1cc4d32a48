//! The audit log of a tenant: who did what, to what, and from where.
//!
//! An event is written in the transaction of the change that it records, so that both exist or neither does. A refused
//! request changes nothing, and its event is written alone. Requests add and read events. They never change or delete
//! one. A clone of the tenant begins with an empty log.
//!
//! Some seconds later events are chained in batches ([`chain`]): a digest for each event, and one for each batch, which
//! counts the batch before. [`verify()`] finds what was changed, removed or slipped in since. Events beyond the age that
//! the installation keeps are taken away in whole batches ([`tend()`]). The platform's own log, which is in the control
//! database, is read and chained in the same way; its chain is in the platform tenant's database.
//!
//! An event must never contain a secret. It must not contain an email address that belongs to no user of the tenant:
//! what a stranger typed may be somebody's personal data.

mod chain;
mod read;
mod source;
mod store;
mod tend;
mod verify;

pub use read::{export_began, own, page};
use serde_json::Value;
pub use source::Source;
pub(super) use store::{BATCHES, DIGESTS, HORIZONS, TABLE};
pub(super) use tend::Unchained;
pub use tend::tend;
pub use verify::{Chain, Expected, Finding, Head, Verdict, verify};

use super::{Caller, Client, Identity};
pub use crate::control::audit::{Event as AuditEvent, Filter, Place};
use crate::{
    error::Result,
    tenancy::{Statements, TenantTxn},
    types::AuditEventId,
};

/// The actor when nobody has signed in.
pub(super) const ANONYMOUS: &str = "anonymous";

/// An event to write.
pub(super) struct Event<'a> {
    /// `usr_…`, `key_…`, or `anonymous` while nobody has proven who they are.
    pub(super) actor: &'a str,
    /// The action: `login.succeeded`.
    pub(super) action: &'static str,
    /// The target of the action: `ses_…`.
    pub(super) target: Option<String>,
    /// More details, which depend on the action. Never secret.
    pub(super) details: Value,
}

/// Writes one event, in the caller's transaction if there is one.
pub(super) async fn write(
    ctx: &Identity,
    statements: &impl Statements,
    client: &Client,
    event: &Event<'_>,
) -> Result<()> {
    let id = AuditEventId::generate(&ctx.clock, ctx.random);
    store::add(statements, id, client, event).await?;
    ctx.unchained.note(statements.tenant());
    Ok(())
}

/// Writes that `actor` did `action` to each of these, in the transaction of the changes.
pub(super) async fn write_all(
    ctx: &Identity,
    statements: &impl Statements,
    client: &Client,
    (actor, action): (&str, &'static str),
    done: &[(String, Value)],
) -> Result<()> {
    let ids: Vec<_> = done.iter().map(|_| AuditEventId::generate(&ctx.clock, ctx.random).uuid()).collect();
    store::add_all(statements, &ids, client, (actor, action), done).await?;
    ctx.unchained.note(statements.tenant());
    Ok(())
}

/// Writes what no client has caused, in the transaction of the change.
pub(super) async fn write_own(ctx: &Identity, txn: &TenantTxn<'_>, event: &Event<'_>) -> Result<()> {
    store::add_own(txn, AuditEventId::generate(&ctx.clock, ctx.random), event).await?;
    ctx.unchained.note(txn.tenant());
    Ok(())
}

/// Writes that the caller did `action` to `target`, in the transaction of the change.
pub(super) async fn record(
    ctx: &Identity,
    statements: &impl Statements,
    caller: Caller<'_>,
    (action, target): (&'static str, String),
    details: Value,
) -> Result<()> {
    let actor = caller.principal.id_text();
    write(ctx, statements, caller.client, &Event { actor: &actor, action, target: Some(target), details }).await
}
