//! The template database of a server and the migration sets of both streams: what every new tenant's database is a clone
//! of.
//!
//! It is built once, then closed for good, so that no session can stand in the way of a clone. The mark goes on last: a
//! template without it is the leftover of a builder that died, or was stopped and lost the lock: its sessions are
//! ended, and it is dropped and built anew. Builders meet in a lock on the server. All rights that a tenant needs are
//! in the template already, as default privileges of the owner, so that a clone needs no granting and neither does any
//! later migration.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use crate::{
    control::templates,
    error::{Error, Result},
    migrations::{self, HISTORY_TABLE, SELECT_VERSIONS, Schema, TenantSchema, applied_versions},
    operations::Context,
    servers::{
        BUILDER_PREFIX, Connection, Credentials, LockKey, OWNER_ROLE, ServerAddress, ServerAdmin, TENANT_ROLE,
        quote_ident,
    },
    types::{SchemaVersions, Stream},
};

/// How long to wait for another builder, which takes a second or two.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long the builder's own session may take to be gone from the server's view.
const QUIET_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// A builder that is stopped in the middle of a transaction keeps its locks no longer than that.
const SESSION: &str = "SET idle_in_transaction_session_timeout = '10s'";

/// Sees to it that the server has the finished template of these sets, and answers with its name.
///
/// # Errors
/// `template_locked` while another session builds it for longer than 30 s; else what the server says.
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
    let builder = Builder { ctx, admin, address, credentials, schema, name: &name };
    let built = builder.build_unless_finished().await;
    if built.is_err() {
        builder.clear_away().await;
    }
    let unlocked = admin.unlock(&key).await;
    built?;
    unlocked?;
    Ok(name)
}

async fn is_finished(admin: &ServerAdmin, name: &str) -> Result<bool> {
    let found = admin.database(name).await?;
    Ok(found.is_some_and(|info| info.is_template && !info.allow_connections && info.marked))
}

/// Builds under the template's lock.
struct Builder<'a> {
    ctx: &'a Context,
    admin: &'a ServerAdmin,
    address: &'a ServerAddress,
    credentials: &'a Credentials,
    schema: &'a TenantSchema,
    name: &'a str,
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
        // Before the mark: a finished template is one whose schema is known.
        let (connection, major) = (&mut *self.ctx.db.acquire().await?, self.admin.version().major());
        templates::record(connection, self.name, major, &schema.fingerprint()).await?;
        self.admin.mark_database(self.name).await?;
        tracing::info!(template = self.name, elapsed_ms = started.elapsed().as_millis(), "template database is ready");
        Ok(())
    }

    async fn fill(&self) -> Result<Schema> {
        let mut session = self.enter(self.credentials).await?;
        session.batch_execute(&grants()?).await?;
        self.migrate().await?;
        protect_histories(&session).await?;
        let told = applied_versions(&session.query_one(SELECT_VERSIONS, &[]).await?)?;
        if told != self.schema.versions() {
            return Err(Error::defect(format!("a migration has written to a history, which says {told}")));
        }
        let schema = Schema::of(&mut session).await?;
        session.close().await;
        Ok(schema)
    }

    /// Takes away what a failed build has left; if that fails too, the next build begins with it.
    async fn clear_away(&self) {
        let cleared = async {
            self.admin.drop_unfinished_template(self.name).await?;
            self.admin.drop_builder(&self.builder_role()).await
        };
        if let Err(error) = cleared.await {
            tracing::warn!(template = self.name, error = error.chain(), "a failed build is not cleared away yet");
        }
    }

    /// One a template, so that it is safe under the template's lock.
    fn builder_role(&self) -> String {
        format!("{BUILDER_PREFIX}{}", self.schema.fingerprint().get(..12).unwrap_or_default())
    }

    /// Applies both sets in the session of a login made for it, which can become the owner and has no other right:
    /// a file that resets its role falls back to that, not to an administrator.
    async fn migrate(&self) -> Result<()> {
        let role = self.builder_role();
        let login = self.admin.ensure_builder(&role).await?;
        let applied = self.migrate_as(&login).await;
        let dropped = self.admin.drop_builder(&role).await;
        applied?;
        dropped.map_err(|error| Error::defect(format!("a migration did not stay the owner: {}", error.chain())))
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
        migrations::apply_tenant(session, &own, OWNER_ROLE).await?;
        let before = Schema::of(session).await?;
        migrations::apply_tenant(session, self.schema, OWNER_ROLE).await?;
        let after = Schema::of(session).await?;
        let changed = before.changes_within(Stream::Freehold.schema(), &after);
        if changed.is_empty() {
            return Ok(());
        }
        let changed = Vec::from_iter(changed).join(", ");
        Err(Error::defect(format!("the product's migrations change what is Freehold's: {changed}")))
    }

    async fn enter(&self, credentials: &Credentials) -> Result<Connection> {
        let name = self.admin.application_name();
        let session = self.ctx.connector.connect(self.address, self.name, credentials, name).await?;
        session.batch_execute(SESSION).await?;
        Ok(session)
    }

    /// The server notices a goodbye a moment after it was sent; a clone would fail until then.
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

/// Makes the schema of Freehold's own stream beside `public`, the product's, and says what a tenant may do with
/// everything that the owner ever makes in either. PostgreSQL 14 and older let everybody create in `public`, and a
/// server's own template0 may too.
fn grants() -> Result<String> {
    let (owner, tenant) = (quote_ident(OWNER_ROLE)?, quote_ident(TENANT_ROLE)?);
    let (own, product) = (quote_ident(Stream::Freehold.schema())?, quote_ident(Stream::Product.schema())?);
    let default = |grant: &str| format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} {grant} {tenant}");
    Ok([
        format!("SET ROLE {owner}"),
        format!("REVOKE ALL ON SCHEMA {product} FROM PUBLIC"),
        format!("GRANT USAGE ON SCHEMA {product} TO {tenant}"),
        default("GRANT USAGE ON SCHEMAS TO"),
        default("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO"),
        default("GRANT USAGE, SELECT ON SEQUENCES TO"),
        default("GRANT EXECUTE ON FUNCTIONS TO"),
        default("GRANT USAGE ON TYPES TO"),
        // After the default privileges, which cover it.
        format!("CREATE SCHEMA {own}"),
        "RESET ROLE".to_owned(),
    ]
    .join("; "))
}

/// A tenant may read which versions its database has, and not claim others.
async fn protect_histories(session: &Client) -> Result<()> {
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
