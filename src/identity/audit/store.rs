//! All SQL on the tables `audit_events`, `audit_batches`, `audit_digests` and `audit_horizons`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    Event,
    chain::{self, Digest, New},
};
use crate::{
    control::audit::{Event as Written, Filter, Place},
    error::{Error, Result},
    identity::Client,
    tenancy::{Param, Statements, TenantTxn},
    types::{AuditEventId, Stream, TableName},
};

/// The tables' names.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "audit_events");
pub(in crate::identity) const BATCHES: TableName = TableName::of(Stream::Freehold, "audit_batches");
pub(in crate::identity) const DIGESTS: TableName = TableName::of(Stream::Freehold, "audit_digests");
pub(in crate::identity) const HORIZONS: TableName = TableName::of(Stream::Freehold, "audit_horizons");

const ADD: &str = "INSERT INTO freehold.audit_events (id, actor, action, target, ip, user_agent, request_id, details)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const ADD_ALL: &str =
    "INSERT INTO freehold.audit_events (id, actor, action, target, ip, user_agent, request_id, details)
    SELECT e.id, $2, $3, e.target, $4, $5, $6, e.details FROM unnest($1::uuid[], $7::text[], $8::jsonb[])
        AS e (id, target, details)";

macro_rules! columns {
    () => {
        "SELECT e.id, e.at, e.actor, e.action, e.target, host(e.ip) AS ip, e.user_agent, e.request_id, e.details
         FROM freehold.audit_events e"
    };
}

const PAGE: &str = concat!(
    columns!(),
    " WHERE ($1::text IS NULL OR e.actor = $1)
        AND ($2::text IS NULL OR e.action = $2 OR starts_with(e.action, $2 || '.'))
        AND ($3::text IS NULL OR e.target = $3)
        AND ($4::timestamptz IS NULL OR e.at >= $4) AND ($5::timestamptz IS NULL OR e.at < $5)
        AND ($6::timestamptz IS NULL OR (e.at, e.id) < ($6, $7::uuid))
      ORDER BY e.at DESC, e.id DESC LIMIT $8"
);

const ABOUT: &str = concat!(
    columns!(),
    " WHERE (e.actor = $1 OR e.target = $1 OR e.details ->> 'user' = $1)
        AND ($2::timestamptz IS NULL OR (e.at, e.id) < ($2, $3::uuid))
      ORDER BY e.at DESC, e.id DESC LIMIT $4"
);

const THESE: &str = concat!(columns!(), " WHERE e.id = ANY($1)");

const UNCHAINED: &str = concat!(
    columns!(),
    " WHERE ($1::timestamptz IS NULL OR e.at >= $1)
        AND NOT EXISTS (SELECT FROM freehold.audit_digests d WHERE d.event_id = e.id)
      ORDER BY e.at, e.id LIMIT $2"
);

const SLIPPED_IN: &str = "SELECT e.id FROM freehold.audit_events e
    WHERE e.at < $1 AND NOT EXISTS (SELECT FROM freehold.audit_digests d WHERE d.event_id = e.id)
    ORDER BY e.at, e.id LIMIT $2";

const COUNT_UNCHAINED: &str = "SELECT count(*) AS events FROM freehold.audit_events e
    WHERE NOT EXISTS (SELECT FROM freehold.audit_digests d WHERE d.event_id = e.id)";

const CHAINED_AMONG: &str = "SELECT event_id FROM freehold.audit_digests WHERE event_id = ANY($1)";

macro_rules! batches {
    () => {
        "SELECT number, through, previous, digest FROM freehold.audit_batches WHERE log = $1"
    };
}

const LAST: &str = concat!(batches!(), " ORDER BY number DESC LIMIT 1");

const BATCH: &str = concat!(batches!(), " AND number = $2");

const BATCHES_AFTER: &str = concat!(batches!(), " AND number > $2 ORDER BY number LIMIT $3");

