//! Table `archives`: encrypted dumps in the object store, and what is needed to read one again.
//!
//! A row is written before its object and deleted after it, so that no object is ever without one for long. A row
//! without `verified_at` is an attempt: there may be an object, a part of one, or none.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::operation_claims::Claim;
use crate::{
    error::Result,
    types::{ArchiveId, OperationId, TenantId},
};

/// An archive, or an attempt at one.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its id, and with the tenant's its name in the store.
    pub id: ArchiveId,
    /// Whose data it holds.
    pub tenant_id: TenantId,
    /// The operation that makes it.
    pub operation_id: OperationId,
    /// Its own key, sealed with the tenant's data key for [`key_purpose`].
    pub sealed_key: Vec<u8>,
    /// What was dumped, in numbers; typed by those who dump.
    pub contents: serde_json::Value,
    /// PostgreSQL's version number of the server that it was dumped from.
    pub server_version: i32,
    /// When the dump began.
    pub created_at: DateTime<Utc>,
    /// Its size in the store; none while it is not complete.
    pub bytes: Option<i64>,
    /// SHA-256 of the stored object, in hexadecimal; none while it is not complete.
    pub sha256: Option<String>,
    /// When it was read back whole; none while it is not complete.
    pub verified_at: Option<DateTime<Utc>>,
}

/// What an archive's key is sealed for: that one archive.
#[must_use]
pub fn key_purpose(id: ArchiveId) -> String {
    format!("archive:{id}")
}

struct Row {
    id: uuid::Uuid,
    tenant_id: uuid::Uuid,
    operation_id: uuid::Uuid,
    sealed_key: Vec<u8>,
    contents: serde_json::Value,
    server_version: i32,
    created_at: DateTime<Utc>,
    bytes: Option<i64>,
    sha256: Option<String>,
    verified_at: Option<DateTime<Utc>>,
}

/// All archives' rows that `$rest` chooses.
macro_rules! rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "SELECT id, tenant_id, operation_id, sealed_key, contents, server_version, created_at, bytes,
                    encode(sha256, 'hex') AS sha256, verified_at
             FROM archives " + $rest,
            $($argument),*
        )
    };
}

impl From<Row> for Archive {
    fn from(row: Row) -> Self {
        Self {
            id: ArchiveId::from_uuid(row.id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            operation_id: OperationId::from_uuid(row.operation_id),
            sealed_key: row.sealed_key,
            contents: row.contents,
            server_version: row.server_version,
            created_at: row.created_at,
            bytes: row.bytes,
            sha256: row.sha256,
            verified_at: row.verified_at,
        }
    }
}

/// An archive that is about to be written.
#[derive(Debug)]
pub struct NewArchive {
    /// Its id.
    pub id: ArchiveId,
    /// Whose data it will hold.
    pub tenant_id: TenantId,
    /// The operation that makes it.
    pub operation_id: OperationId,
    /// Its own key, sealed for [`key_purpose`].
    pub sealed_key: Vec<u8>,
    /// What is dumped, in numbers.
    pub contents: serde_json::Value,
    /// PostgreSQL's version number of the server.
    pub server_version: i32,
}

/// Records an archive before its object is written.
pub async fn insert(connection: &mut PgConnection, new: &NewArchive) -> Result<()> {
    sqlx::query!(
        "INSERT INTO archives (id, tenant_id, operation_id, sealed_key, contents, server_version)
         VALUES ($1, $2, $3, $4, $5, $6)",
        new.id.uuid(),
        new.tenant_id.uuid(),
        new.operation_id.uuid(),
        new.sealed_key,
        new.contents,
        new.server_version
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that the object is there and was read back. False when the claim is no longer held, or the row is gone: a
/// later attempt has taken over.
pub async fn complete(
    connection: &mut PgConnection,
    claim: Claim,
    id: ArchiveId,
    bytes: i64,
    sha256: &[u8; 32],
) -> Result<bool> {
    let done = sqlx::query!(
        "WITH held AS (
           SELECT id FROM operations WHERE id = $1 AND generation = $2 AND state = 'running' FOR SHARE
         )
         UPDATE archives SET bytes = $4, sha256 = $5, verified_at = now() FROM held WHERE archives.id = $3",
        claim.id.uuid(),
        claim.generation,
        id.uuid(),
        bytes,
        sha256.as_slice()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes an archive an attempt again: nobody adopts it, or restores from it, from now on.
pub async fn revoke(connection: &mut PgConnection, id: ArchiveId) -> Result<()> {
    sqlx::query!("UPDATE archives SET bytes = NULL, sha256 = NULL, verified_at = NULL WHERE id = $1", id.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// All archives of the tenant, attempts included, the oldest first.
pub async fn list(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<Archive>> {
    let query = rows!("WHERE tenant_id = $1 ORDER BY created_at, id", tenant.uuid());
    Ok(query.fetch_all(connection).await?.into_iter().map(Archive::from).collect())
}

/// What the object store should hold, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Which.
    pub id: ArchiveId,
    /// Whether it is there as a whole.
    pub is_complete: bool,
}

/// What the object store should hold of all tenants.
pub async fn expected(connection: &mut PgConnection) -> Result<Vec<Expected>> {
    let query =
        sqlx::query!(r#"SELECT tenant_id, id, verified_at IS NOT NULL AS "is_complete!" FROM archives ORDER BY id"#);
    let rows = query.fetch_all(connection).await?.into_iter();
    let expected = rows.map(|row| Expected {
        tenant_id: TenantId::from_uuid(row.tenant_id),
        id: ArchiveId::from_uuid(row.id),
        is_complete: row.is_complete,
    });
    Ok(expected.collect())
}

/// The archive with this id.
pub async fn get(connection: &mut PgConnection, id: ArchiveId) -> Result<Option<Archive>> {
    Ok(rows!("WHERE id = $1", id.uuid()).fetch_optional(connection).await?.map(Archive::from))
}

/// Forgets an archive, once its object is gone from the store.
pub async fn delete(connection: &mut PgConnection, id: ArchiveId) -> Result<()> {
    sqlx::query!("DELETE FROM archives WHERE id = $1", id.uuid()).execute(connection).await?;
    Ok(())
}
