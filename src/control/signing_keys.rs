//! Table `signing_keys`: the Ed25519 keys with which a tenant's access tokens are signed.
//!
//! A key is published before it signs, signs until the next one does, and verifies for [`VERIFIES_FOR`] after that.
//! How requests read the keys is in [`super::sealed`].

use std::time::Duration;

use aws_lc_rs::pkcs8::Document;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::sealing::DataKey;
use crate::{
    error::Result,
    types::{KeyId, TenantId},
};

/// How long a key verifies after it has been retired: a replica that is cut off from the control database serves for a
/// quarter of an hour and does not hear of the rotation; what it signs then is valid for ten minutes. The rest is for
/// clocks.
pub const VERIFIES_FOR: Duration = Duration::from_mins(30);

/// A public key that verifies a tenant's tokens.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    /// The `kid` of the tokens that it verifies.
    pub id: KeyId,
    /// 32 bytes (RFC 8032).
    pub public_key: Vec<u8>,
}

/// A key that is about to be stored.
pub struct NewSigningKey {
    /// What verifies.
    pub public: VerifyingKey,
    /// What signs, as PKCS#8 (RFC 5958).
    pub pkcs8: Document,
}

/// What a signing key is sealed for.
pub(super) fn purpose(id: KeyId) -> String {
    format!("signing_key:{id}")
}

/// The key that signs as it is stored.
pub(super) fn seal(data_key: &DataKey, new: &NewSigningKey) -> Result<Vec<u8>> {
    data_key.seal(&purpose(new.public.id), new.pkcs8.as_ref())
}

/// Stores a tenant's signing key, sealed with the tenant's data key; it signs `after` that time. Fails when the tenant
/// has one that is not retired. Answers from when on it signs.
pub async fn insert_in_txn(
    txn: &mut PgConnection,
    data_key: &DataKey,
    (tenant, after): (TenantId, Duration),
    new: &NewSigningKey,
) -> Result<DateTime<Utc>> {
    let query = sqlx::query_scalar!(
        "INSERT INTO signing_keys (id, tenant_id, public_key, sealed, active_from)
         VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5)) RETURNING active_from",
        new.public.id.uuid(),
        tenant.uuid(),
        new.public.public_key,
        seal(data_key, new)?,
        after.as_secs_f64()
    );
    Ok(query.fetch_one(txn).await?)
}

/// Lets the tenant's key sign for no longer than `after` that time.
pub async fn retire_in_txn(txn: &mut PgConnection, tenant: TenantId, after: Duration) -> Result<()> {
    sqlx::query!(
        "UPDATE signing_keys SET retired_at = now() + make_interval(secs => $2)
         WHERE tenant_id = $1 AND retired_at IS NULL",
        tenant.uuid(),
        after.as_secs_f64()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Destroys all keys of the tenant: what they signed is worth nothing.
pub async fn revoke_in_txn(txn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    sqlx::query!("DELETE FROM signing_keys WHERE tenant_id = $1", tenant.uuid()).execute(txn).await?;
    Ok(())
}

/// How many of the tenant's keys verify, or will.
pub async fn count(connection: &mut PgConnection, tenant: TenantId) -> Result<i64> {
    let query = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM signing_keys
         WHERE tenant_id = $1 AND (retired_at IS NULL OR retired_at > now() - make_interval(secs => $2))"#,
        tenant.uuid(),
        VERIFIES_FOR.as_secs_f64()
    );
    Ok(query.fetch_one(connection).await?)
}

/// A page of the tenants that could sign with a new key and whose present one is older than `age`, the oldest key
/// first: `limit` of those after `after`, each with the time from which on its key signs.
pub async fn older_than(
    connection: &mut PgConnection,
    age: Duration,
    after: Option<(DateTime<Utc>, TenantId)>,
    limit: i64,
) -> Result<Vec<(DateTime<Utc>, TenantId)>> {
    let query = sqlx::query!(
        "SELECT k.active_from, k.tenant_id FROM signing_keys k JOIN tenants t ON t.id = k.tenant_id
         WHERE k.retired_at IS NULL AND k.active_from < now() - make_interval(secs => $1)
           AND t.state IN ('active', 'suspended')
           AND ($2::timestamptz IS NULL OR (k.active_from, k.tenant_id) > ($2, $3))
         ORDER BY k.active_from, k.tenant_id LIMIT $4",
        age.as_secs_f64(),
        after.map(|(from, _)| from),
        after.map(|(_, tenant)| tenant.uuid()),
        limit
    );
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.active_from, TenantId::from_uuid(row.tenant_id))).collect())
}

/// Whether the tenant could sign with a new key and its present one is older than `age`.
pub async fn is_older(connection: &mut PgConnection, age: Duration, tenant: TenantId) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT FROM signing_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.tenant_id = $2 AND k.retired_at IS NULL AND k.active_from < now() - make_interval(secs => $1)
               AND t.state IN ('active', 'suspended')
         ) AS "is_older!""#,
        age.as_secs_f64(),
        tenant.uuid()
    );
    Ok(query.fetch_one(connection).await?)
}

/// Destroys the keys that verify nothing any more; answers how many.
pub async fn purge(connection: &mut PgConnection) -> Result<u64> {
    let purged = sqlx::query!(
        "DELETE FROM signing_keys WHERE retired_at < now() - make_interval(secs => $1)",
        VERIFIES_FOR.as_secs_f64()
    );
    Ok(purged.execute(connection).await?.rows_affected())
}

/// The names of all keys that the tenant has, those included that sign or verify nothing any more.
pub async fn ids(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<KeyId>> {
    let query =
        sqlx::query_scalar!("SELECT id FROM signing_keys WHERE tenant_id = $1 ORDER BY created_at, id", tenant.uuid());
    Ok(query.fetch_all(connection).await?.into_iter().map(KeyId::from_uuid).collect())
}
