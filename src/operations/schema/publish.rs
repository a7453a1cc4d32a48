//! The published migration sets, from which every replica builds the templates.
//!
//! A set only ever grows. When `serve` starts, it publishes each of the program's own sets that extends the newest set
//! of its stream. An operator can publish a newer set of the product's stream ([`by_operator`](super::by_operator)).
//! Freehold applies every set to a database on the platform server first, because a set with an error would stop every
//! provisioning and could never be mended. Freehold's own stream comes only with the program.

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;

use super::template;
use crate::{
    control::{
        ControlDb,
        audit::{self, Origin},
        migration_files::{self, NewFile},
        servers::{self, Server},
    },
    error::{Error, Result},
    migrations::{
        MigrationFile, MigrationSet, TenantSchema, UndoFile,
        lint::{self, Finding},
    },
    operations::{Context, Memory, memory::Newest},
    types::{AuditEventId, Stream},
};

/// How long the way back and forth may be tried when a replica starts.
const TRIAL: Duration = Duration::from_mins(10);

/// The code of a set that is another than the published one.
pub const DIVERGED: &str = "migrations_diverged";

/// The newest published sets. Reads the files only if there is a newer version than the cached one.
pub async fn newest(memory: &Memory, connection: &mut PgConnection) -> Result<Arc<Newest>> {
    let extent = migration_files::extent(connection).await?;
    if let Some(held) = memory.newest().filter(|held| (held.schema.versions(), held.schema.undo_files()) == extent) {
        return Ok(held);
    }
    let newest = Arc::new(Newest::new(published(connection).await?));
    memory.keep_newest(&newest);
    Ok(newest)
}

/// The newest published sets.
pub async fn current(db: &ControlDb) -> Result<TenantSchema> {
    published(&mut *db.acquire().await?).await
}

/// The sets that are embedded in this program: Freehold's and the product's.
pub(in crate::operations) fn embedded(ctx: &Context) -> Result<TenantSchema> {
    Ok(TenantSchema { freehold: MigrationSet::embedded_freehold()?, product: MigrationSet::clone(&ctx.migrations) })
}

/// What will be published once the program's own sets are: of each stream, the longer one of the program's set and the
/// published set.
///
/// # Errors
/// `migrations_diverged` (409) if neither begins with the other.
pub async fn upcoming(ctx: &Context) -> Result<TenantSchema> {
    let (embedded, published) = (embedded(ctx)?, current(&ctx.db).await?);
    let longer = |stream| {
        let (own, known) = (embedded.stream(stream), published.stream(stream));
        if own.extends(known) {
            return Ok(own.clone());
        }
        if known.extends(own) {
            let version = known.version();
            tracing::info!(migrations.stream = %stream, migrations.version = version, "a newer set is published already");
            return Ok(known.clone());
        }
        Err(diverged(stream, own, known))
    };
    Ok(TenantSchema { freehold: longer(Stream::Freehold)?, product: longer(Stream::Product)? })
}

fn diverged(stream: Stream, own: &MigrationSet, known: &MigrationSet) -> Error {
    let mut pairs = own.files().iter().zip(known.files());
    let name =
        pairs.find(|(own, known)| own != known).map_or_else(|| "an undo file".to_owned(), |(own, _)| own.file_name());
    let detail = format!(
        "the program's migrations of the stream {stream} are not the published ones: {name} differs. A published file \
         never changes. Restore it, and write what shall change into a new file. In development, `freehold dev --reset` \
         begins anew"
    );
    Error::conflict(DIVERGED, detail)
}

