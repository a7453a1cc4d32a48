//! All SQL on the table `api_keys`.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::manage::{ApiKey, Filter};
use crate::{
    error::{Error, Result},
    identity::{
        people,
        roles::{self, Role},
    },
    tenancy::{Param, Statements, TenantTxn},
    types::{ApiKeyId, Email, Stream, TableName, UserId},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "api_keys");

macro_rules! listed {
    () => {
        "id, name, user_id, scopes, allowed_addresses::text[] AS addresses, created_at, expires_at, last_used_at,
         revoked_at"
    };
}

const ADD: &str = concat!(
    "INSERT INTO freehold.api_keys (id, name, secret_hash, user_id, scopes, expires_at, allowed_addresses)
     VALUES ($1, $2, $3, $4, $5, $6, $7::text[]::cidr[]) RETURNING ",
    listed!()
);

const GET: &str = concat!("SELECT ", listed!(), " FROM freehold.api_keys WHERE id = $1");

const LOCK: &str = concat!("SELECT ", listed!(), " FROM freehold.api_keys WHERE id = $1 FOR UPDATE");

/// Ids are in the order of their making.
const PAGE: &str = concat!(
    "SELECT ",
    listed!(),
    " FROM freehold.api_keys
     WHERE ($1::uuid IS NULL OR id < $1) AND ($2::uuid IS NULL OR user_id = $2)
       AND ($3::boolean IS NULL OR $3 = (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())))
     ORDER BY id DESC LIMIT $4"
);

/// The key that another one has replaced.
const END_SOON: &str = "UPDATE freehold.api_keys
    SET expires_at = least(expires_at, now() + make_interval(secs => $2)) WHERE id = $1";

const REVOKE: &str = "UPDATE freehold.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";

const REVOKE_ALL: &str = "UPDATE freehold.api_keys SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL";

const BEFORE_FIRST: &str = concat!(
    "SELECT ",
    people::id_of!("$1"),
    " AS id, EXISTS (SELECT FROM freehold.api_keys) AS has_keys,
     (SELECT secret_hash FROM freehold.api_keys WHERE id = $2 AND revoked_at IS NULL) AS recorded"
);

const USED: &str = concat!(
    "WITH noted AS (
         UPDATE freehold.api_keys SET last_used_at = now()
         WHERE id = $1 AND secret_hash = $2
           AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute'))
     SELECT k.secret_hash, k.user_id, k.scopes, k.expires_at, ",
    roles::columns!(),
    " FROM freehold.api_keys k",
    people::join_active!("k.user_id"),
    roles::join!("u.role"),
    " WHERE k.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        AND (k.allowed_addresses IS NULL OR $3::inet <<= ANY (k.allowed_addresses))"
);

/// A key to insert.
pub(super) struct New<'a> {
    pub(super) id: ApiKeyId,
    pub(super) name: &'a str,
    pub(super) secret_hash: Vec<u8>,
    pub(super) user: UserId,
    pub(super) scopes: &'a [&'a str],
    pub(super) bounds: &'a Bounds,
}

/// Until when a key is valid, and from where.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// Networks in CIDR notation.
    pub(super) addresses: Option<Vec<String>>,
}

/// What there is before the first key is added.
pub(super) struct BeforeFirst {
    /// The user whose key it shall be.
    pub(super) user: Option<UserId>,
    /// Whether there are keys already.
    pub(super) has_keys: bool,
    /// The digest of its secret, if it is one of them.
    pub(super) recorded: Option<Vec<u8>>,
}

/// A valid key.
pub(super) struct Found {
    pub(super) secret_hash: Vec<u8>,
    pub(super) user: UserId,
    pub(super) scopes: Vec<String>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// The role that its owner has now.
    pub(super) role: Role,
}

