//! The audit log of a tenant: who did what to whom, from where.
//!
//! A line is written in the transaction of the change that it tells of: either both are there or neither is. What was
//! refused changes nothing, and its line stands alone. Lines are added and read, never changed and never deleted by
//! what serves requests; a clone of the tenant begins with an empty log.
//!
//! A line must never hold a secret, nor an e-mail address that nobody here has: what strangers type is theirs.

mod store;

use serde_json::Value;
pub(super) use store::TABLE;

use super::{Client, Identity};
use crate::{error::Result, tenancy::Statements, types::AuditEventId};

/// Who acts when that is not proven.
pub(super) const ANONYMOUS: &str = "anonymous";

/// What a line says.
pub(super) struct Event<'a> {
    /// `usr_…`, `key_…`, or `anonymous` while nobody has proven who they are.
    pub(super) actor: &'a str,
    /// What: `login.succeeded`.
    pub(super) action: &'static str,
    /// To what: `ses_…`.
    pub(super) target: Option<String>,
    /// More, by action. Never secret.
    pub(super) details: Value,
}

/// Writes one line, in the caller's transaction where there is one.
pub(super) async fn write(
    ctx: &Identity,
    statements: &impl Statements,
    client: &Client,
    event: &Event<'_>,
) -> Result<()> {
    let id = AuditEventId::generate(&ctx.clock, ctx.random);
    store::add(statements, id, client, event).await
}
