//! All SQL on the table `sessions`.
//!
//! Where possible, one statement changes a session and its tokens. The tokens' part of the statement comes from
//! `tokens/store.rs`.

use tokio_postgres::Row;

use crate::{
    error::Result,
    identity::{
        Client, people,
        roles::{self, Role},
        tokens,
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

/// Inserts nothing if the user is not active.
const OPEN: &str = concat!(
    "WITH who AS (",
    people::active!("$2"),
    "), opened AS (
         INSERT INTO freehold.sessions (id, user_id, rotation_key, ip, user_agent, expires_at)
         SELECT $1, id, $3, $4, $5, now() + least(make_interval(secs => $6), interval '90 days') FROM who
         RETURNING id, expires_at
     ), issued AS (",
    tokens::issue!("opened", "$7"),
    ")
     SELECT role FROM who"
);

const ROLE: &str = concat!(
    "SELECT ",
    roles::columns!(),
    " FROM freehold.sessions s",
    people::join_active!("s.user_id"),
    roles::join!("u.role"),
    " WHERE s.id = $1 AND s.user_id = $2 AND",
    is_alive!()
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

const SPENT: &str = concat!(
    "SELECT s.id, s.user_id, s.rotation_key, u.role, t.just_now FROM (",
    tokens::spent!("$1"),
    ") t JOIN freehold.sessions s ON s.id = t.session_id",
    people::join_active!("s.user_id"),
    " WHERE",
    is_alive!()
);

/// Prolongs a session, and stores the next token.
const FOLLOW: &str = concat!(
    "WITH prolonged AS (
         UPDATE freehold.sessions SET last_used_at = now(),
             expires_at = least(now() + make_interval(secs => $3), created_at + interval '90 days')
         WHERE id = $1 RETURNING id, expires_at
     ) ",
    tokens::issue!("prolonged", "$2")
);

/// One session, or all.
const END: &str = "UPDATE freehold.sessions SET revoked_at = now(), revoked_because = $3
    WHERE user_id = $1 AND ($2::uuid IS NULL OR id = $2) AND revoked_at IS NULL";

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

/// Opens a session; the role of its user, or `None` when they are not active.
pub(super) async fn open(txn: &TenantTxn<'_>, new: &New<'_>) -> Result<Option<String>> {
    let (ip, agent, key) = (new.client.ip.to_canonical(), new.client.agent(), new.rotation_key.as_slice());
    let (id, user) = (new.id.uuid(), new.user.uuid());
    let params: [Param<'_>; 7] = [&id, &user, &key, &ip, &agent, &new.idle, &new.token_hash];
    Ok(txn.row(OPEN, &params).await?.map(|row| row.try_get("role")).transpose()?)
}

/// The role that the user of a session has now. `None` when the session has ended or the user is not active.
pub(in crate::identity) async fn role(
    statements: &impl Statements,
    session: SessionId,
    user: UserId,
) -> Result<Option<Role>> {
    let row = statements.row(ROLE, &[&session.uuid(), &user.uuid()]).await?;
    row.map(|row| roles::read(&row)).transpose()
}

/// Spends the token with this digest. `None`, and nothing must be committed, when it is not unspent, or its session has
/// ended.
pub(super) async fn spend(txn: &TenantTxn<'_>, token_hash: &[u8]) -> Result<Option<Spent>> {
    txn.row(SPEND, &[&token_hash]).await?.map(|row| read(&row)).transpose()
}

/// The living session whose token with this digest was spent before, and whether that was just now.
pub(super) async fn spent(statements: &impl Statements, token_hash: &[u8]) -> Result<Option<(Spent, bool)>> {
    let Some(row) = statements.row(SPENT, &[&token_hash]).await? else { return Ok(None) };
    Ok(Some((read(&row)?, row.try_get("just_now")?)))
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
pub(super) async fn end(txn: &TenantTxn<'_>, user: UserId, session: Option<SessionId>, because: &str) -> Result<u64> {
    Ok(txn.run(END, &[&user.uuid(), &session.map(SessionId::uuid), &because]).await?)
}

/// Ends a session of which two parties hold a token. Whether it was still alive.
pub(super) async fn end_family(txn: &TenantTxn<'_>, session: SessionId) -> Result<bool> {
    Ok(txn.run(END_FAMILY, &[&session.uuid()]).await? > 0)
}
