//! Takes one tenant's database to a pair of versions, or back to it, and proves that it is there.
//!
//! The proof is the fingerprint of the whole schema, read in the session that has migrated, and compared with that of
//! the template of the same versions on a server of the same major release. A database whose schema is right while its
//! history is behind gets its history corrected, and nothing is run again.
//!
//! The caller holds the tenant's lock, and hands over a login that can become the owner and nothing else.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_postgres::error::SqlState;

use super::{Newest, ROLES, publish, template};
use crate::{
    control::templates,
    error::{Error, Result},
    migrations::{self, Limits, Outcome, SELECT_VERSIONS, Schema, TenantSchema, WayBack, applied_versions},
    operations::{Access, Context},
    servers::{Connection, Credentials, OWNER_ROLE, ServerAddress, ServerAdmin, is_sqlstate, quote_ident},
    types::{DbName, SchemaVersions, ServerId},
};

/// How many differing objects an error names.
const NAMED: usize = 20;
/// How long a session in which something failed may take to tell the versions.
const TELLING: Duration = Duration::from_secs(5);

/// Where a database is to get, and what it looks like there.
#[derive(Debug)]
pub(crate) struct Goal {
    /// Both sets up to the versions.
    schema: TenantSchema,
    /// All that is published, undo files of newer versions among it.
    newest: Arc<Newest>,
    /// Of the template of the same versions.
    fingerprint: String,
    /// Its objects. An earlier release did not record them.
    objects: Option<Schema>,
}

impl Goal {
    /// The versions.
    pub(crate) fn versions(&self) -> SchemaVersions {
        self.schema.versions()
    }

    /// What a database of these versions looks like on the server. Its template is built there first, if need be:
    /// whatever does not apply to an empty database is not tried on a tenant's.
    ///
    /// # Errors
    /// `not_found` when no set of these versions is published; those of the template.
    pub(crate) async fn find(
        ctx: &Context,
        (server, access): (ServerId, &Access),
        admin: &ServerAdmin,
        versions: SchemaVersions,
    ) -> Result<Arc<Self>> {
        let newest = publish::newest(&ctx.memory, &mut *ctx.db.acquire().await?).await?;
        let schema = newest.schema.up_to(versions);
        if schema.versions() != versions {
            return Err(Error::not_found("published migration"));
        }
        let name = template::ensure(ctx, admin, &access.address, &access.credentials, &schema).await?;
        ctx.memory.keep_template(server, &name);
        let major = admin.version().major();
        let found = templates::schema(&mut *ctx.db.acquire().await?, &name, major).await?;
        let unknown = || Error::defect(format!("the schema of the template {name} is not recorded"));
        let (fingerprint, objects) = found.ok_or_else(unknown)?;
        let objects = objects.map(serde_json::from_value).transpose().map_err(Error::internal)?;
        Ok(Arc::new(Self { schema, newest, fingerprint, objects }))
    }

    /// Its objects, if they are recorded.
    pub(crate) fn objects(&self) -> Option<&Schema> {
        self.objects.as_ref()
    }

    /// Compares a database's schema with this one.
    ///
    /// # Errors
    /// `schema_drift` (409) with the objects that differ.
    fn check(&self, found: &Schema) -> Result<()> {
        if found.fingerprint() == self.fingerprint {
            return Ok(());
        }
        let Some(expected) = &self.objects else {
            return Err(Error::conflict("schema_drift", "the schema is not that of these versions"));
        };
        let changes = expected.changes(found);
        let more = changes.len().saturating_sub(NAMED);
        let named = changes.iter().take(NAMED).copied().collect::<Vec<_>>().join("; ");
        let named = if more > 0 { format!("{named}; and {more} more") } else { named };
        let detail = format!("the schema is not that of these versions; these objects differ: {named}");
        Err(Error::conflict("schema_drift", detail))
    }
}

/// A database that has its versions.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The versions that it has.
    pub(crate) versions: SchemaVersions,
    /// Whether its schema was right already, so that only its history was corrected.
    pub(crate) adopted: bool,
    /// Whether its schema is that of these versions; if not, `schema_drift` (409) with the objects that differ.
    pub(crate) proof: Result<()>,
}

/// Which database is migrated, and by whom.
pub(crate) struct Site<'a> {
    pub(crate) address: &'a ServerAddress,
    pub(crate) database: DbName,
    /// A login that can become the owner.
    pub(crate) login: &'a Credentials,
    /// How its session introduces itself.
    pub(crate) name: &'a str,
}

impl Site<'_> {
    /// Opens a session in the database.
    ///
    /// # Errors
    /// `login_replaced` when another session has given the login another password, or dropped it: the caller makes it
    /// anew; otherwise those of a connection.
    pub(crate) async fn enter(&self, ctx: &Context) -> Result<Connection> {
        let config = ctx.connector.config(self.address, &self.database.to_string(), self.login, self.name);
        match ctx.connector.open(&config).await? {
            Err(error) if is_sqlstate(&error, &SqlState::INVALID_PASSWORD) => {
                let detail = "the login that migrates has been replaced";
                Err(Error::unavailable("login_replaced", detail, anyhow::Error::new(error)))
            }
            opened => Ok(opened?),
        }
    }
}

