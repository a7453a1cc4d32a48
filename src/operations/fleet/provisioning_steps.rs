//! The steps that create a tenant's database or drop it. `tenant.provision` and `warm.make` use the same steps, so that
//! their databases are the same.
//!
//! The role is created before the database, and dropped after it. The database is created with `ALLOW_CONNECTIONS
//! false`. The last step revokes PUBLIC's rights and allows connections. Each step keeps what already exists, so each
//! can be repeated.

use std::sync::Arc;

use serde::Deserialize;
use sqlx::PgConnection;

use super::tenant_login;
use crate::{
    control::{
        sealing::DataKey,
        secrets::{self, Purpose},
        tenant_keys,
    },
    error::{Error, Result},
    identity::{people, tokens},
    operations::{
        Context,
        engine::run::Run,
        memory::Urgency,
        schema::{Newest, publish, template},
    },
    servers::OWNER_ROLE,
    types::{Email, KeyId, SchemaVersions, TenantId},
};

/// Makes what a tenant needs before it has a database: its data key, its signing key and its encrypted database
/// password.
pub(in crate::operations) async fn make_keys_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    id: TenantId,
) -> Result<DataKey> {
    let signing = tokens::make_signing_key(KeyId::generate(&ctx.clock, ctx.random))?;
    tenant_keys::create_in_txn(txn, &ctx.keys, id, &signing, ctx.random).await
}

pub(in crate::operations) async fn build_template(run: &Run) -> Result<()> {
    source(run).await.map(drop)
}

/// The part of an operation's input that fixes the schema versions of the database.
#[derive(Deserialize)]
pub(in crate::operations) struct Bound {
    pub(in crate::operations) versions: Option<SchemaVersions>,
}

/// The migration sets that the database is made from: the newest ones, or those up to the versions in the operation's
/// input. Builds their template on the server if it does not exist.
async fn source(run: &Run) -> Result<Arc<Newest>> {
    let ctx = &run.ctx;
    let Bound { versions: bound } = run.input()?;
    // Sets only ever grow, so a newer set contains the versions that the input names.
    let held = ctx.memory.newest().filter(|held| bound.is_some_and(|bound| held.schema.versions().reach(bound)));
    let mut source = match held {
        Some(held) => held,
        None => publish::newest(&ctx.memory, &mut *ctx.db.acquire().await?).await?,
    };
    if let Some(versions) = bound
        && versions != source.schema.versions()
    {
        source = Arc::new(Newest::new(source.schema.up_to(versions)));
    }
    if !ctx.memory.has_template(run.server.id, &source.template) {
        let access = &run.access;
        template::ensure(ctx, &run.admin, &access.address, &access.credentials, &source.schema).await?;
        ctx.memory.keep_template(run.server.id, &source.template);
    }
    Ok(source)
}

pub(in crate::operations) async fn create_role(run: &Run) -> Result<()> {
    let password = {
        let mut connection = run.ctx.db.acquire().await?;
        let purpose = Purpose::TenantDatabasePassword;
        secrets::require(&mut connection, &run.ctx.keys, run.tenant_id().uuid(), purpose).await?
    };
    run.admin.ensure_tenant_role(run.database(), &password).await
}

pub(in crate::operations) async fn discard_role(run: &Run) -> Result<()> {
    run.admin.discard_tenant_role(run.database()).await
}

pub(in crate::operations) async fn create_database(run: &Run) -> Result<()> {
    let source = source(run).await?;
    // No user waits for a database of the warm pool.
    let urgency = if run.operation.kind.starts_with("warm.") { Urgency::Ahead } else { Urgency::Awaited };
    let copy = run.admin.ensure_database(run.database(), &source.template);
    let copied = run.ctx.memory.copies().in_turn(run.server.id, urgency, &run.admin, copy).await;
    if copied.is_err() {
        // The template may have been dropped: the next attempt checks for it.
        run.ctx.memory.forget_template(run.server.id, &source.template);
    }
    copied
}

/// Drops the database, unless it has users other than the one with the address `own`.
pub(in crate::operations) async fn discard_unused(run: &Run, own: Option<&Email>) -> Result<()> {
    refuse_used(run, own).await?;
    run.admin.discard_database(run.database()).await
}

/// Refuses to go on if the database is in use: if its role can log in and it has users other than the one with the
/// address `own`. A control database that was restored from a backup may list a customer's database as a warm one.
///
/// # Errors
/// `database_used` (409): an operator has to find out whose database it is. `database_login_refused`: the role has
/// another password than the stored one, so somebody else may use the database.
pub(in crate::operations) async fn refuse_used(run: &Run, own: Option<&Email>) -> Result<()> {
    let Some(found) = run.admin.database(&run.database().to_string()).await? else { return Ok(()) };
    // The statement that drops a database refuses one with another owner.
    if found.owner != OWNER_ROLE || !found.allow_connections || found.is_interrupted_drop() {
        return Ok(());
    }
    let role = run.admin.tenant_role(run.database()).await?;
    if role.is_none_or(|role| !role.can_login) {
        return Ok(());
    }
    let (_, session) = tenant_login::open(&run.ctx, &run.access.address, run.tenant_id(), "look").await?;
    let used = people::holds_others(&session, own).await;
    session.close().await;
    if used? {
        let detail = "a database that nobody should have holds people: find out whose it is before anything is dropped";
        return Err(Error::conflict("database_used", detail));
    }
    Ok(())
}

pub(in crate::operations) async fn drop_database(run: &Run) -> Result<()> {
    run.admin.drop_database(run.database()).await
}

pub(in crate::operations) async fn drop_role(run: &Run) -> Result<()> {
    run.admin.drop_tenant_role(run.database()).await
}

pub(in crate::operations) async fn restrict_database(run: &Run) -> Result<()> {
    run.admin.restrict_database(run.database()).await
}

pub(in crate::operations) async fn grant_access(run: &Run) -> Result<()> {
    run.admin.grant_access(run.database()).await
}