/// Publishes each of the program's own sets that extends the newest one of its stream, in one transaction. First lints what
/// is new of the product's, and builds the template of the sets on the platform server, where it stays. Without that server nothing is published:
/// `bootstrap` publishes once there is one. It changes nothing in a stream whose published set is newer than the
/// program's.
///
/// # Errors
/// `migrations_diverged` (409), and the error of a set that does not apply.
pub async fn publish_embedded(ctx: &Context) -> Result<()> {
    let (schema, newest) = (upcoming(ctx).await?, current(&ctx.db).await?);
    let undo: Vec<_> = schema.product.more_undo(&newest.product).map(|(version, _)| version).collect();
    if schema.versions() == newest.versions() && undo.is_empty() {
        return Ok(());
    }
    let Some(platform) = platform(ctx).await? else { return Ok(()) };
    let findings = lint_new(&schema.product, &newest.product).await?;
    if let Some(finding) = findings.first() {
        let detail =
            format!("the linter refuses {} ({}), and {} more", told(finding), finding.rule, findings.len() - 1);
        return Err(Error::Unprocessable { code: "migration_refused", detail });
    }
    let (access, admin) = ctx.administer(&platform, "publication").await?;
    if !undo.is_empty() {
        template::try_out(ctx, &admin, &access, (&schema, &undo), TRIAL).await?;
    }
    template::ensure(ctx, &admin, &access.address, &access.credentials, &schema).await?;
    let mut txn = ctx.db.begin().await?;
    migration_files::lock_in_txn(&mut txn).await?;
    let newest = published(&mut txn).await?;
    for stream in Stream::ALL {
        let (set, known) = (schema.stream(stream), newest.stream(stream));
        if set.extends(known) {
            append_in_txn(ctx, &mut txn, (stream, set), known, &ctx.origin()).await?;
        } else if !known.extends(set) {
            return Err(diverged(stream, set, known));
        }
    }
    Ok(txn.commit().await?)
}

/// Appends what the set has beyond the published one: newer files, and undo files of any. Returns how many there are.
pub(super) async fn append_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    (stream, set): (Stream, &MigrationSet),
    known: &MigrationSet,
    origin: &Origin,
) -> Result<usize> {
    let (new, more_undo): (Vec<_>, Vec<_>) =
        (set.files().iter().filter(|file| file.version > known.version()).collect(), set.more_undo(known).collect());
    for file in &new {
        let undo = set.undo_of(file.version);
        let file = NewFile { stream, version: file.version, name: &file.name, sql: &file.sql, undo };
        migration_files::append_in_txn(txn, file, &origin.actor).await?;
    }
    for (version, undo) in more_undo.iter().filter(|(version, _)| *version <= known.version()) {
        migration_files::add_undo_in_txn(txn, (stream, *version), undo).await?;
    }
    let added = new.len() + more_undo.len();
    if added > 0 {
        let version = set.version();
        let event = AuditEventId::generate(&ctx.clock, ctx.random);
        let details = serde_json::json!({ "stream": stream, "version": version, "added": added });
        audit::record_in_txn(txn, event, origin, ("migrations.publish", "migrations"), &details).await?;
        tracing::info!(
            migrations.stream = %stream,
            migrations.version = version,
            migrations.added = added,
            "published migrations"
        );
    }
    Ok(added)
}

/// The errors that the linter finds in files that are new.
pub(super) async fn lint_new(set: &MigrationSet, known: &MigrationSet) -> Result<Vec<Finding>> {
    let whole = set.clone();
    let mut findings = tokio::task::spawn_blocking(move || lint::lint_set(&whole)).await.map_err(Error::internal)?;
    let known = known.texts();
    findings.retain(|finding| finding.is_error() && known.iter().all(|(name, _)| *name != finding.file));
    Ok(findings)
}

/// A finding in one sentence.
pub(super) fn told(finding: &Finding) -> String {
    let Finding { file, line, message, safe_form, .. } = finding;
    format!("{file}, line {line}: {message}; instead: {safe_form}")
}

/// The platform server, unless there is none yet.
pub(super) async fn platform(ctx: &Context) -> Result<Option<Server>> {
    let servers = servers::list(&mut *ctx.db.acquire().await?).await?;
    Ok(servers.into_iter().find(|server| server.is_platform))
}

pub(super) async fn published(connection: &mut PgConnection) -> Result<TenantSchema> {
    let files = migration_files::list(connection).await?;
    let set = |stream| {
        let files = files.iter().filter(|file| file.stream == stream);
        let texts = files.flat_map(|row| {
            let undo = row.undo.iter().map(move |undo| (UndoFile::file_name(row.version, &row.name), undo.clone()));
            undo.chain([(MigrationFile::named(row.version, &row.name), row.sql.clone())])
        });
        MigrationSet::parse(texts)
            .map_err(|error| Error::defect(format!("the published migrations of {stream} are not a set: {error}")))
    };
    Ok(TenantSchema { freehold: set(Stream::Freehold)?, product: set(Stream::Product)? })
}
