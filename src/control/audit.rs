//! Table `audit_events`: what operators did. Written in the transaction of the change, never altered.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{error::Result, types::AuditEventId};

/// Who did it and how they came.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `usr_…`, `key_…` or `system:<replica>`.
    pub actor: String,
    /// The peer's address.
    pub ip: Option<IpAddr>,
    /// As the client sent it, cut to 512 characters.
    pub user_agent: Option<String>,
    /// Ties the event to log lines.
    pub request_id: Option<String>,
}

/// One line of the audit log.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id.
    pub id: AuditEventId,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What: `tenant.create`.
    pub action: String,
    /// To what: `ten_…`.
    pub target: Option<String>,
    /// From where.
    pub ip: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// Ties the event to log lines.
    pub request_id: Option<String>,
    /// More, by action. Never secret.
    pub details: serde_json::Value,
}

/// Writes one event.
pub async fn record_in_txn(
    txn: &mut PgConnection,
    id: AuditEventId,
    origin: &Origin,
    (action, target): (&str, &str),
    details: &serde_json::Value,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO audit_events (id, actor, action, target, ip, user_agent, request_id, details)
         VALUES ($1, $2, $3, $4, $5::text::inet, $6, $7, $8)",
        id.uuid(),
        origin.actor,
        action,
        target,
        origin.ip.map(|ip| ip.to_string()),
        origin.user_agent,
        origin.request_id,
        details
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// A page of events, newest first; of one target if given.
pub async fn page(
    connection: &mut PgConnection,
    target: Option<&str>,
    before: Option<(DateTime<Utc>, AuditEventId)>,
    limit: i64,
) -> Result<Vec<Event>> {
    let rows = sqlx::query!(
        "SELECT id, at, actor, action, target, host(ip) AS ip, user_agent, request_id, details FROM audit_events
         WHERE ($1::text IS NULL OR target = $1) AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
         ORDER BY at DESC, id DESC LIMIT $4",
        target,
        before.map(|(at, _)| at),
        before.map(|(_, id)| id.uuid()),
        limit
    )
    .fetch_all(connection)
    .await?;
    let events = rows.into_iter().map(|row| Event {
        id: AuditEventId::from_uuid(row.id),
        at: row.at,
        actor: row.actor,
        action: row.action,
        target: row.target,
        ip: row.ip,
        user_agent: row.user_agent,
        request_id: row.request_id,
        details: row.details,
    });
    Ok(events.collect())
}
