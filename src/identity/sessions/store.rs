//! All SQL on the table `sessions`.
//!
//! Where possible, one statement changes a session and its tokens. The tokens' part of the statement comes from
//! `tokens/store.rs`.

use std::time::Duration;

use tokio_postgres::Row;

use super::Session;
use crate::{
    error::{Error, Result},
    identity::{
        Client, people,
        roles::{self, Role},
        settings, tokens,
    },
    tenancy::{Param, Statements, TenantTxn},
    types::{SessionId, Stream, TableName, UserId},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "sessions");

macro_rules! is_alive {
    () => {
        " s.revoked_at IS NULL AND s.expires_at > now()"
    };
}

/// An SQL expression: when a session that began at `$created` ends unless it is used: `$idle` seconds from now, and
/// earlier if the tenant has decided so.
macro_rules! expiry {
    ($idle:literal, created = $created:literal) => {
        concat!(
            "least(now() + make_interval(secs => ",
            $idle,
            "), now() + make_interval(secs => ",
            settings::number!("session_idle_seconds"),
            "), ",
            $created,
            " + interval '90 days', ",
            $created,
            " + make_interval(secs => ",
            settings::number!("session_lifetime_seconds"),
            "))"
        )
    };
}

/// How many sessions `$1` has, whether one more is refused, and which end to make room for it.
const MAKE_ROOM: &str = concat!(
    "WITH bound AS (
         SELECT coalesce(",
    settings::number!("sessions_per_user"),
    ", $2)::bigint AS most, ",
    settings::is!("session_limit", "\"refuse\""),
    " AS refuses
     ), alive AS (
         SELECT s.id, row_number() OVER (ORDER BY s.last_used_at DESC, s.id DESC) AS place
         FROM freehold.sessions s WHERE s.user_id = $1 AND",
    is_alive!(),
    "), ended AS (
         UPDATE freehold.sessions SET revoked_at = now(), revoked_because = 'session_limit'
         WHERE id IN (SELECT a.id FROM alive a, bound b WHERE a.place >= b.most AND NOT b.refuses) RETURNING id
     )
     SELECT (SELECT count(*) FROM alive) >= most AND refuses AS refused, (SELECT count(*) FROM ended) AS ended
     FROM bound"
);

/// Inserts nothing if the user is not active.
const OPEN: &str = concat!(
    "WITH who AS (",
    people::active!("$2"),
    "), opened AS (
         INSERT INTO freehold.sessions (id, user_id, rotation_key, ip, user_agent, expires_at)
         SELECT $1, id, $3, $4, $5, ",
    expiry!("$6", created = "now()"),
    " FROM who RETURNING id, expires_at
     ), issued AS (",
    tokens::issue!("opened", "$7"),
    ")
     SELECT role FROM who"
);

const ROLE: &str = concat!(
    "SELECT ",
    roles::columns!(),
    ", t.session_id IS NOT NULL AS unconfirmed FROM freehold.sessions s",
    people::join_active!("s.user_id"),
    roles::join!("u.role"),
    tokens::left_join_unconfirmed!("s.id", "$3"),
    " WHERE s.id = $1 AND s.user_id = $2 AND",
    is_alive!()
);

/// The same in a database of version 1, where nothing is confirmed.
const ROLE_BEFORE: &str = concat!(
    "SELECT ",
    roles::columns!(),
    ", $3::bytea IS NULL AND false AS unconfirmed FROM freehold.sessions s",
    people::join_active!("s.user_id"),
    roles::join!("u.role"),
    " WHERE s.id = $1 AND s.user_id = $2 AND",
    is_alive!()
);

/// Notes that an access token was shown that was issued with the refresh token `$1`, and so when the session was used.
const CONFIRM: &str = concat!(
    "WITH confirmed AS (",
    tokens::confirm!("$1"),
    ") UPDATE freehold.sessions SET last_used_at = now() WHERE id IN (SELECT session_id FROM confirmed)"
);

/// Spends a token. The caller commits only if this returns a session, so that the token of an ended session is not
/// changed.
const SPEND: &str = concat!(
    "WITH t AS (",
    tokens::spend!("$1"),
    ")
     SELECT s.id, s.user_id, s.rotation_key, u.role FROM t JOIN freehold.sessions s ON s.id = t.session_id",
    people::join_active!("s.user_id"),
    " WHERE",
    is_alive!()
);

macro_rules! spent {
    (within $time:literal) => {
        concat!(
            "SELECT s.id, s.user_id, s.rotation_key, u.role, t.lately FROM (",
            tokens::spent!("$1", within $time),
            ") t JOIN freehold.sessions s ON s.id = t.session_id",
            people::join_active!("s.user_id"),
            " WHERE",
            is_alive!()
        )
    };
}

