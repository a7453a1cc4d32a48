//! What a tenant's audit log says about identity. Lines are written in the transaction of the change.

use std::net::IpAddr;

use serde_json::Value;

use super::Inner;
use crate::{error::Result, tenancy::Statements, types::AuditEventId};

/// How a request came.
#[derive(Clone, Debug)]
pub struct Client {
    /// The peer's address.
    pub ip: IpAddr,
    /// As the client sent it.
    pub user_agent: Option<String>,
    /// Ties log lines and audit events together.
    pub request_id: Option<String>,
}

impl Client {
    /// The agent as it is stored: the first 512 characters, without what PostgreSQL cannot hold.
    pub(super) fn agent(&self) -> Option<String> {
        self.user_agent.as_ref().map(|text| text.chars().filter(|c| *c != '\0').take(512).collect())
    }
}

/// A line of the log.
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

/// Who acts when that is not proven.
pub(super) const ANONYMOUS: &str = "anonymous";

impl Inner {
    /// Writes one line.
    pub(super) async fn audit(&self, statements: &impl Statements, client: &Client, event: &Event<'_>) -> Result<()> {
        let sql = "INSERT INTO freehold.audit_events (id, actor, action, target, ip, user_agent, request_id, details)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let id = AuditEventId::generate(&self.clock, self.random).uuid();
        let (ip, agent, request_id) = (client.ip.to_canonical(), client.agent(), &client.request_id);
        let Event { actor, action, target, details } = event;
        statements.run(sql, &[&id, actor, action, target, &ip, &agent, request_id, details]).await?;
        Ok(())
    }
}
