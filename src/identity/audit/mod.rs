//! The audit log of a tenant: who did what, to what, and from where.
//!
//! An event is written in the transaction of the change that it records, so that both exist or neither does. A refused
//! request changes nothing, and its event is written alone. Requests add and read events. They never change or delete
//! one. A clone of the tenant begins with an empty log.
//!
//! An event must never contain a secret. It must not contain an email address that belongs to no user of the tenant:
//! what a stranger typed may be somebody's personal data.

mod store;

use serde_json::Value;
pub(super) use store::TABLE;

use super::{Client, Identity};
use crate::{error::Result, tenancy::Statements, types::AuditEventId};

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
    store::add(statements, id, client, event).await
}
