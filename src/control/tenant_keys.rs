//! What a tenant has before it has a database: a row in each of `data_keys`, `signing_keys` and `secrets`.
//!
//! Written together by one statement: tenants are made by the hundred, and each statement is a round trip more. Alone,
//! such rows are written by [`super::data_keys`], [`super::signing_keys`] and [`super::secrets`]: what changes there
//! changes here.

use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;

use super::{
    sealing::{DataKey, KeyRing},
    secrets::Purpose,
    signing_keys::{self, NewSigningKey},
};
use crate::{
    error::Result,
    types::{Random, TenantId},
};

/// Makes the tenant's data key and stores it, with the first key that signs for it, from now on, and with the password
/// of its role, both sealed. Fails when the tenant has any of these.
pub async fn create_in_txn(
    txn: &mut PgConnection,
    ring: &KeyRing,
    tenant: TenantId,
    signing: &NewSigningKey,
    random: Random,
) -> Result<DataKey> {
    let (key, wrapped) = ring.generate(tenant.uuid(), random)?;
    let (purpose, password) = (Purpose::TenantDatabasePassword.as_str(), SecretString::from(random.token()));
    sqlx::query!(
        "WITH data_key AS (
             INSERT INTO data_keys (owner_id, kek_id, wrapped) VALUES ($1, $2, $3)
         ), signing_key AS (
             INSERT INTO signing_keys (id, tenant_id, public_key, sealed, active_from) VALUES ($4, $1, $5, $6, now())
         )
         INSERT INTO secrets (owner_id, purpose, sealed) VALUES ($1, $7, $8)",
        tenant.uuid(),
        wrapped.kek_id,
        wrapped.wrapped,
        signing.public.id.uuid(),
        signing.public.public_key,
        signing_keys::seal(&key, signing)?,
        purpose,
        key.seal(purpose, password.expose_secret().as_bytes())?
    )
    .execute(txn)
    .await?;
    Ok(key)
}
