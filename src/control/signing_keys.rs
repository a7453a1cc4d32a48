//! Table `signing_keys`: the Ed25519 keys with which a tenant's access tokens are signed.

use secrecy::SecretBox;
use sqlx::PgConnection;

use super::{
    data_keys,
    sealing::{DataKey, KeyRing},
};
use crate::{
    error::{Error, Result},
    types::{KeyId, TenantId},
};

/// A public key that verifies a tenant's tokens.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    /// The `kid` of the tokens that it verifies.
    pub id: KeyId,
    /// 32 bytes (RFC 8032).
    pub public_key: Vec<u8>,
}

/// The key that signs a tenant's tokens now.
pub struct SigningKey {
    /// The `kid` of the tokens that it signs.
    pub id: KeyId,
    /// PKCS#8 (RFC 8410).
    pub pkcs8: SecretBox<Vec<u8>>,
}

fn purpose(id: KeyId) -> String {
    format!("signing_key:{id}")
}

/// Stores a tenant's signing key, sealed with the tenant's data key. Fails when it has an active one.
pub async fn insert_in_txn(
    txn: &mut PgConnection,
    data_key: &DataKey,
    tenant: TenantId,
    public: &VerifyingKey,
    pkcs8: &[u8],
) -> Result<()> {
    let sealed = data_key.seal(&purpose(public.id), pkcs8)?;
    sqlx::query!(
        "INSERT INTO signing_keys (id, tenant_id, public_key, sealed) VALUES ($1, $2, $3, $4)",
        public.id.uuid(),
        tenant.uuid(),
        public.public_key,
        sealed
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// The key that signs for the tenant now.
pub async fn active(connection: &mut PgConnection, ring: &KeyRing, tenant: TenantId) -> Result<SigningKey> {
    let row =
        sqlx::query!("SELECT id, sealed FROM signing_keys WHERE tenant_id = $1 AND retired_at IS NULL", tenant.uuid())
            .fetch_optional(&mut *connection)
            .await?
            .ok_or_else(|| Error::defect(format!("{tenant} has no signing key")))?;
    let id = KeyId::from_uuid(row.id);
    let data_key = data_keys::get(connection, ring, tenant.uuid()).await?;
    Ok(SigningKey { id, pkcs8: data_key.open(&purpose(id), &row.sealed)? })
}

/// All keys that may have signed a token of the tenant which is still valid, the newest first.
pub async fn verifying(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<VerifyingKey>> {
    let rows = sqlx::query!(
        "SELECT id, public_key FROM signing_keys
         WHERE tenant_id = $1 AND (retired_at IS NULL OR retired_at > now() - interval '1 hour')
         ORDER BY created_at DESC",
        tenant.uuid()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| VerifyingKey { id: KeyId::from_uuid(row.id), public_key: row.public_key }).collect())
}

/// The names of all keys that the tenant has, those included that sign or verify nothing any more.
pub async fn ids(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<KeyId>> {
    let query =
        sqlx::query_scalar!("SELECT id FROM signing_keys WHERE tenant_id = $1 ORDER BY created_at, id", tenant.uuid());
    Ok(query.fetch_all(connection).await?.into_iter().map(KeyId::from_uuid).collect())
}
