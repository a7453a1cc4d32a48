//! All SQL on the table `audit_events`.

use super::Event;
use crate::{
    error::Result,
    identity::Client,
    tenancy::{Param, Statements},
    types::{AuditEventId, Stream, TableName},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "audit_events");

const ADD: &str = "INSERT INTO freehold.audit_events (id, actor, action, target, ip, user_agent, request_id, details)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Adds an event.
pub(super) async fn add(
    statements: &impl Statements,
    id: AuditEventId,
    client: &Client,
    event: &Event<'_>,
) -> Result<()> {
    let (id, ip, agent) = (id.uuid(), client.ip.to_canonical(), client.agent());
    let Event { actor, action, target, details } = event;
    let params: [Param<'_>; 8] = [&id, actor, action, target, &ip, &agent, &client.request_id, details];
    statements.run(ADD, &params).await?;
    Ok(())
}