/// Adds a key.
pub(super) async fn add(statements: &impl Statements, new: &New<'_>) -> Result<ApiKey> {
    let (id, user, Bounds { expires_at, addresses }) = (new.id.uuid(), new.user.uuid(), new.bounds);
    let params: [Param<'_>; 7] = [&id, &new.name, &new.secret_hash, &user, &new.scopes, expires_at, addresses];
    let row = statements.row(ADD, &params).await?;
    read(&row.ok_or_else(|| Error::defect("an INSERT has answered with no row"))?)
}

fn read(row: &Row) -> Result<ApiKey> {
    Ok(ApiKey {
        id: ApiKeyId::from_uuid(row.try_get("id")?),
        name: row.try_get("name")?,
        user_id: UserId::from_uuid(row.try_get("user_id")?),
        scopes: row.try_get("scopes")?,
        allowed_addresses: row.try_get("addresses")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

/// One key, valid or not.
pub(super) async fn get(statements: &impl Statements, id: ApiKeyId) -> Result<Option<ApiKey>> {
    statements.row(GET, &[&id.uuid()]).await?.map(|row| read(&row)).transpose()
}

/// The same, which nobody else changes until the transaction ends.
pub(super) async fn lock(txn: &TenantTxn<'_>, id: ApiKeyId) -> Result<Option<ApiKey>> {
    txn.row(LOCK, &[&id.uuid()]).await?.map(|row| read(&row)).transpose()
}

/// One page of keys, the newest first.
pub(super) async fn page(
    statements: &impl Statements,
    filter: &Filter,
    after: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    let (after, user) = (after.map(ApiKeyId::uuid), filter.user.map(UserId::uuid));
    let params: [Param<'_>; 4] = [&after, &user, &filter.valid, &limit];
    statements.rows(PAGE, &params).await?.iter().map(read).collect()
}

/// Lets a key end after so many seconds, if it does not end sooner.
pub(super) async fn end_soon(txn: &TenantTxn<'_>, id: ApiKeyId, seconds: f64) -> Result<()> {
    txn.run(END_SOON, &[&id.uuid(), &seconds]).await?;
    Ok(())
}

/// Revokes a key. False when it is revoked already.
pub(super) async fn revoke(txn: &TenantTxn<'_>, id: ApiKeyId) -> Result<bool> {
    Ok(txn.run(REVOKE, &[&id.uuid()]).await? == 1)
}

/// Revokes all keys of a user.
pub(in crate::identity) async fn revoke_all(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    txn.run(REVOKE_ALL, &[&user.uuid()]).await?;
    Ok(())
}

/// The user with this email address, and what there is of keys already, this one above all.
pub(super) async fn before_first(statements: &impl Statements, email: &Email, key: ApiKeyId) -> Result<BeforeFirst> {
    let row = statements.row(BEFORE_FIRST, &[&email.as_str(), &key.uuid()]).await?;
    let row = row.ok_or_else(|| Error::defect("a SELECT without FROM has answered with no row"))?;
    let user: Option<uuid::Uuid> = row.try_get("id")?;
    Ok(BeforeFirst {
        user: user.map(UserId::from_uuid),
        has_keys: row.try_get("has_keys")?,
        recorded: row.try_get("recorded")?,
    })
}

/// The key with this id, if it is valid for a client at `ip`. Records its use if `hash` is the digest of its secret.
/// The caller must compare the two.
pub(super) async fn used(
    statements: &impl Statements,
    (id, hash): (ApiKeyId, &[u8]),
    ip: IpAddr,
) -> Result<Option<Found>> {
    let Some(row) = statements.row(USED, &[&id.uuid(), &hash, &ip.to_canonical()]).await? else { return Ok(None) };
    Ok(Some(Found {
        secret_hash: row.try_get("secret_hash")?,
        user: UserId::from_uuid(row.try_get("user_id")?),
        scopes: row.try_get("scopes")?,
        expires_at: row.try_get("expires_at")?,
        role: roles::read(&row)?,
    }))
}
