//! The archives of one tenant: their rows in the control database together with their objects in the store.
//!
//! A row is inserted before its object is written, and deleted after its object. The caller holds the tenant's lock,
//! and its writes to the control database check the operation's claim. The store checks neither. So an object is
//! deleted only if its row says that nobody needs it, or if it has no row. Each deletion can be repeated, and waits for
//! no other replica.

use futures::TryStreamExt;
use secrecy::ExposeSecret;
use sqlx::PgConnection;
use tokio::io::AsyncRead;

use super::contents::Contents;
use crate::{
    archives::{self as objects, ArchiveKey, ArchiveName},
    control::{
        archives::{self, Archive, NewArchive, key_purpose},
        data_keys, tenants,
    },
    error::{Error, Result},
    operations::{Context, engine::run::Run},
    types::{ArchiveId, SchemaVersions, TenantId},
};

/// An archive, as operators see it.
#[derive(Debug)]
pub struct Kept {
    /// Its row in the control database.
    pub archive: Archive,
    /// The newest migration of each stream that was applied to its database.
    pub versions: SchemaVersions,
    /// How many rows it holds, all tables together.
    pub rows: i64,
}

/// The tenant's archives, the newest first. An incomplete one is still being written.
///
/// # Errors
/// `not_found`.
pub async fn list(ctx: &Context, tenant: TenantId) -> Result<Vec<Kept>> {
    let mut connection = ctx.db.acquire().await?;
    let found = tenants::get(&mut connection, tenant).await?.filter(|tenant| !tenant.is_platform);
    found.ok_or_else(|| Error::not_found("tenant"))?;
    let known = archives::list(&mut connection, tenant).await?.into_iter().rev();
    let kept = known.map(|archive| {
        let Contents { versions, rows } = contents_of(&archive)?;
        Ok(Kept { versions, rows: rows.values().sum(), archive })
    });
    kept.collect()
}

/// An archive that has a row and no object yet.
pub(in crate::operations) struct Draft {
    pub(in crate::operations) name: ArchiveName,
    pub(in crate::operations) key: ArchiveKey,
}

/// Records a new archive of what the operation dumps, with a key of its own.
pub(in crate::operations) async fn announce(run: &Run, contents: &Contents) -> Result<Draft> {
    let ctx = &run.ctx;
    let (tenant, id) = (run.tenant_id(), ArchiveId::generate(&ctx.clock, ctx.random));
    let key = ArchiveKey::generate(ctx.random);
    let mut txn = run.begin().await?;
    let data_key = data_keys::get(&mut txn, &ctx.keys, tenant.uuid()).await?;
    let new = NewArchive {
        id,
        tenant_id: tenant,
        operation_id: run.operation.id,
        sealed_key: data_key.seal(&key_purpose(id), key.expose_secret())?,
        contents: serde_json::to_value(contents).map_err(Error::internal)?,
        server_version: run.admin.version().0,
    };
    archives::insert(&mut txn, &new).await?;
    txn.commit().await?;
    Ok(Draft { name: ArchiveName { tenant, archive: id }, key })
}

/// What the archive held when it was dumped.
pub(in crate::operations) fn contents_of(archive: &Archive) -> Result<Contents> {
    serde_json::from_value(archive.contents.clone()).map_err(Error::internal)
}

/// Reads and decrypts the archive. The plaintext is a dump.
///
/// # Errors
/// `archive_not_found`, `archive_store_unavailable`; `archive_damaged`, here or from the reader.
pub(in crate::operations) async fn open(
    ctx: &Context,
    archive: &Archive,
) -> Result<impl AsyncRead + Send + Unpin + use<>> {
    let key = {
        let mut connection = ctx.db.acquire().await?;
        let data_key = data_keys::get(&mut connection, &ctx.keys, archive.tenant_id.uuid()).await?;
        ArchiveKey::from_bytes(data_key.open(&key_purpose(archive.id), &archive.sealed_key)?.expose_secret())?
    };
    objects::read(ctx.archives()?, &key, name_of(archive)).await
}

/// The newest complete archive of the tenant.
pub(in crate::operations) async fn newest(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<Archive>> {
    let known = archives::list(connection, tenant).await?;
    Ok(known.into_iter().rev().find(|archive| archive.verified_at.is_some()))
}

/// The error for a tenant that has no complete archive.
pub(in crate::operations) fn missing() -> Error {
    let detail = "no archive of this tenant is known".to_owned();
    Error::NotFound { code: "archive_not_found", detail }
}

/// Deletes an archive. Marks its row first, so that no later attempt of the operation relies on the archive.
pub(in crate::operations) async fn discard(run: &Run, archive: &Archive) -> Result<()> {
    let mut txn = run.begin().await?;
    archives::revoke(&mut txn, archive.id).await?;
    txn.commit().await?;
    run.ctx.archives()?.delete(name_of(archive)).await?;
    archives::delete(&mut *run.ctx.db.acquire().await?, archive.id).await
}

/// Deletes all archives of the tenant except `kept`. Also deletes the tenant's objects in the store that have no row: a
/// killed attempt may have left one. If none is kept, the tenant's folder goes too, which an archiving that failed has
/// left.
pub(in crate::operations) async fn clear(run: &Run, kept: Option<ArchiveId>) -> Result<()> {
    let (ctx, tenant) = (&run.ctx, run.tenant_id());
    let known = archives::list(&mut *ctx.db.acquire().await?, tenant).await?;
    if known.is_empty() && ctx.archives.is_none() {
        return Ok(());
    }
    for archive in known.iter().filter(|archive| Some(archive.id) != kept) {
        discard(run, archive).await?;
    }
    let store = ctx.archives()?;
    let mut left = store.list(Some(tenant));
    while let Some(stored) = left.try_next().await? {
        let row = archives::get(&mut *ctx.db.acquire().await?, stored.name.archive).await?;
        if row.is_none() {
            store.delete(stored.name).await?;
        }
    }
    if kept.is_none() { store.forget(tenant).await } else { Ok(()) }
}

const fn name_of(archive: &Archive) -> ArchiveName {
    ArchiveName { tenant: archive.tenant_id, archive: archive.id }
}
