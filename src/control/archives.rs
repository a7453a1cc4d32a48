//! Table `archives`: encrypted dumps in the object store, and what is needed to read one again.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{error::Result, types::TenantId};

/// An archive, as far as those need it who count or delete it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its id.
    pub id: Uuid,
    /// Its name in the store.
    pub object: String,
    /// Its size in the store; none when it was never completed.
    pub bytes: Option<i64>,
    /// SHA-256 of the stored object; none when it was never completed.
    pub sha256: Option<Vec<u8>>,
}

/// All archives of the tenant, the oldest first.
pub async fn list(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<Archive>> {
    let query = sqlx::query_as!(
        Archive,
        "SELECT id, object, bytes, sha256 FROM archives WHERE tenant_id = $1 ORDER BY created_at, id",
        tenant.uuid()
    );
    Ok(query.fetch_all(connection).await?)
}

/// Forgets an archive, once its object is gone from the store.
pub async fn delete(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("DELETE FROM archives WHERE id = $1", id).execute(connection).await?;
    Ok(())
}
