//! Table `idempotency_keys` of a tenant: what a repeated POST is answered from.
//!
//! The key is claimed first, in the transaction that makes the resource, and the answer is kept in it too: either
//! both are there or neither is. A parallel request with the same key waits on the claimed row until the first
//! one has ended; the tenant role's `lock_timeout` bounds that wait. Never keep an answer that holds a secret.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::{Row, error::SqlState};
use uuid::Uuid;

use super::{Statements, TenantConn, TenantTxn};
use crate::{
    error::{Error, Result},
    servers::is_sqlstate,
    types::{Idempotency, Stream, TableName},
};

/// What it is called.
pub const TABLE: TableName = TableName::of(Stream::Freehold, "idempotency_keys");

const CLAIM: &str = "INSERT INTO freehold.idempotency_keys (principal, route, key, request_hash, resource_id)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

const FIND: &str = "SELECT request_hash, response::text AS response FROM freehold.idempotency_keys
    WHERE principal = $1 AND route = $2 AND key = $3";

const KEEP: &str = "UPDATE freehold.idempotency_keys SET response = $4::text::jsonb
    WHERE principal = $1 AND route = $2 AND key = $3";

/// Keys are kept for a day. Each new one takes a few old ones with it: no tenant is visited only to clean up.
const PURGE: &str = "DELETE FROM freehold.idempotency_keys WHERE (principal, route, key) IN (
    SELECT principal, route, key FROM freehold.idempotency_keys WHERE created_at < now() - interval '1 day'
    ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)";

/// Makes the resource with this id and commits, or gives the answer that an earlier request with the same key got.
/// Without a key it is made every time. Only a digest of what was asked is stored; that must hold no secret, since a
/// digest without a key of its own can be guessed from.
///
/// # Errors
/// Those of `make`; `idempotency_key_reused` (422); `idempotency_in_progress` (409) while another request with the
/// key is at work.
pub async fn once<T>(
    conn: &mut TenantConn,
    idempotency: Option<&Idempotency>,
    resource: Uuid,
    make: impl AsyncFnOnce(&TenantTxn<'_>) -> Result<T>,
) -> Result<T>
where
    T: Serialize + DeserializeOwned,
{
    let txn = conn.begin().await?;
    if let Some(request) = idempotency
        && let Some(earlier) = claim_in_txn(&txn, request, resource).await?
    {
        return Ok(earlier);
    }
    let answer = make(&txn).await?;
    if let Some(request) = idempotency {
        keep_in_txn(&txn, request, &answer).await?;
    }
    txn.commit().await?;
    Ok(answer)
}

/// Claims the key, or finds the answer that it stands for.
async fn claim_in_txn<T>(txn: &TenantTxn<'_>, request: &Idempotency, resource: Uuid) -> Result<Option<T>>
where
    T: DeserializeOwned,
{
    let (principal, route, key) = (request.principal(), request.route(), request.key());
    let digest = digest(&SHA256, request.asked());
    let hash = digest.as_ref();
    let claimed = txn.run(CLAIM, &[&principal, &route, &key, &hash, &resource]).await.map_err(waited_in_vain)?;
    if claimed == 1 {
        txn.run(PURGE, &[]).await?;
        return Ok(None);
    }
    // A row that stood in the way and is gone has just been purged: the client's next try makes the resource.
    let row = txn.row(FIND, &[&principal, &route, &key]).await?.ok_or_else(in_progress)?;
    answer_in(&row, hash).map(Some)
}

fn answer_in<T: DeserializeOwned>(row: &Row, request_hash: &[u8]) -> Result<T> {
    if row.try_get::<_, &[u8]>("request_hash")? != request_hash {
        let detail = "this Idempotency-Key was used with another request".to_owned();
        return Err(Error::Unprocessable { code: "idempotency_key_reused", detail });
    }
    serde_json::from_str(row.try_get("response")?).map_err(Error::internal)
}

async fn keep_in_txn<T: Serialize>(txn: &TenantTxn<'_>, request: &Idempotency, answer: &T) -> Result<()> {
    let answer = serde_json::to_string(answer).map_err(Error::internal)?;
    match txn.run(KEEP, &[&request.principal(), &request.route(), &request.key(), &answer]).await? {
        1 => Ok(()),
        _ => Err(Error::defect("a claimed idempotency key is gone before its transaction ends")),
    }
}

fn waited_in_vain(error: tokio_postgres::Error) -> Error {
    if is_sqlstate(&error, &SqlState::LOCK_NOT_AVAILABLE) { in_progress() } else { error.into() }
}

fn in_progress() -> Error {
    Error::Conflict {
        code: "idempotency_in_progress",
        detail: "another request with this Idempotency-Key is still at work".to_owned(),
        retry_after: Some(Duration::from_secs(1)),
    }
}
