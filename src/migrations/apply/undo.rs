//! The way back: the newest files of a database are undone by their undo files, one after another, each in one
//! transaction with the removal of its row from the history.

use tokio::{sync::watch, time::Instant};
use tokio_postgres::Client;

use super::{Limits, Outcome, Progress, outcome::AppliedFile, session::Session, stage::Stage, transaction::Change};
use crate::{
    error::{Error, Result},
    migrations::{MigrationFile, MigrationSet, Roles, TenantSchema, UndoFile},
    types::Stream,
};

/// A file that is to be undone, and how.
struct Step<'a> {
    file: &'a MigrationFile,
    change: Change<'a>,
}

/// How far a database is taken back, in versions of the product's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// The newest version that it may have. What is beyond it was applied by somebody else, and is not undone.
    pub from_at_most: i32,
    /// The version that it gets.
    pub to: i32,
}

/// Takes the product's stream of a tenant's database back. One that is not beyond [`WayBack::to`] stays as it is, and so
/// does Freehold's own stream. The outcome's files are those that were undone.
///
/// # Errors
/// Before anything is undone: `newer_version` (409) when the database is beyond [`WayBack::from_at_most`];
/// `undo_missing` (409) when a version has no undo file. Otherwise as [`apply_tenant`](super::apply_tenant), with what
/// was undone before that.
pub async fn undo_tenant(
    client: &mut Client,
    schema: &TenantSchema,
    way: WayBack,
    roles: &Roles,
    limits: &Limits,
) -> Result<Outcome> {
    let progress = watch::Sender::<Progress>::default();
    let mut session = Session::begin(client, Some(roles), limits, &progress).await?;
    let undone = undo_product(&mut session, schema, way).await;
    let ended = session.end().await;
    let outcome = undone?;
    ended?;
    Ok(outcome)
}

async fn undo_product(session: &mut Session<'_>, schema: &TenantSchema, way: WayBack) -> Result<Outcome> {
    session.versions.freehold = Stage::read(session, &schema.freehold, Some(Stream::Freehold)).await?.version;
    let stage = Stage::read(session, &schema.product, Some(Stream::Product)).await?;
    session.versions.product = stage.version;
    let steps = plan(&stage, &schema.product, way)?;
    let (from, mut files) = (session.versions, Vec::new());
    for Step { file, change } in steps {
        let started = Instant::now();
        let retries = session.carry_out(&change).await?;
        session.versions.product = file.version - 1;
        files.push(AppliedFile::new(Some(Stream::Product), file.version, started, retries));
    }
    tracing::info!(migrations.from = %from, migrations.to = %session.versions, "migrations undone");
    Ok(Outcome { from, to: session.versions, files })
}

/// The steps from the database's version down to the target, all of which must be there.
fn plan<'a>(stage: &Stage, set: &'a MigrationSet, way: WayBack) -> Result<Vec<Step<'a>>> {
    let (WayBack { from_at_most, to }, version) = (way, stage.version);
    if version > from_at_most.max(to) {
        let detail = format!(
            "the database has version {version} of the product's stream, which is beyond the {from_at_most} that is \
             undone; nothing was undone"
        );
        return Err(Error::conflict("newer_version", detail));
    }
    let missing = |what: String| Err(Error::conflict("undo_missing", format!("{what}; nothing was undone")));
    let mut steps = Vec::new();
    for version in (to.max(0) + 1..=version).rev() {
        let Some(file) = set.files().iter().find(|file| file.version == version) else {
            return missing(format!("version {version} of the product's stream is of a newer set, which is not known"));
        };
        let name = UndoFile::file_name(version, &file.name);
        let Some(sql) = set.undo_of(version) else {
            return missing(format!("{} has no undo file {name}", file.file_name()));
        };
        steps.push(Step { file, change: stage.undo(version, name, sql) });
    }
    Ok(steps)
}
