//! Table `data_keys`: one wrapped data key an owner.

use sqlx::PgConnection;
use uuid::Uuid;

use super::sealing::{DataKey, KeyRing, WrappedKey};
use crate::{
    error::{Error, Result},
    types::Random,
};

/// Makes and stores a data key for a new owner.
pub async fn create_in_txn(txn: &mut PgConnection, ring: &KeyRing, owner: Uuid, random: Random) -> Result<DataKey> {
    let (key, wrapped) = ring.generate(owner, random)?;
    sqlx::query!(
        "INSERT INTO data_keys (owner_id, kek_id, wrapped) VALUES ($1, $2, $3)",
        owner,
        wrapped.kek_id,
        wrapped.wrapped
    )
    .execute(txn)
    .await?;
    Ok(key)
}

/// The data key of `owner`. An owner without one is a defect: its secrets are lost.
pub async fn get(connection: &mut PgConnection, ring: &KeyRing, owner: Uuid) -> Result<DataKey> {
    let wrapped = wrapped(connection, owner).await?;
    ring.unwrap(owner, &wrapped.ok_or_else(|| Error::defect(format!("{owner} has no data key")))?)
}

/// The data key of `owner` as it is stored, if there is one.
pub async fn wrapped(connection: &mut PgConnection, owner: Uuid) -> Result<Option<WrappedKey>> {
    let query = sqlx::query_as!(WrappedKey, "SELECT kek_id, wrapped FROM data_keys WHERE owner_id = $1", owner);
    Ok(query.fetch_optional(connection).await?)
}

/// Destroys the data key of `owner`: whatever it sealed, here or in an archive, is unreadable from now on.
pub async fn destroy_in_txn(txn: &mut PgConnection, owner: Uuid) -> Result<()> {
    sqlx::query!("DELETE FROM data_keys WHERE owner_id = $1", owner).execute(txn).await?;
    Ok(())
}