/// For ten minutes: as long as the access token lives that came with the answer which may have been lost.
const SPENT: &str = spent!(within "10 minutes");

/// In a database of version 1, where nobody knows whether an answer has arrived.
const SPENT_BEFORE: &str = spent!(within "10 seconds");

/// Prolongs a session, and stores the next token.
const FOLLOW: &str = concat!(
    "WITH prolonged AS (
         UPDATE freehold.sessions SET last_used_at = now(),
             expires_at = ",
    expiry!("$3", created = "created_at"),
    " WHERE id = $1 RETURNING id, expires_at
     ) ",
    tokens::issue!("prolonged", "$2")
);

/// One session, or all.
const END: &str = "UPDATE freehold.sessions SET revoked_at = now(), revoked_because = $3
    WHERE user_id = $1 AND ($2::uuid IS NULL OR id = $2) AND revoked_at IS NULL";

/// All but one.
const END_OTHERS: &str = "UPDATE freehold.sessions SET revoked_at = now(), revoked_because = $3
    WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL";

const LIST: &str = concat!(
    "SELECT s.id, s.ip, s.user_agent, s.created_at, s.last_used_at, s.expires_at FROM freehold.sessions s
     WHERE s.user_id = $1 AND",
    is_alive!(),
    " ORDER BY s.last_used_at DESC, s.id DESC LIMIT 200"
);

const PROVE: &str = "UPDATE freehold.sessions SET proved_at = now() WHERE id = $1 AND revoked_at IS NULL";

/// A session that has ended proves nothing, however lately that was.
const IS_PROVED: &str = concat!(
    "SELECT coalesce(proved_at, created_at) > now() - make_interval(secs => $2) AS proved
     FROM freehold.sessions s WHERE s.id = $1 AND",
    is_alive!()
);

const IS_ALIVE: &str = concat!("SELECT FROM freehold.sessions s WHERE s.id = $1 AND", is_alive!());

/// Of a session that has not ended but expired, nothing can be used either.
const PURGE: &str = "DELETE FROM freehold.sessions WHERE id IN (
    SELECT id FROM freehold.sessions
    WHERE least(expires_at, revoked_at) < now() - make_interval(secs => $1) LIMIT $2)";

const END_FAMILY: &str = "UPDATE freehold.sessions SET revoked_at = now(), revoked_because = 'refresh_token_reused'
    WHERE id = $1 AND revoked_at IS NULL";

/// A session to insert, and its first token.
pub(super) struct New<'a> {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) rotation_key: [u8; 32],
    pub(super) client: &'a Client,
    pub(super) idle: f64,
    pub(super) token_hash: Vec<u8>,
}

/// The session of a token that was spent.
pub(super) struct Spent {
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) role: String,
    /// With it the token that follows is derived.
    pub(super) rotation_key: Vec<u8>,
}

/// What there is to say of a user's sessions before one more is opened.
pub(super) struct Room {
    /// Whether there are as many as there may be, and the tenant refuses another one.
    pub(super) is_refused: bool,
    /// Whether some were ended to make room.
    pub(super) has_ended: bool,
}

/// Makes room for one more session of a user, whose account is locked.
pub(super) async fn make_room(txn: &TenantTxn<'_>, user: UserId, most: u32) -> Result<Room> {
    let row = txn.row(MAKE_ROOM, &[&user.uuid(), &f64::from(most)]).await?;
    let row = row.ok_or_else(|| Error::defect("a SELECT from one row has answered with none"))?;
    Ok(Room { is_refused: row.try_get("refused")?, has_ended: row.try_get::<_, i64>("ended")? > 0 })
}

