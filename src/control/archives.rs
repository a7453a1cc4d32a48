//! Table `archives`: encrypted dumps in the object store, and what is needed to read one again.

use sqlx::PgConnection;

use crate::{
    error::Result,
    types::{ArchiveId, TenantId},
};

/// An archive, as far as those need it who count or delete it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its id, and with the tenant's its name in the store.
    pub id: ArchiveId,
    /// Its size in the store; none when it was never completed.
    pub bytes: Option<i64>,
    /// SHA-256 of the stored object; none when it was never completed.
    pub sha256: Option<Vec<u8>>,
}

/// All archives of the tenant, the oldest first.
pub async fn list(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<Archive>> {
    let rows = sqlx::query!(
        "SELECT id, bytes, sha256 FROM archives WHERE tenant_id = $1 ORDER BY created_at, id",
        tenant.uuid()
    )
    .fetch_all(connection)
    .await?;
    let archive = |id, bytes, sha256| Archive { id: ArchiveId::from_uuid(id), bytes, sha256 };
    Ok(rows.into_iter().map(|row| archive(row.id, row.bytes, row.sha256)).collect())
}

/// Forgets an archive, once its object is gone from the store.
pub async fn delete(connection: &mut PgConnection, id: ArchiveId) -> Result<()> {
    sqlx::query!("DELETE FROM archives WHERE id = $1", id.uuid()).execute(connection).await?;
    Ok(())
}
