//! Table `secrets`: sealed values, one an owner and purpose.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    data_keys,
    sealing::{DataKey, KeyRing, WrappedKey},
};
use crate::error::{Error, Result};

/// What a secret is for. Part of the associated data under which it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The password of a server's administrative role.
    ServerAdminPassword,
    /// The one that takes its place, while it is being replaced.
    NextServerAdminPassword,
    /// The password of a tenant's login role.
    TenantDatabasePassword,
    /// The one that takes its place, while it is being replaced.
    NextTenantDatabasePassword,
    /// The first administrator's password, until the operation that creates the tenant has hashed it.
    FirstAdminPassword,
    /// The first administrator's invitation, so that a repeated request gets the same answer.
    FirstAdminInvitation,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ServerAdminPassword => "server_admin_password",
            Self::NextServerAdminPassword => "next_server_admin_password",
            Self::TenantDatabasePassword => "tenant_database_password",
            Self::NextTenantDatabasePassword => "next_tenant_database_password",
            Self::FirstAdminPassword => "first_admin_password",
            Self::FirstAdminInvitation => "first_admin_invitation",
        }
    }
}

/// Seals `value` with the owner's `key` and stores it, in place of an earlier one.
pub async fn put(
    connection: &mut PgConnection,
    key: &DataKey,
    owner: Uuid,
    purpose: Purpose,
    value: &SecretString,
) -> Result<()> {
    let sealed = key.seal(purpose.as_str(), value.expose_secret().as_bytes())?;
    sqlx::query!(
        "INSERT INTO secrets (owner_id, purpose, sealed) VALUES ($1, $2, $3)
         ON CONFLICT (owner_id, purpose) DO UPDATE SET sealed = excluded.sealed, updated_at = now()",
        owner,
        purpose.as_str(),
        sealed
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The owner's secret for `purpose`, opened.
pub async fn get(
    connection: &mut PgConnection,
    ring: &KeyRing,
    owner: Uuid,
    purpose: Purpose,
) -> Result<Option<SecretString>> {
    Ok(first_of(connection, ring, owner, &[purpose]).await?.map(|(_, secret)| secret))
}

/// The owner's secret for the first of `purposes` that there is one for, opened.
pub async fn first_of(
    connection: &mut PgConnection,
    ring: &KeyRing,
    owner: Uuid,
    purposes: &[Purpose],
) -> Result<Option<(Purpose, SecretString)>> {
    let names: Vec<_> = purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect();
    let query = sqlx::query!(
        "SELECT k.kek_id, k.wrapped, s.sealed, s.purpose FROM secrets s JOIN data_keys k USING (owner_id)
         WHERE s.owner_id = $1 AND s.purpose = ANY($2) ORDER BY array_position($2, s.purpose) LIMIT 1",
        owner,
        &names
    );
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let purpose = purposes.iter().copied().find(|purpose| purpose.as_str() == row.purpose);
    let purpose = purpose.ok_or_else(|| Error::defect("a secret was found that was not asked for"))?;
    let key = ring.unwrap(owner, &WrappedKey { kek_id: row.kek_id, wrapped: row.wrapped })?;
    Ok(Some((purpose, open(&key, purpose, &row.sealed)?)))
}

/// A text that was sealed for `purpose`.
pub(super) fn open(key: &DataKey, purpose: Purpose, sealed: &[u8]) -> Result<SecretString> {
    let opened = key.open(purpose.as_str(), sealed)?;
    let text = str::from_utf8(opened.expose_secret()).map_err(|_| Error::defect("a secret is not text"))?;
    Ok(SecretString::from(text))
}

/// The owner's secret for `purpose`, which must be there.
pub async fn require(
    connection: &mut PgConnection,
    ring: &KeyRing,
    owner: Uuid,
    purpose: Purpose,
) -> Result<SecretString> {
    let secret = get(connection, ring, owner, purpose).await?;
    secret.ok_or_else(|| Error::defect(format!("{owner} has no secret {}", purpose.as_str())))
}

/// The owner's secret for `present`, which must be there, and the one for `next`, as they are at one moment.
pub async fn require_pair(
    connection: &mut PgConnection,
    ring: &KeyRing,
    owner: Uuid,
    (next, present): (Purpose, Purpose),
) -> Result<(SecretString, Option<SecretString>)> {
    let row = sqlx::query!(
        r#"SELECT k.kek_id, k.wrapped, present.sealed AS present, next.sealed AS "next?"
         FROM data_keys k
         JOIN secrets present ON present.owner_id = k.owner_id AND present.purpose = $2
         LEFT JOIN secrets next ON next.owner_id = k.owner_id AND next.purpose = $3
         WHERE k.owner_id = $1"#,
        owner,
        present.as_str(),
        next.as_str()
    )
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or_else(|| Error::defect(format!("{owner} has no secret {}", present.as_str())))?;
    let key = ring.unwrap(owner, &WrappedKey { kek_id: row.kek_id, wrapped: row.wrapped })?;
    let next = row.next.map(|sealed| open(&key, next, &sealed)).transpose()?;
    Ok((open(&key, present, &row.present)?, next))
}

/// Lets the secret for `next` take the place of the one for `present`, if it is `expected`. False, and nothing happens,
/// when it is another one; true also when `expected` is the present one already.
pub async fn promote_in_txn(
    txn: &mut PgConnection,
    ring: &KeyRing,
    owner: Uuid,
    (next, present): (Purpose, Purpose),
    expected: &SecretString,
) -> Result<bool> {
    let is_expected = |secret: &SecretString| secret.expose_secret() == expected.expose_secret();
    let key = data_keys::get(txn, ring, owner).await?;
    let locked = sqlx::query_scalar!(
        "SELECT sealed FROM secrets WHERE owner_id = $1 AND purpose = $2 FOR UPDATE",
        owner,
        next.as_str()
    )
    .fetch_optional(&mut *txn)
    .await?;
    let Some(sealed) = locked else {
        // Somebody who found that it works may have been here before.
        return Ok(get(txn, ring, owner, present).await?.is_some_and(|secret| is_expected(&secret)));
    };
    let value = open(&key, next, &sealed)?;
    if !is_expected(&value) {
        return Ok(false);
    }
    // Sealed anew: the purpose is part of what a value is sealed under.
    put(txn, &key, owner, present, &value).await?;
    delete(txn, owner, next).await?;
    Ok(true)
}

/// Whether the owner's secret for `purpose` was stored after `moment`, by the control database's clock.
pub async fn is_newer(
    connection: &mut PgConnection,
    owner: Uuid,
    purpose: Purpose,
    moment: DateTime<Utc>,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM secrets WHERE owner_id = $1 AND purpose = $2 AND updated_at > $3) AS "is_newer!""#,
        owner,
        purpose.as_str(),
        moment
    );
    Ok(query.fetch_one(connection).await?)
}

/// Forgets the owner's secret for `purpose`.
pub async fn delete(connection: &mut PgConnection, owner: Uuid, purpose: Purpose) -> Result<()> {
    sqlx::query!("DELETE FROM secrets WHERE owner_id = $1 AND purpose = $2", owner, purpose.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Owners of secrets that are no server, no warm database and no tenant that is left: what `fsck` calls orphan secrets.
pub async fn orphans(connection: &mut PgConnection) -> Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "SELECT owner_id FROM data_keys k
         WHERE NOT EXISTS (SELECT FROM tenants t WHERE t.id = k.owner_id AND t.state <> 'deleted')
           AND NOT EXISTS (SELECT FROM servers s WHERE s.id = k.owner_id)
           AND NOT EXISTS (SELECT FROM warm_databases w WHERE w.id = k.owner_id)
         ORDER BY owner_id"
    );
    Ok(query.fetch_all(connection).await?)
}
