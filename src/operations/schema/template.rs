//! Builds the template databases. Each new tenant's database is created with `CREATE DATABASE … TEMPLATE` from one. A
//! server has one template for each pair of migration sets.
//!
//! A template is built once and then closed to all connections, because an open session would make the copy fail. The
//! mark is set last. A template without the mark is left over from a builder that died, or that was paused and lost its
//! lock. The next builder ends its sessions, drops it and starts again. An advisory lock on the server lets one builder
//! work at a time.
//!
//! The template has all rights that a tenant needs, as default privileges of the owner. So neither the copy nor a later
//! migration has to grant anything.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_postgres::Client;

use super::ROLES;
use crate::{
    control::templates,
    error::{Error, Result, first_of},
    migrations::{
        self, FreeholdPart, HISTORY_TABLE, Limits, Outcome, SELECT_VERSIONS, Schema, TenantSchema, WayBack,
        applied_versions, default_privileges,
    },
    operations::{Context, context::Access},
    servers::{
        BUILDER_PREFIX, Connection, Credentials, LockKey, OWNER_ROLE, ServerAddress, ServerAdmin, TENANT_ROLE,
        quote_ident,
    },
    types::{SchemaVersions, Stream},
};

/// How long to wait for another builder. A build takes a second or two.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long to wait until the server no longer lists the builder's own session.
const QUIET_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// How long the batches of a file may take where there are no rows yet.
const BATCHES: Duration = Duration::from_secs(10);
/// What the names of databases begin with in which sets are tried.
const TRIAL_PREFIX: &str = "freehold_template_trial_";
/// How many objects a refusal names at most.
const NAMED: usize = 12;

/// Makes sure that the server has the finished template of these sets. Returns its name.
///
/// # Errors
/// `template_locked` when another session has been building it for 30 s; otherwise the error of the server.
pub(in crate::operations) async fn ensure(
    ctx: &Context,
    admin: &ServerAdmin,
    address: &ServerAddress,
    credentials: &Credentials,
    schema: &TenantSchema,
) -> Result<String> {
    let name = schema.template_name();
    if is_finished(admin, &name).await? {
        return Ok(name);
    }
    let key = LockKey::Template(name.clone());
    if !admin.lock(&key, LOCK_WAIT).await? {
        return Err(Error::unavailable("template_locked", "the template database is being built", None));
    }
    let builder = Builder { ctx, admin, address, credentials, schema, name: &name, undo: &[] };
    let built = builder.build_unless_finished().await;
    if built.is_err() {
        builder.clear_away().await;
    }
    let unlocked = admin.unlock(&key).await;
    built?;
    unlocked?;
    Ok(name)
}

/// Applies the sets to a scratch database and drops it again. Each of the product's versions `undo` is undone there, and
/// done again: the way back has to lead to the schema that was there before.
///
/// # Errors
/// `migration_refused` and the like, with the file; `migration_timeout` when all of it takes longer than `bound`;
/// `template_locked` while another session tries the same sets.
pub(super) async fn try_out(
    ctx: &Context,
    admin: &ServerAdmin,
    access: &Access,
    (schema, undo): (&TenantSchema, &[i32]),
    bound: Duration,
) -> Result<()> {
    if let Err(error) = clear_former_trials(admin).await {
        tracing::warn!(error = error.chain(), "what earlier trials have left is not cleared away yet");
    }
    let name = format!("{TRIAL_PREFIX}{:.12}", schema.fingerprint());
    let key = LockKey::Template(name.clone());
    if !admin.lock(&key, LOCK_WAIT).await? {
        return Err(Error::unavailable("template_locked", "the same migrations are being tried", None));
    }
    let (address, credentials) = (&access.address, &access.credentials);
    let builder = Builder { ctx, admin, address, credentials, schema, name: &name, undo };
    let tried = timeout(bound, builder.try_out()).await;
    // This also ends the sessions of a trial that takes too long.
    builder.clear_away().await;
    admin.give_back(&key).await;
    tried.unwrap_or_else(|_| {
        let detail = format!("all files together take longer than {} s on an empty database", bound.as_secs());
        Err(Error::Unprocessable { code: "migration_timeout", detail })
    })
}

/// Drops what trials have left that were cut off, with their replica for example. One that is under way holds the lock of
/// its database.
async fn clear_former_trials(admin: &ServerAdmin) -> Result<()> {
    let databases = admin.list_databases().await?;
    let of_databases = databases.iter().filter_map(|found| found.name.strip_prefix(TRIAL_PREFIX));
    let mut trials: BTreeSet<_> = of_databases.map(str::to_owned).collect();
    let builders = admin.builders().await?;
    trials.extend(builders.iter().filter_map(|role| role.strip_prefix(&trial_builder(""))).map(str::to_owned));
    for trial in trials {
        let name = format!("{TRIAL_PREFIX}{trial}");
        let key = LockKey::Template(name.clone());
        if !admin.lock(&key, Duration::ZERO).await? {
            continue;
        }
        clear_away(admin, &name, &trial_builder(&trial)).await;
        admin.give_back(&key).await;
    }
    Ok(())
}

