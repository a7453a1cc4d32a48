//! The published migration set: what templates are built from, on every replica alike.
//!
//! A set only ever grows. The program's own set is published by `serve` when it extends the newest one; another
//! is published by an operator, after it has been rehearsed on a real server: a set that does not apply would
//! stop every provisioning.

use std::sync::Arc;

use sqlx::PgConnection;

use super::template;
use crate::{
    control::{
        ControlDb,
        audit::{self, Origin},
        migration_files, servers,
    },
    error::{Error, FieldError, Result},
    migrations::{MigrationFile, MigrationSet},
    operations::{Context, Memory, memory::Newest},
    types::AuditEventId,
};

/// What a publication changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The newest version now.
    pub version: i32,
    /// How many files were added.
    pub added: usize,
}

/// The newest published set, read only when it is another than the one in memory: sets only ever grow.
pub async fn newest(memory: &Memory, connection: &mut PgConnection) -> Result<Arc<Newest>> {
    let version = migration_files::newest_version(connection).await?;
    if let Some(held) = memory.newest().filter(|held| held.set.version() == version) {
        return Ok(held);
    }
    let newest = Arc::new(Newest::new(current_set(migration_files::list(connection).await?)?));
    memory.keep_newest(&newest);
    Ok(newest)
}

/// The newest published set.
pub async fn current(db: &ControlDb) -> Result<MigrationSet> {
    current_set(migration_files::list(&mut *db.acquire().await?).await?)
}

/// Publishes the program's own set if it extends the newest one. An older program next to a newer set, or a
/// set that a team has replaced, leaves it as it is.
pub async fn publish_embedded(ctx: &Context) -> Result<Published> {
    let set = MigrationSet::embedded_tenant()?;
    let newest = current(&ctx.db).await?;
    if set.extends(&newest) {
        return append(ctx, &set, &ctx.origin()).await;
    }
    let published = Published { version: newest.version(), added: 0 };
    tracing::info!(migrations.version = published.version, "a newer or another migration set is published already");
    Ok(published)
}

/// Publishes a set that an operator brings, once it has been applied to a scratch database of the platform
/// server. The set must begin with all files of the newest one, unchanged.
///
/// # Errors
/// `migrations_diverged` (409); `validation_failed` on `files` with PostgreSQL's own message when a file does
/// not apply.
pub async fn publish(ctx: &Context, set: &MigrationSet, origin: &Origin) -> Result<Published> {
    let newest = current(&ctx.db).await?;
    check(set, &newest)?;
    if *set == newest {
        return Ok(Published { version: newest.version(), added: 0 });
    }
    rehearse(ctx, set).await?;
    append(ctx, set, origin).await
}

async fn append(ctx: &Context, set: &MigrationSet, origin: &Origin) -> Result<Published> {
    let mut txn = ctx.db.begin().await?;
    migration_files::lock_in_txn(&mut txn).await?;
    let newest = current_set(migration_files::list(&mut txn).await?)?;
    check(set, &newest)?;
    let new: Vec<_> = set.files().iter().filter(|file| file.version > newest.version()).collect();
    for file in &new {
        migration_files::append_in_txn(&mut txn, file.version, &file.name, &file.sql, &origin.actor).await?;
    }
    if !new.is_empty() {
        let event = AuditEventId::generate(&ctx.clock, ctx.random);
        let details = serde_json::json!({ "version": set.version(), "added": new.len() });
        audit::record_in_txn(&mut txn, event, origin, ("migrations.publish", "migrations"), &details).await?;
        tracing::info!(migrations.version = set.version(), migrations.added = new.len(), "published migrations");
    }
    txn.commit().await?;
    Ok(Published { version: set.version(), added: new.len() })
}

fn check(set: &MigrationSet, newest: &MigrationSet) -> Result<()> {
    if set.extends(newest) {
        return Ok(());
    }
    let detail = "the set must hold every published file unchanged, followed by new ones; published files never change";
    Err(Error::conflict("migrations_diverged", detail))
}

/// Applies the set where no tenant lives, and takes the result away again.
async fn rehearse(ctx: &Context, set: &MigrationSet) -> Result<()> {
    let servers = servers::list(&mut *ctx.db.acquire().await?).await?;
    let platform = servers.iter().find(|server| server.is_platform);
    let platform = platform.ok_or_else(|| Error::defect("there is no platform server"))?;
    let (access, admin) = ctx.administer(platform, "rehearsal").await?;
    let built = template::ensure(ctx, &admin, &access.address, &access.credentials, set).await;
    admin.drop_template(&set.template_name()).await?;
    match built {
        Ok(_) => Ok(()),
        Err(error @ Error::Unavailable { .. }) => Err(error),
        Err(error) => Err(FieldError::new("files", "does_not_apply", error.chain()).into()),
    }
}

fn current_set(published: Vec<migration_files::Published>) -> Result<MigrationSet> {
    let file = |row: migration_files::Published| MigrationFile { version: row.version, name: row.name, sql: row.sql };
    MigrationSet::new(published.into_iter().map(file).collect())
        .map_err(|error| Error::defect(format!("the published migrations are not a set: {error}")))
}
