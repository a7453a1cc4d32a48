//! What an operator publishes: a longer set of the product's stream.
//!
//! What is new in it is linted, and then tried: applied, with all that is published, to a scratch database on the
//! platform server. That takes as long as the whole history takes, so whoever asks has to wait, and may be gone when it
//! is done: the outcome is logged too. One set is tried at a time, on all replicas together. Who comes meanwhile waits,
//! and finds what the one before has published.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{
    publish::{append_in_txn, current, lint_new, platform, published, told},
    template,
};
use crate::{
    control::{audit::Origin, migration_files},
    error::{Error, FieldError, Result},
    migrations::{MigrationSet, Sent, TenantSchema, lint::Finding, published_differs},
    operations::{Access, Context},
    servers::{LockKey, ServerAdmin},
    types::Stream,
};

/// How long a set may be tried.
const TRIAL: Duration = Duration::from_mins(10);
/// How long to wait while another one is tried.
const WAIT: Duration = Duration::from_mins(11);
/// PostgreSQL ends the session that holds the lock when nothing was heard of it for so long: a replica that was stopped
/// within a trial keeps nobody waiting for ever.
const SILENCE: &str = "SET idle_session_timeout = '630s'";
/// Within this an answer is there: the waiting, the trial, and what goes with them.
pub const LIMIT: Duration = Duration::from_mins(22);

/// The result of publishing a set of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The newest version of the product's stream.
    pub version: i32,
    /// How many files were added.
    pub added: usize,
}

/// Publishes the set of the product that was sent. It must begin with all files of the newest one, unchanged; of these
/// digests are enough.
///
/// # Errors
/// `migrations_diverged` (409). `validation_failed`: on `files[i]`, what is wrong with the file by itself or within the
/// set, and the linter's rule for each of its errors in a new file; on `files`, PostgreSQL's own message when a file does
/// not apply. `publication_in_progress` (503) when others are tried for too long.
pub async fn publish(ctx: &Context, sent: Vec<(String, Sent)>, origin: &Origin) -> Result<Published> {
    let names: Vec<_> = sent.iter().map(|(name, _)| name.clone()).collect();
    let outcome = publish_set(ctx, sent, &names, origin).await;
    // What was added is logged where it is added.
    if let Err(error) = &outcome {
        let reason = reason(error);
        tracing::warn!(error.code = error.code(), reason, "migrations are not published");
    }
    outcome
}

async fn publish_set(ctx: &Context, sent: Vec<(String, Sent)>, names: &[String], origin: &Origin) -> Result<Published> {
    let newest = current(&ctx.db).await?;
    let product = MigrationSet::complete(sent, &newest.product)?;
    if let Some(published) = settled(&product, &newest.product)? {
        return Ok(published);
    }
    lint(&product, &newest.product, names).await?;
    let platform = platform(ctx).await?.ok_or_else(|| Error::defect("there is no platform server"))?;
    let in_progress = || {
        let detail = "other migrations are being tried; look at the published ones, and publish again";
        Error::unavailable("publication_in_progress", detail, None)
    };
    let deadline = Instant::now() + WAIT;
    // Before the session is opened: those who wait here would take all that the platform server has.
    let _turn = timeout_at(deadline, ctx.memory.trial_turn()).await.map_err(|_| in_progress())?;
    let (access, admin) = ctx.administer(&platform, "publication_trial").await?;
    admin.batch_execute(SILENCE).await?;
    if !admin.lock(&LockKey::Publication, deadline.saturating_duration_since(Instant::now())).await? {
        return Err(in_progress());
    }
    let added = try_and_append(ctx, (&admin, &access), &product, origin).await;
    admin.give_back(&LockKey::Publication).await;
    added
}

/// Tries the set and adds it to the published one, which another replica may have changed meanwhile. The caller holds the
/// lock.
async fn try_and_append(
    ctx: &Context,
    (admin, access): (&ServerAdmin, &Access),
    product: &MigrationSet,
    origin: &Origin,
) -> Result<Published> {
    let newest = current(&ctx.db).await?;
    if let Some(published) = settled(product, &newest.product)? {
        return Ok(published);
    }
    let undo: Vec<_> = product.more_undo(&newest.product).map(|(version, _)| version).collect();
    let schema = TenantSchema { freehold: newest.freehold, product: product.clone() };
    template::try_out(ctx, admin, access, (&schema, &undo), TRIAL).await.map_err(does_not_apply)?;
    let mut txn = ctx.db.begin().await?;
    migration_files::lock_in_txn(&mut txn).await?;
    let newest = published(&mut txn).await?.product;
    settled(product, &newest)?;
    let added = append_in_txn(ctx, &mut txn, (Stream::Product, product), &newest, origin).await?;
    txn.commit().await?;
    Ok(Published { version: product.version(), added })
}

/// The outcome, if all of the set is published already.
///
/// # Errors
/// `migrations_diverged` (409).
fn settled(set: &MigrationSet, newest: &MigrationSet) -> Result<Option<Published>> {
    if let Some(divergence) = set.divergence(newest) {
        return Err(published_differs(&divergence));
    }
    let is_whole = set.files() == newest.files() && set.more_undo(newest).next().is_none();
    Ok(is_whole.then(|| Published { version: newest.version(), added: 0 }))
}

/// Refuses what the linter finds in files that are new. `names` are all files, as they were sent.
async fn lint(set: &MigrationSet, known: &MigrationSet, names: &[String]) -> Result<()> {
    let error = |finding: Finding| {
        let index = names.iter().position(|name| *name == finding.file).unwrap_or_default();
        FieldError::new(format!("files[{index}].sql"), finding.rule, told(&finding))
    };
    let errors: Vec<_> = lint_new(set, known).await?.into_iter().map(error).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Validation(errors)) }
}

/// Whether the set is to blame, and not the server.
fn does_not_apply(error: Error) -> Error {
    match error {
        Error::Unprocessable { detail, .. } => FieldError::new("files", "does_not_apply", detail).into(),
        // On an empty database it would go on for ever.
        error if error.code() == "migration_unfinished" => {
            FieldError::new("files", "does_not_apply", error.to_string()).into()
        }
        error => error,
    }
}

/// Why, with all that is wrong, in one line for the log.
fn reason(error: &Error) -> String {
    match error {
        Error::Validation(fields) => {
            let told = fields.iter().map(|field| format!("{}: {}: {}", field.field, field.code, field.message));
            told.collect::<Vec<_>>().join("; ")
        }
        error => error.chain(),
    }
}
