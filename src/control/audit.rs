//! Table `audit_events`: what operators did. Written in the transaction of the change, never altered.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

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

/// Which events are looked for. What is absent is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who.
    pub actor: Option<String>,
    /// What, or all of one kind: `tenant` finds `tenant.create`.
    pub action: Option<String>,
    /// To what.
    pub target: Option<String>,
    /// From then on.
    pub since: Option<DateTime<Utc>>,
    /// Before then.
    pub until: Option<DateTime<Utc>>,
}

/// Where a page of events begins: after this one.
pub type Place = (DateTime<Utc>, AuditEventId);

/// The columns of `audit_events`, as they are read.
struct Line {
    id: Uuid,
    at: DateTime<Utc>,
    actor: String,
    action: String,
    target: Option<String>,
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    details: serde_json::Value,
}

impl From<Line> for Event {
    fn from(line: Line) -> Self {
        let Line { id, at, actor, action, target, ip, user_agent, request_id, details } = line;
        let id = AuditEventId::from_uuid(id);
        Self { id, at, actor, action, target, ip, user_agent, request_id, details }
    }
}

/// A page of the events that match, newest first.
pub async fn page(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Event>> {
    let lines = sqlx::query_as!(
        Line,
        "SELECT id, at, actor, action, target, host(ip) AS ip, user_agent, request_id, details FROM audit_events
         WHERE ($1::text IS NULL OR actor = $1)
           AND ($2::text IS NULL OR action = $2 OR starts_with(action, $2 || '.'))
           AND ($3::text IS NULL OR target = $3)
           AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
           AND ($6::timestamptz IS NULL OR (at, id) < ($6, $7))
         ORDER BY at DESC, id DESC LIMIT $8",
        filter.actor,
        filter.action,
        filter.target,
        filter.since,
        filter.until,
        before.map(|(at, _)| at),
        before.map(|(_, id)| id.uuid()),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(lines.into_iter().map(Event::from).collect())
}

/// Events from `since` on, or all, oldest first, after this one: what a chain is made of.
pub async fn oldest(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Event>> {
    let lines = sqlx::query_as!(
        Line,
        "SELECT id, at, actor, action, target, host(ip) AS ip, user_agent, request_id, details FROM audit_events
         WHERE ($1::timestamptz IS NULL OR at >= $1) AND ($2::timestamptz IS NULL OR (at, id) > ($2, $3))
         ORDER BY at, id LIMIT $4",
        since,
        after.map(|(at, _)| at),
        after.map(|(_, id)| id.uuid()),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(lines.into_iter().map(Event::from).collect())
}

/// Those of these events that there are.
pub async fn these(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Event>> {
    let lines = sqlx::query_as!(
        Line,
        "SELECT id, at, actor, action, target, host(ip) AS ip, user_agent, request_id, details FROM audit_events
         WHERE id = ANY($1)",
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(lines.into_iter().map(Event::from).collect())
}