const DIGESTS_OF: &str =
    "SELECT event_id, digest FROM freehold.audit_digests WHERE log = $1 AND batch = $2 ORDER BY event_id";

const HORIZON: &str = "SELECT number FROM freehold.audit_horizons WHERE log = $1";

/// Adds none when there is a batch of this number.
const ADD_BATCH: &str = "WITH added AS (
         INSERT INTO freehold.audit_batches (log, number, events, through, previous, digest)
         VALUES ($1, $2, cardinality($6::uuid[]), $3, $4, $5) ON CONFLICT (log, number) DO NOTHING RETURNING number
     )
     INSERT INTO freehold.audit_digests (event_id, log, batch, digest)
     SELECT e.id, $1, added.number, e.digest FROM added, unnest($6::uuid[], $7::bytea[]) AS e (id, digest)";

const FORGET_BATCH: &str = "SELECT freehold.forget_audit_batch($1) AS events";

/// A batch of the chain.
pub(super) struct Batch {
    pub(super) number: i64,
    /// The newest event's time.
    pub(super) through: DateTime<Utc>,
    pub(super) previous: Digest,
    pub(super) digest: Digest,
}

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

/// Adds an event for each target, with its details.
pub(super) async fn add_all(
    statements: &impl Statements,
    ids: &[Uuid],
    client: &Client,
    (actor, action): (&str, &str),
    done: &[(String, serde_json::Value)],
) -> Result<()> {
    let (ip, agent) = (client.ip.to_canonical(), client.agent());
    let (targets, details): (Vec<_>, Vec<_>) = done.iter().map(|(target, details)| (target, details)).unzip();
    let params: [Param<'_>; 8] = [&ids, &actor, &action, &ip, &agent, &client.request_id, &targets, &details];
    statements.run(ADD_ALL, &params).await?;
    Ok(())
}

/// Adds an event that no client has caused.
pub(super) async fn add_own(txn: &TenantTxn<'_>, id: AuditEventId, event: &Event<'_>) -> Result<()> {
    let nothing: Option<String> = None;
    let nowhere: Option<std::net::IpAddr> = None;
    let Event { actor, action, target, details } = event;
    let params: [Param<'_>; 8] = [&id.uuid(), actor, action, target, &nowhere, &nothing, &nothing, details];
    txn.run(ADD, &params).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Written> {
    Ok(Written {
        id: AuditEventId::from_uuid(row.try_get("id")?),
        at: row.try_get("at")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        ip: row.try_get("ip")?,
        user_agent: row.try_get("user_agent")?,
        request_id: row.try_get("request_id")?,
        details: row.try_get("details")?,
    })
}

fn read_batch(row: &Row) -> Result<Batch> {
    Ok(Batch {
        number: row.try_get("number")?,
        through: row.try_get("through")?,
        previous: chain::fixed(row.try_get("previous")?)?,
        digest: chain::fixed(row.try_get("digest")?)?,
    })
}

/// A page of the events that match, newest first.
pub(super) async fn page(
    statements: &impl Statements,
    filter: &Filter,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Written>> {
    let Filter { actor, action, target, since, until } = filter;
    let (at, id) = (before.map(|(at, _)| at), before.map(|(_, id)| id.uuid()));
    let params: [Param<'_>; 8] = [actor, action, target, since, until, &at, &id, &limit];
    statements.rows(PAGE, &params).await?.iter().map(read).collect()
}

/// A page of the events that a user has caused, or that are about them, newest first.
pub(super) async fn about(
    statements: &impl Statements,
    user: &str,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Written>> {
    let (at, id) = (before.map(|(at, _)| at), before.map(|(_, id)| id.uuid()));
    statements.rows(ABOUT, &[&user, &at, &id, &limit]).await?.iter().map(read).collect()
}

/// Those of these events that there are.
pub(super) async fn these(statements: &impl Statements, ids: &[Uuid]) -> Result<Vec<Written>> {
    statements.rows(THESE, &[&ids]).await?.iter().map(read).collect()
}

/// Events that are in no batch, from `since` on, oldest first.
pub(super) async fn unchained(
    statements: &impl Statements,
    since: Option<DateTime<Utc>>,
    limit: usize,
) -> Result<Vec<Written>> {
    let limit = i64::try_from(limit).map_err(Error::internal)?;
    statements.rows(UNCHAINED, &[&since, &limit]).await?.iter().map(read).collect()
}

/// Events before `late` that are in no batch.
pub(super) async fn slipped_in(statements: &impl Statements, late: DateTime<Utc>, limit: i64) -> Result<Vec<Uuid>> {
    let rows = statements.rows(SLIPPED_IN, &[&late, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

/// How many events are in no batch.
pub(super) async fn count_unchained(statements: &impl Statements) -> Result<i64> {
    let row = statements.row(COUNT_UNCHAINED, &[]).await?;
    Ok(row.map(|row| row.try_get("events")).transpose()?.unwrap_or_default())
}

/// Those of these events that are in a batch.
pub(super) async fn chained_among(statements: &impl Statements, ids: &[Uuid]) -> Result<BTreeSet<Uuid>> {
    let rows = statements.rows(CHAINED_AMONG, &[&ids]).await?;
    rows.iter().map(|row| Ok(row.try_get("event_id")?)).collect()
}

/// The newest batch of a log.
pub(super) async fn last(statements: &impl Statements, log: &str) -> Result<Option<Batch>> {
    statements.row(LAST, &[&log]).await?.map(|row| read_batch(&row)).transpose()
}

/// The batch of this number.
pub(super) async fn batch(statements: &impl Statements, log: &str, number: i64) -> Result<Option<Batch>> {
    statements.row(BATCH, &[&log, &number]).await?.map(|row| read_batch(&row)).transpose()
}

/// The batches after this number.
pub(super) async fn batches(statements: &impl Statements, log: &str, after: i64, limit: i64) -> Result<Vec<Batch>> {
    statements.rows(BATCHES_AFTER, &[&log, &after, &limit]).await?.iter().map(read_batch).collect()
}

/// The events of a batch by their ids, each with its digest.
pub(super) async fn digests(statements: &impl Statements, log: &str, batch: i64) -> Result<Vec<(Uuid, Digest)>> {
    let rows = statements.rows(DIGESTS_OF, &[&log, &batch]).await?;
    rows.iter().map(|row| Ok((row.try_get("event_id")?, chain::fixed(row.try_get("digest")?)?))).collect()
}

/// The batch up to which events were taken away.
pub(super) async fn horizon(statements: &impl Statements, log: &str) -> Result<Option<i64>> {
    let row = statements.row(HORIZON, &[&log]).await?;
    Ok(row.map(|row| row.try_get("number")).transpose()?)
}

/// Adds a batch with its events' digests. False when there is one of its number.
pub(super) async fn add_batch(txn: &TenantTxn<'_>, log: &str, new: &New) -> Result<bool> {
    let (ids, digests): (Vec<Uuid>, Vec<&[u8]>) =
        new.events.iter().map(|(id, digest)| (*id, digest.as_slice())).unzip();
    let (previous, digest) = (new.previous.as_slice(), new.digest.as_slice());
    let params: [Param<'_>; 7] = [&log, &new.number, &new.through, &previous, &digest, &ids, &digests];
    Ok(txn.run(ADD_BATCH, &params).await? > 0)
}

/// Takes the oldest batch's events away, if all of them are older than `days`; how many.
pub(super) async fn forget_batch(txn: &TenantTxn<'_>, days: i32) -> Result<i64> {
    let row = txn.row(FORGET_BATCH, &[&days]).await?;
    Ok(row.map(|row| row.try_get("events")).transpose()?.unwrap_or_default())
}
