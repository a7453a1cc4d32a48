//! Exports an archive: gives an operator the dump that was archived, as `pg_restore` reads it.
//!
//! This is the way to the rows of a tenant that cannot be woken. The newest complete archive is decrypted while it is
//! read, and nothing of it is stored. The audit log names each export before its first byte leaves. Nothing changes.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::{archive_store, change::refuse};
use crate::{
    control::{
        audit::{self, Origin},
        tenants::{self, TenantState},
    },
    error::{Error, Result},
    operations::Context,
    types::{ArchiveId, AuditEventId, TenantId},
};

/// How much is decrypted before an export is promised.
const FIRST: usize = 64 * 1024;

/// The decrypted dump of an archive.
pub struct Export<R> {
    /// The archive.
    pub archive: ArchiveId,
    /// The dump. It ends in an error ([`Error::from_reader`]) unless all of it is what was archived.
    pub dump: R,
}

/// Begins to read the tenant's newest archive, and records that in the audit log.
///
/// # Errors
/// `not_found`, `archive_not_found` (404); `archives_not_configured`, `archive_damaged` (409); `tenant_gone` (410);
/// `archive_store_unavailable`.
pub async fn begin(
    ctx: &Context,
    id: TenantId,
    origin: &Origin,
) -> Result<Export<impl AsyncRead + Send + Unpin + use<>>> {
    ctx.archives()?;
    let archive = {
        let mut connection = ctx.db.acquire().await?;
        let found = tenants::get(&mut connection, id).await?.filter(|tenant| !tenant.is_platform);
        let tenant = found.ok_or_else(|| Error::not_found("tenant"))?;
        if matches!(tenant.state, TenantState::Deleting | TenantState::Deleted) {
            return Err(refuse(tenant.state, "its archive is not given away any more"));
        }
        archive_store::newest(&mut connection, id).await?.ok_or_else(archive_store::missing)?
    };
    let mut dump = BufReader::with_capacity(FIRST, archive_store::open(ctx, &archive).await?);
    dump.fill_buf().await.map_err(Error::from_reader)?;
    let mut txn = ctx.db.begin().await?;
    let (event, details) = (AuditEventId::generate(&ctx.clock, ctx.random), json!({ "archive_id": archive.id }));
    audit::record_in_txn(&mut txn, event, origin, ("archive.export", &id.to_string()), &details).await?;
    txn.commit().await?;
    Ok(Export { archive: archive.id, dump })
}