/// Applies what the database lacks, as its owner, and compares the whole schema.
///
/// # Errors
/// `migration_failed` (422) with PostgreSQL's reason; unavailable when the server is away or a lock is not to be had.
pub(crate) async fn migrate(session: &mut Connection, goal: &Goal, limits: &Limits) -> Result<Arrived> {
    let unseen = watch::Sender::default();
    match migrations::apply_tenant(session, &goal.schema, &ROLES, limits, &unseen).await {
        Ok(Outcome { to: versions, .. }) => prove(session, goal, versions).await,
        Err(error) if error.is_transient() => Err(error),
        Err(error) => adopt(session, goal, error).await,
    }
}

/// Makes a database of a product that knew no Freehold one of the goal: applies Freehold's stream, makes the foreign keys
/// that refer to it, and records the product's files as applied without running any. Its schema has to be the goal's in
/// the end.
///
/// # Errors
/// `schema_drift` (409) with the objects that differ; `adoption_conflict` (409) when rows refer to people who are not
/// there; as [`migrate`].
pub(crate) async fn take_in(session: &mut Connection, goal: &Goal, limits: &Limits) -> Result<()> {
    let unseen = watch::Sender::default();
    let own = goal.schema.up_to(SchemaVersions { product: 0, ..goal.versions() });
    migrations::apply_tenant(session, &own, &ROLES, limits, &unseen).await.map_err(readable)?;
    link(session, goal).await?;
    let written = migrations::adopt_history(session, &goal.schema, OWNER_ROLE).await?;
    tracing::info!(migrations.recorded = written.len(), "the product's files are recorded as applied");
    template::protect_histories(session).await?;
    goal.check(&Schema::of(session).await?)
}

/// Makes the foreign keys to Freehold's tables that are not there yet.
async fn link(session: &mut Connection, goal: &Goal) -> Result<()> {
    let Some(expected) = &goal.objects else { return Ok(()) };
    let found = Schema::of(session).await?;
    session.batch_execute(&format!("SET ROLE {}", quote_ident(OWNER_ROLE)?)).await?;
    for (object, statement) in expected.links_lacking(&found) {
        match session.batch_execute(&statement).await {
            Err(error) if is_sqlstate(&error, &SqlState::FOREIGN_KEY_VIOLATION) => {
                let detail = format!("rows refer to people of Freehold's, who are not there yet: {object}");
                return Err(Error::conflict("adoption_conflict", detail));
            }
            made => made?,
        }
    }
    Ok(session.batch_execute("RESET ROLE").await?)
}

/// Takes the database back by undo files, as its owner, and compares the whole schema. One that is not beyond the goal
/// stays as it is, and so does Freehold's own stream. One that is beyond `from_at_most` of the product's is refused.
///
/// # Errors
/// As [`migrate`]; `undo_missing`, `newer_version` (409).
pub(crate) async fn undo(session: &mut Connection, goal: &Goal, from_at_most: i32) -> Result<Arrived> {
    let (limits, schema) = (Limits::default(), goal.newest.schema());
    let way = WayBack { from_at_most, to: goal.versions().product };
    match migrations::undo_tenant(session, schema, way, &ROLES, &limits).await {
        Ok(Outcome { to: versions, .. }) => prove(session, goal, versions).await,
        Err(error) => Err(readable(error)),
    }
}

async fn prove(session: &mut Connection, goal: &Goal, versions: SchemaVersions) -> Result<Arrived> {
    // A database that is ahead of this goal, by a newer release, is not judged by it.
    let proof = if versions == goal.versions() { goal.check(&Schema::of(session).await?) } else { Ok(()) };
    Ok(Arrived { versions, adopted: false, proof })
}

/// The versions of a database in whose session something has failed, if it tells them.
pub(crate) async fn versions(session: &Connection) -> Option<SchemaVersions> {
    let told = async {
        session.batch_execute(&format!("ROLLBACK; SET ROLE {}", quote_ident(OWNER_ROLE)?)).await?;
        applied_versions(&session.query_one(SELECT_VERSIONS, &[]).await?)
    };
    tokio::time::timeout(TELLING, told).await.ok()?.ok()
}

/// Files that do not apply may have been applied already.
async fn adopt(session: &mut Connection, goal: &Goal, error: Error) -> Result<Arrived> {
    let error = readable(error);
    // A session that cannot tell the schema any more says nothing of why the file failed.
    let Ok(found) = Schema::of(session).await else { return Err(error) };
    if found.fingerprint() != goal.fingerprint {
        return Err(error);
    }
    tracing::warn!(error = error.chain(), "the schema is right already: its history is corrected");
    migrations::adopt_history(session, &goal.schema, OWNER_ROLE).await?;
    Ok(Arrived { versions: goal.versions(), adopted: true, proof: Ok(()) })
}

/// PostgreSQL's own reason, for operators: their migrations have caused it.
fn readable(error: Error) -> Error {
    match error {
        Error::Internal(cause) => Error::Unprocessable { code: "migration_failed", detail: format!("{cause:#}") },
        other => other,
    }
}
