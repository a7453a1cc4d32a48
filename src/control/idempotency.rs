//! Table `idempotency_keys`: what a repeated POST is answered from.
//!
//! The key is claimed in the transaction that makes the resource: a parallel request with the same key waits
//! on that row until the first one has committed, and then finds it.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::sealing::KeyRing;
use crate::{
    error::{Error, Result},
    types::Idempotency,
};

/// Claims the key for the resource that this transaction is about to make.
/// `Some` is the resource that an earlier request with this key has made.
pub async fn claim_in_txn(
    txn: &mut PgConnection,
    ring: &KeyRing,
    request: &Idempotency,
    resource: Uuid,
) -> Result<Option<Uuid>> {
    // Keyed: what was asked may hold a password.
    let digests = ring.digests(request.asked());
    let digest = digests.first().ok_or_else(|| Error::defect("the key ring is empty"))?;
    let inserted = sqlx::query!(
        "INSERT INTO idempotency_keys (principal, route, key, request_hash, resource_id)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        request.principal(),
        request.route(),
        request.key(),
        digest.as_slice(),
        resource
    )
    .execute(&mut *txn)
    .await
    .map_err(waited_in_vain)?;
    if inserted.rows_affected() == 1 {
        return Ok(None);
    }
    // A row that stood in the way and is gone has just been purged: the client's next try makes the resource.
    find(txn, ring, request).await?.map(Some).ok_or_else(in_progress)
}

/// The transaction that claimed the key makes another resource than it meant to.
pub async fn settle_in_txn(txn: &mut PgConnection, request: &Idempotency, resource: Uuid) -> Result<()> {
    sqlx::query!(
        "UPDATE idempotency_keys SET resource_id = $4 WHERE principal = $1 AND route = $2 AND key = $3",
        request.principal(),
        request.route(),
        request.key(),
        resource
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// A parallel request with this key holds its row for longer than the connection's lock timeout.
fn waited_in_vain(error: sqlx::Error) -> Error {
    let is_lock_timeout = error.as_database_error().is_some_and(|cause| cause.code().as_deref() == Some("55P03"));
    if is_lock_timeout { in_progress() } else { error.into() }
}

fn in_progress() -> Error {
    Error::Conflict {
        code: "idempotency_in_progress",
        detail: "another request with this Idempotency-Key is still at work".to_owned(),
        retry_after: Some(Duration::from_secs(1)),
    }
}

/// The resource that an earlier request with this key has made.
///
/// # Errors
/// `idempotency_key_reused` (422) when that request asked for something else.
pub async fn find(connection: &mut PgConnection, ring: &KeyRing, request: &Idempotency) -> Result<Option<Uuid>> {
    let earlier = sqlx::query!(
        "SELECT request_hash, resource_id FROM idempotency_keys WHERE principal = $1 AND route = $2 AND key = $3",
        request.principal(),
        request.route(),
        request.key()
    )
    .fetch_optional(connection)
    .await?;
    match earlier {
        None => Ok(None),
        Some(row) if ring.digests(request.asked()).iter().any(|digest| digest.as_slice() == row.request_hash) => {
            Ok(Some(row.resource_id))
        }
        Some(_) => {
            let detail = "this Idempotency-Key was used with another request".to_owned();
            Err(Error::Unprocessable { code: "idempotency_key_reused", detail })
        }
    }
}

/// Forgets the keys under which the resource was made: it is gone, and a new one may be made under them.
pub async fn forget_in_txn(txn: &mut PgConnection, resource: Uuid) -> Result<()> {
    sqlx::query!("DELETE FROM idempotency_keys WHERE resource_id = $1", resource).execute(txn).await?;
    Ok(())
}

/// Forgets keys older than a day, and with them the answers' secrets. How many keys there were.
pub async fn purge(connection: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query!("DELETE FROM idempotency_keys WHERE created_at < now() - interval '1 day'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "DELETE FROM secrets s WHERE s.purpose = 'first_admin_invitation' AND s.updated_at < now() - interval '1 day'
         -- While the tenant is being made its operation needs it, however long that takes.
         AND NOT EXISTS (SELECT FROM tenants t
                         WHERE t.id = s.owner_id AND (t.state = 'provisioning' OR t.is_settling))"
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