/// The name of the login of a trial.
fn trial_builder(trial: &str) -> String {
    format!("{BUILDER_PREFIX}trial_{trial}")
}

/// Drops what a failed build has left. A session that is slow to end is worth a second try. If that fails too, the next
/// build begins with it.
async fn clear_away(admin: &ServerAdmin, template: &str, builder: &str) {
    for _ in 0..2 {
        let cleared = async {
            admin.drop_unfinished_template(template).await?;
            admin.drop_builder(builder).await
        };
        let Err(error) = cleared.await else { return };
        tracing::warn!(template, error = error.chain(), "a failed build is not cleared away yet");
    }
}

async fn is_finished(admin: &ServerAdmin, name: &str) -> Result<bool> {
    let found = admin.database(name).await?;
    Ok(found.is_some_and(|info| info.is_template && !info.allow_connections && info.marked))
}

/// Builds a template while the session `admin` holds its lock.
struct Builder<'a> {
    ctx: &'a Context,
    admin: &'a ServerAdmin,
    address: &'a ServerAddress,
    credentials: &'a Credentials,
    schema: &'a TenantSchema,
    name: &'a str,
    /// The versions of the product that are undone and done again on the way.
    undo: &'a [i32],
}

impl Builder<'_> {
    async fn build_unless_finished(&self) -> Result<()> {
        if is_finished(self.admin, self.name).await? {
            return Ok(());
        }
        if self.admin.database(self.name).await?.is_some() {
            tracing::warn!(template = self.name, "dropping a template that was not finished");
            self.admin.drop_unfinished_template(self.name).await?;
        }
        tracing::info!(template = self.name, "building a template database");
        let started = Instant::now();
        self.admin.ensure_empty_database(self.name).await?;
        let schema = self.fill().await?;
        self.wait_until_quiet().await?;
        self.admin.close_template(self.name).await?;
        // Recorded before the mark is set, so that every finished template has a recorded schema.
        let (connection, major) = (&mut *self.ctx.db.acquire().await?, self.admin.version().major());
        let objects = serde_json::to_value(&schema).map_err(Error::internal)?;
        templates::record(connection, self.name, major, (&schema.fingerprint(), &objects)).await?;
        self.admin.mark_database(self.name).await?;
        tracing::info!(template = self.name, elapsed_ms = started.elapsed().as_millis(), "template database is ready");
        Ok(())
    }

    async fn try_out(&self) -> Result<()> {
        self.admin.drop_unfinished_template(self.name).await?;
        self.admin.ensure_empty_database(self.name).await?;
        self.fill().await.map(drop)
    }

    async fn fill(&self) -> Result<Schema> {
        let mut session = self.enter(self.credentials).await?;
        session.batch_execute(&grants()?).await?;
        self.migrate().await?;
        protect_histories(&session).await?;
        let told = applied_versions(&session.query_one(SELECT_VERSIONS, &[]).await?)?;
        if told != self.schema.versions() {
            return Err(refused(format!("a migration has written to a history, which says {told}")));
        }
        let schema = Schema::of(&mut session).await?;
        session.close().await;
        Ok(schema)
    }

    async fn clear_away(&self) {
        clear_away(self.admin, self.name, &self.builder_role()).await;
    }

    /// The name of the builder's role. Each database has its own, so the database's lock protects the role too.
    fn builder_role(&self) -> String {
        match self.name.strip_prefix(TRIAL_PREFIX) {
            Some(trial) => trial_builder(trial),
            None => format!("{BUILDER_PREFIX}{:.12}", self.schema.fingerprint()),
        }
    }

    /// Applies both sets with a temporary login that can `SET ROLE` to the owner and has no other right. So a migration
    /// that runs `RESET ROLE` gets the rights of this login, and not those of an administrator.
    async fn migrate(&self) -> Result<()> {
        let role = self.builder_role();
        let login = self.admin.ensure_builder(&role).await?;
        let applied = self.migrate_as(&login).await;
        let dropped = self.admin.drop_builder(&role).await;
        applied?;
        dropped.map_err(|error| match error {
            error if error.is_transient() => error,
            error => {
                tracing::warn!(error = error.chain(), role, "a login that has migrated cannot be dropped");
                let bound = "what it has made or granted is bound to the login that ran it";
                refused(format!("a migration did not stay the owner: {bound}"))
            }
        })
    }

    async fn migrate_as(&self, login: &Credentials) -> Result<()> {
        let mut session = self.enter(login).await?;
        let applied = self.apply(&mut session).await;
        session.close().await;
        applied
    }

    /// Freehold's stream first and by itself: the product's files must leave what is there then as it is, or Freehold's
    /// next file would not find what it counts on.
    async fn apply(&self, session: &mut Client) -> Result<()> {
        let own = self.schema.up_to(SchemaVersions { product: 0, ..self.schema.versions() });
        apply(session, &own).await?;
        let before = FreeholdPart::of(session).await?;
        for version in self.undo {
            self.undo_and_redo(session, *version).await?;
            check_own(session, &before).await?;
        }
        apply(session, self.schema).await?;
        check_own(session, &before).await?;
        let unreadable = migrations::unreadable(session, OWNER_ROLE).await?;
        if unreadable.is_empty() {
            return Ok(());
        }
        let unreadable = first_of(&unreadable, NAMED);
        Err(refused(format!(
            "no tenant with these migrations could be archived or cloned, because {OWNER_ROLE} cannot read {unreadable}"
        )))
    }

    async fn undo_and_redo(&self, session: &mut Client, version: i32) -> Result<()> {
        let to = |product| SchemaVersions { product, ..self.schema.versions() };
        apply(session, &self.schema.up_to(to(version - 1))).await?;
        let before = Schema::of(session).await?;
        apply(session, &self.schema.up_to(to(version))).await?;
        let way = WayBack { from_at_most: version, to: version - 1 };
        migrations::undo_tenant(session, self.schema, way, &ROLES, &Limits::default()).await?;
        let after = Schema::of(session).await?;
        let differing = before.changes(&after);
        if differing.is_empty() {
            return Ok(());
        }
        let differing = first_of(&Vec::from_iter(differing), NAMED);
        Err(refused(format!("the undo file of version {version} does not lead back to the schema before: {differing}")))
    }

    async fn enter(&self, credentials: &Credentials) -> Result<Connection> {
        let name = self.admin.application_name();
        self.ctx.connector.connect(self.address, self.name, credentials, name).await
    }

    /// Waits until the server has ended the builder's session. It does so shortly after the client has closed it, and a
    /// copy of the template would fail until then.
    async fn wait_until_quiet(&self) -> Result<()> {
        let deadline = Instant::now() + QUIET_WAIT;
        while self.admin.sessions_in(self.name).await? > 0 {
            if Instant::now() > deadline {
                let detail = "the template database is still in use";
                return Err(Error::unavailable("template_in_use", detail, None));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

async fn apply(session: &mut Client, schema: &TenantSchema) -> Result<Outcome> {
    let limits = Limits { batches: BATCHES, ..Limits::default() };
    migrations::apply_tenant(session, schema, &ROLES, &limits, &watch::Sender::default()).await
}

/// Refuses what the product's files have changed of what is Freehold's. `before` was read before they ran.
async fn check_own(session: &Client, before: &FreeholdPart) -> Result<()> {
    let changed = before.changes(&FreeholdPart::of(session).await?);
    if changed.is_empty() {
        return Ok(());
    }
    Err(refused(format!("the product's migrations change what is Freehold's: {}", first_of(&changed, NAMED))))
}

/// The set does what no set may.
const fn refused(detail: String) -> Error {
    Error::Unprocessable { code: "migration_refused", detail }
}

/// The statements that create the schema of Freehold's stream beside `public`, which is the product's, and set the
/// default privileges of the tenant role on all objects that the owner creates in either. `public` is revoked from
/// PUBLIC: in PostgreSQL 14 and older everybody may create objects there, and a server's own template0 may allow it
/// too.
pub(in crate::operations) fn grants() -> Result<String> {
    let (owner, tenant) = (quote_ident(OWNER_ROLE)?, quote_ident(TENANT_ROLE)?);
    let (own, product) = (quote_ident(Stream::Freehold.schema())?, quote_ident(Stream::Product.schema())?);
    Ok([
        format!("SET ROLE {owner}"),
        format!("REVOKE ALL ON SCHEMA {product} FROM PUBLIC"),
        format!("GRANT USAGE ON SCHEMA {product} TO {tenant}"),
        default_privileges(&owner, &tenant),
        // After the default privileges, which cover it.
        format!("CREATE SCHEMA {own}"),
        "RESET ROLE".to_owned(),
    ]
    .join("; "))
}

/// Lets a tenant read the versions of its database, and not change them.
pub(in crate::operations) async fn protect_histories(session: &Client) -> Result<()> {
    let (owner, tenant) = (quote_ident(OWNER_ROLE)?, quote_ident(TENANT_ROLE)?);
    let mut statements = vec![format!("SET ROLE {owner}")];
    for stream in Stream::ALL {
        let table = format!("{}.{}", quote_ident(stream.schema())?, quote_ident(HISTORY_TABLE)?);
        statements.push(format!("REVOKE ALL ON {table} FROM {tenant}; GRANT SELECT ON {table} TO {tenant}"));
    }
    statements.push("RESET ROLE".to_owned());
    session.batch_execute(&statements.join("; ")).await?;
    Ok(())
}
