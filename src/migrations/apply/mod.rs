//! How one database gets from the versions that it has to those of a set: the control database's set, or both streams
//! of a tenant's.
//!
//! The connection is dedicated: its lock and settings end with it, so a caller that gives up half-way drops the
//! connection, never returns it to a pool. Two that start at once are put in a row by the lock; the second finds
//! nothing to do.
//!
//! | file | what is there |
//! |---|---|
//! | `session.rs` | the lock, the settings, and what becomes of them between two files |
//! | `transaction.rs`, `after.sql` | a file and its row in the history, together; what no file may do |
//! | `outside.rs`, `statement.rs` | one statement outside a transaction, and how it is begun again |
//! | `batched.rs`, `quiet.sql` | one statement in many batches, and when it pauses |
//! | `undo.rs` | the way back, by undo files |
//! | `rehearse.rs` | the same on a copy, statement by statement, with what each does to others |
//! | `limits.rs` | how long all this may take |
//! | `failure.rs` | why a file was not applied, in a sentence |
//! | `outcome.rs` | what was done |
//!
//! The histories are refinery's, table and checksums, and its command-line tool reads them. Its runner is not used: it
//! knows neither time limits nor tries, and lets a file commit without its row (docs/decisions/0027).

mod batched;
mod failure;
mod limits;
mod outcome;
mod outside;
mod rehearse;
pub(super) mod session;
mod sight;
mod stage;
mod statement;
mod transaction;
mod undo;

use tokio::sync::watch;
use tokio_postgres::Client;

use self::{session::Session, stage::Stage};
use super::{MigrationSet, Roles, TenantSchema};
use crate::{error::Result, types::Stream};

pub use limits::{Limits, WaitingRequests};
pub use outcome::{AppliedFile, Outcome, Progress, Report, Wait};
pub use rehearse::{RehearsedLock, RehearsedStatement, rehearse_tenant};
pub use undo::{WayBack, undo_tenant};

/// Applies what the control database lacks of its set, one transaction a migration.
///
/// # Errors
/// `migration_locked` when another runner keeps the lock for a minute. `migration_failed`, `migration_timeout`,
/// `migration_lock_timeout` or `migration_refused` with the file and the reason: what was applied before it is kept.
/// `Unavailable` when the server is not to be had; internal when the history disagrees with the set.
pub async fn apply_control(client: &mut Client, set: &MigrationSet) -> Result<Report> {
    let (limits, progress) = (Limits::default(), watch::Sender::default());
    let mut session = Session::begin(client, None, &limits, &progress).await?;
    let applied = apply_control_set(&mut session, set).await;
    let ended = session.end().await;
    let report = applied?;
    ended?;
    Ok(report)
}

async fn apply_control_set(session: &mut Session<'_>, set: &MigrationSet) -> Result<Report> {
    let stage = Stage::read(session, set, None).await?;
    let applied = stage.apply(session, set).await?;
    let version = stage.version.max(set.version());
    Ok(Report { applied: applied.iter().map(|file| file.version).collect(), version })
}

/// Applies what a tenant's database lacks of both streams, as the owner, who has the schemas already: Freehold's own
/// first, since a product's tables may refer to its. Who holds a receiver of `progress` sees what it is at.
///
/// # Errors
/// As [`apply_control`].
pub async fn apply_tenant(
    client: &mut Client,
    schema: &TenantSchema,
    roles: &Roles,
    limits: &Limits,
    progress: &watch::Sender<Progress>,
) -> Result<Outcome> {
    let mut session = Session::begin(client, Some(roles), limits, progress).await?;
    let applied = apply_streams(&mut session, schema).await;
    progress.send_replace(Progress::default());
    let ended = session.end().await;
    let outcome = applied?;
    ended?;
    Ok(outcome)
}

async fn apply_streams(session: &mut Session<'_>, schema: &TenantSchema) -> Result<Outcome> {
    // Both are read before a file runs: no file may write to either.
    let mut stages = Vec::new();
    for stream in Stream::ALL {
        let stage = Stage::read(session, schema.stream(stream), Some(stream)).await?;
        *session.versions.of_mut(stream) = stage.version;
        stages.push((stage, stream));
    }
    let (from, mut files) = (session.versions, Vec::new());
    for (stage, stream) in stages {
        files.extend(stage.apply(session, schema.stream(stream)).await?);
    }
    Ok(Outcome { from, to: session.versions, files })
}
