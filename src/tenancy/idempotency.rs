//! A tenant's table `idempotency_keys`. It stores the answers with which repeated POST requests are answered.
//!
//! One transaction claims the key, creates the resource and stores the answer, so that either all exist or none. A
//! concurrent request with the same key waits for the claimed row until the first request has ended. The tenant role's
//! `lock_timeout` limits that wait. Never store an answer that contains a secret.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::{Row, error::SqlState};
use uuid::Uuid;

use super::{StatementError, Statements, TenantConn, TenantTxn};
use crate::{
    error::{Error, Result},
    servers::{SCHEMA_CHANGED, is_sqlstate},
    types::{Idempotency, Stream, TableName},
};

/// The table's name.
pub const TABLE: TableName = TableName::of(Stream::Freehold, "idempotency_keys");

const CLAIM: &str = "INSERT INTO freehold.idempotency_keys (principal, route, key, request_hash, resource_id)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

const FIND: &str = "SELECT request_hash, response::text AS response FROM freehold.idempotency_keys
    WHERE principal = $1 AND route = $2 AND key = $3";

const KEEP: &str = "UPDATE freehold.idempotency_keys SET response = $4::text::jsonb
    WHERE principal = $1 AND route = $2 AND key = $3";

/// Deletes keys that are older than a day. Each request with a new key deletes a few, so that no separate job has to
/// connect to every tenant.
const PURGE: &str = "DELETE FROM freehold.idempotency_keys WHERE (principal, route, key) IN (
    SELECT principal, route, key FROM freehold.idempotency_keys WHERE created_at < now() - interval '1 day'
    ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)";

/// Creates the resource with this id and commits, or returns the answer that an earlier request with the same key got.
/// Without a key, each request creates a resource.
///
/// `make` runs a second time when the tenant's schema changed during the first, of which the database then has nothing.
///
/// Only a digest of the request is stored. The request must contain no secret all the same: the digest is not keyed, so
/// a secret could be guessed from it.
///
/// # Errors
/// Those of `make`; `idempotency_key_reused` (422); `idempotency_in_progress` (409) while another request with the same
/// key is running.
pub async fn once<T>(
    conn: &mut TenantConn,
    idempotency: Option<&Idempotency>,
    resource: Uuid,
    make: impl AsyncFnOnce(&TenantTxn<'_>) -> Result<T> + Clone,
) -> Result<T>
where
    T: Serialize + DeserializeOwned,
{
    match attempt(conn, idempotency, resource, make.clone()).await {
        Err(error) if error.code() == SCHEMA_CHANGED.0 => attempt(conn, idempotency, resource, make).await,
        answer => answer,
    }
}

async fn attempt<T>(
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

/// Claims the key, or returns the answer that is stored under it.
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
    // The conflicting row is gone: it was purged just now. The client's next attempt creates the resource.
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

fn waited_in_vain(error: StatementError) -> Error {
    if is_sqlstate(&error, &SqlState::LOCK_NOT_AVAILABLE) { in_progress() } else { error.into() }
}

fn in_progress() -> Error {
    Error::Conflict {
        code: "idempotency_in_progress",
        detail: "another request with this Idempotency-Key is still at work".to_owned(),
        retry_after: Some(Duration::from_secs(1)),
    }
}