/// Opens a session; the role of its user, or `None` when they are not active.
pub(super) async fn open(txn: &TenantTxn<'_>, new: &New<'_>) -> Result<Option<String>> {
    let (ip, agent, key) = (new.client.ip.to_canonical(), new.client.agent(), new.rotation_key.as_slice());
    let (id, user) = (new.id.uuid(), new.user.uuid());
    let params: [Param<'_>; 7] = [&id, &user, &key, &ip, &agent, &new.idle, &new.token_hash];
    Ok(txn.row(OPEN, &params).await?.map(|row| row.try_get("role")).transpose()?)
}

/// The role that the user of a session has now, and whether no access token was shown before that was issued with the
/// same refresh token as this one. `None` when the session has ended or the user is not active.
pub(super) async fn role(
    statements: &impl Statements,
    (session, user): (SessionId, UserId),
    issued_with: Option<&[u8]>,
    is_confirmed: bool,
) -> Result<Option<(Role, bool)>> {
    let sql = if is_confirmed { ROLE } else { ROLE_BEFORE };
    let Some(row) = statements.row(sql, &[&session.uuid(), &user.uuid(), &issued_with]).await? else {
        return Ok(None);
    };
    Ok(Some((roles::read(&row)?, row.try_get("unconfirmed")?)))
}

/// Notes that an access token was shown which was issued with the refresh token of this digest.
pub(super) async fn confirm(statements: &impl Statements, issued_with: &[u8]) -> Result<()> {
    statements.run(CONFIRM, &[&issued_with]).await?;
    Ok(())
}

/// Spends the token with this digest. `None`, and nothing must be committed, when it is not unspent, or its session has
/// ended.
pub(super) async fn spend(txn: &TenantTxn<'_>, token_hash: &[u8]) -> Result<Option<Spent>> {
    txn.row(SPEND, &[&token_hash]).await?.map(|row| read(&row)).transpose()
}

/// The living session whose token with this digest was spent before, and whether that was so lately that its client may
/// still wait for the answer.
pub(super) async fn spent(
    statements: &impl Statements,
    token_hash: &[u8],
    is_confirmed: bool,
) -> Result<Option<(Spent, bool)>> {
    let sql = if is_confirmed { SPENT } else { SPENT_BEFORE };
    let Some(row) = statements.row(sql, &[&token_hash]).await? else { return Ok(None) };
    Ok(Some((read(&row)?, row.try_get("lately")?)))
}

fn read(row: &Row) -> Result<Spent> {
    Ok(Spent {
        session: SessionId::from_uuid(row.try_get("id")?),
        user: UserId::from_uuid(row.try_get("user_id")?),
        role: row.try_get("role")?,
        rotation_key: row.try_get("rotation_key")?,
    })
}

/// Prolongs a session, and stores the digest of its next token.
pub(super) async fn follow(txn: &TenantTxn<'_>, session: SessionId, token_hash: &[u8], idle: f64) -> Result<()> {
    txn.run(FOLLOW, &[&session.uuid(), &token_hash, &idle]).await?;
    Ok(())
}

/// Ends the session, or all sessions, of a user; how many.
pub(in crate::identity) async fn end(
    txn: &TenantTxn<'_>,
    user: UserId,
    session: Option<SessionId>,
    because: &str,
) -> Result<u64> {
    Ok(txn.run(END, &[&user.uuid(), &session.map(SessionId::uuid), &because]).await?)
}

/// Ends all sessions of a user but one; how many.
pub(super) async fn end_others(txn: &TenantTxn<'_>, user: UserId, kept: SessionId, because: &str) -> Result<u64> {
    Ok(txn.run(END_OTHERS, &[&user.uuid(), &kept.uuid(), &because]).await?)
}

/// A user's sessions that have not ended, the one that was used last first.
pub(super) async fn list(statements: &impl Statements, user: UserId) -> Result<Vec<Session>> {
    let read = |row: &Row| {
        Ok(Session {
            id: SessionId::from_uuid(row.try_get("id")?),
            ip: row.try_get("ip")?,
            user_agent: row.try_get("user_agent")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
            expires_at: row.try_get("expires_at")?,
            is_current: false,
        })
    };
    statements.rows(LIST, &[&user.uuid()]).await?.iter().map(read).collect()
}

/// Notes that a session has proved that its user is there. Whether it has not ended.
pub(super) async fn prove(txn: &TenantTxn<'_>, session: SessionId) -> Result<bool> {
    Ok(txn.run(PROVE, &[&session.uuid()]).await? > 0)
}

/// Whether the session has proved within this time that its user is there.
pub(super) async fn is_proved(txn: &TenantTxn<'_>, session: SessionId, within: Duration) -> Result<bool> {
    let row = txn.row(IS_PROVED, &[&session.uuid(), &within.as_secs_f64()]).await?;
    Ok(row.map(|row| row.try_get("proved")).transpose()?.unwrap_or_default())
}

/// Whether the session has not ended.
pub(in crate::identity) async fn is_alive(txn: &TenantTxn<'_>, session: SessionId) -> Result<bool> {
    Ok(txn.row(IS_ALIVE, &[&session.uuid()]).await?.is_some())
}

/// Takes away sessions that ended before this time, with their tokens, and spent tokens that have expired; how many rows.
pub(in crate::identity) async fn purge(statements: &impl Statements, kept: Duration, limit: i64) -> Result<u64> {
    let sessions = statements.run(PURGE, &[&kept.as_secs_f64(), &limit]).await?;
    Ok(sessions + tokens::purge(statements, limit).await?)
}

/// Ends a session of which two parties hold a token. Whether it was still alive.
pub(super) async fn end_family(txn: &TenantTxn<'_>, session: SessionId) -> Result<bool> {
    Ok(txn.run(END_FAMILY, &[&session.uuid()]).await? > 0)
}
