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

/// How many data keys each key-encryption key wraps, by its name.
pub async fn count_by_key(connection: &mut PgConnection) -> Result<Vec<(String, i64)>> {
    let query = sqlx::query!(r#"SELECT kek_id, count(*) AS "count!" FROM data_keys GROUP BY kek_id ORDER BY kek_id"#);
    Ok(query.fetch_all(connection).await?.into_iter().map(|row| (row.kek_id, row.count)).collect())
}

/// Wraps at most `limit` data keys anew, with the key `to` of the ring; answers how many. Those that another session is
/// at work on, or that the ring cannot open, are left to it, or as they are.
pub async fn rewrap_in_txn(txn: &mut PgConnection, ring: &KeyRing, to: &str, limit: i64) -> Result<usize> {
    let rows = sqlx::query!(
        "SELECT owner_id, kek_id, wrapped FROM data_keys WHERE kek_id <> $1 AND kek_id = ANY($2)
         LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED",
        to,
        &ring.ids(),
        limit
    )
    .fetch_all(&mut *txn)
    .await?;
    let mut owners = Vec::with_capacity(rows.len());
    let mut wrapped = Vec::with_capacity(rows.len());
    for row in rows {
        let old = WrappedKey { kek_id: row.kek_id, wrapped: row.wrapped };
        wrapped.push(ring.rewrap(row.owner_id, &old, to)?.wrapped);
        owners.push(row.owner_id);
    }
    sqlx::query!(
        "UPDATE data_keys k SET kek_id = $1, wrapped = n.wrapped
         FROM unnest($2::uuid[], $3::bytea[]) AS n (owner_id, wrapped) WHERE k.owner_id = n.owner_id",
        to,
        &owners,
        &wrapped
    )
    .execute(txn)
    .await?;
    Ok(owners.len())
}

/// Destroys the data key of `owner`: whatever it sealed, here or in an archive, is unreadable from now on.
pub async fn destroy_in_txn(txn: &mut PgConnection, owner: Uuid) -> Result<()> {
    sqlx::query!("DELETE FROM data_keys WHERE owner_id = $1", owner).execute(txn).await?;
    Ok(())
}
