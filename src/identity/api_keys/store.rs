//! All SQL on the table `api_keys`.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use crate::{
    error::{Error, Result},
    identity::{
        people,
        roles::{self, Role},
    },
    tenancy::{Param, Statements},
    types::{ApiKeyId, DisplayName, Email, Stream, TableName, UserId},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "api_keys");

const ADD: &str = "INSERT INTO freehold.api_keys (id, name, secret_hash, user_id, scopes) VALUES ($1, $2, $3, $4, $5)";

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
    pub(super) name: &'a DisplayName,
    pub(super) secret_hash: Vec<u8>,
    pub(super) user: UserId,
    pub(super) scopes: &'a [&'a str],
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
pub(super) async fn add(statements: &impl Statements, new: &New<'_>) -> Result<()> {
    let (id, name, user) = (new.id.uuid(), new.name.as_str(), new.user.uuid());
    let params: [Param<'_>; 5] = [&id, &name, &new.secret_hash, &user, &new.scopes];
    statements.run(ADD, &params).await?;
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
