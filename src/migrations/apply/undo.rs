//! The way back: the newest files of a database are undone by their undo files, one after another, each in one
//! transaction with the removal of its row from the history.

use tokio::{sync::watch, time::Instant};
use tokio_postgres::Client;

use super::{Limits, Outcome, Progress, outcome::AppliedFile, session::Session, stage::Stage, transaction::Change};
use crate::{
    error::{Error, Result},
    migrations::{MigrationFile, MigrationSet, Roles, TenantSchema, UndoFile},
    types::{SchemaVersions, Stream},
};

/// A file that is to be undone, and how.
struct Step<'a> {
    stream: Stream,
    file: &'a MigrationFile,
    change: Change<'a>,
}

/// Takes a tenant's database back to `target`, the product's files before Freehold's, which they may refer to. A stream
/// that is not beyond its target stays as it is. The outcome's files are those that were undone.
///
/// # Errors
/// `undo_missing` (409) before anything is undone, when a version has no undo file; otherwise as
/// [`apply_tenant`](super::apply_tenant), with what was undone before that.
pub async fn undo_tenant(
    client: &mut Client,
    schema: &TenantSchema,
    target: SchemaVersions,
    roles: &Roles,
    limits: &Limits,
) -> Result<Outcome> {
    let progress = watch::Sender::<Progress>::default();
    let mut session = Session::begin(client, Some(roles), limits, &progress).await?;
    let undone = undo_streams(&mut session, schema, target).await;
    let ended = session.end().await;
    let outcome = undone?;
    ended?;
    Ok(outcome)
}

async fn undo_streams(session: &mut Session<'_>, schema: &TenantSchema, target: SchemaVersions) -> Result<Outcome> {
    let mut steps = Vec::new();
    for stream in [Stream::Product, Stream::Freehold] {
        let stage = Stage::read(session, schema.stream(stream), Some(stream)).await?;
        *session.versions.of_mut(stream) = stage.version;
        steps.extend(plan(&stage, (stream, schema.stream(stream)), target.of(stream))?);
    }
    let (from, mut files) = (session.versions, Vec::new());
    for Step { stream, file, change } in steps {
        let started = Instant::now();
        let retries = session.carry_out(&change).await?;
        *session.versions.of_mut(stream) = file.version - 1;
        files.push(AppliedFile::new(Some(stream), file.version, started, retries));
    }
    tracing::info!(migrations.from = %from, migrations.to = %session.versions, "migrations undone");
    Ok(Outcome { from, to: session.versions, files })
}

/// The steps from the database's version down to the target, all of which must be there.
fn plan<'a>(stage: &Stage, (stream, set): (Stream, &'a MigrationSet), target: i32) -> Result<Vec<Step<'a>>> {
    let missing = |what: String| Err(Error::conflict("undo_missing", format!("{what}; nothing was undone")));
    let mut steps = Vec::new();
    for version in (target.max(0) + 1..=stage.version).rev() {
        let Some(file) = set.files().iter().find(|file| file.version == version) else {
            return missing(format!("version {version} of the {stream} stream is of a newer set, which is not known"));
        };
        let name = UndoFile::file_name(version, &file.name);
        let Some(sql) = set.undo_of(version) else {
            return missing(format!("{} has no undo file {name}", file.file_name()));
        };
        steps.push(Step { stream, file, change: stage.undo(version, name, sql) });
    }
    Ok(steps)
}
