//! The steps that make a database a tenant's, and those that give it back.

use super::{super::provision, Input, look::Place};
use crate::{
    control::adoptions::{self, Adoption},
    error::{Error, Result},
    identity::people,
    migrations::{Limits, Schema, no_default_privileges},
    operations::{
        engine::run::Run,
        fleet::provisioning_steps::Bound,
        schema::{
            migrate::{self, Goal, Site},
            template,
        },
    },
    servers::{BUILDER_PREFIX, Connection, Inside, OWNER_ROLE, Right, TENANT_ROLE, quote_ident},
    types::SchemaVersions,
};

/// Looks at the database under the tenant's lock, records what makes it what it is, and takes it. One that an earlier
/// attempt has taken stays taken.
pub(super) async fn take_database(run: &Run) -> Result<()> {
    let input: Input = run.input()?;
    if let Some(taken) = run.admin.database(&run.database().to_string()).await? {
        let is_ours = taken.owner == OWNER_ROLE && recorded(run).await?.is_some();
        let detail = "a database of the tenant's name is there already, and nobody knows whose it is";
        return if is_ours { Ok(()) } else { Err(Error::conflict("database_taken", detail)) };
    }
    let (look, found) = match place(run).look(&input.database, Some(versions(run)?.product)).await {
        Err(Error::Validation(_)) => {
            let detail =
                format!("the database {} is not there any more, or its version is not published", input.database);
            return Err(Error::conflict("adoption_conflict", detail));
        }
        looked => looked?,
    };
    look.refuse()?;
    let outside = serde_json::to_value(found.way_back(run.database())?).map_err(Error::internal)?;
    let mut txn = run.begin().await?;
    adoptions::put_in_txn(&mut txn, run.tenant_id(), (found.owner.oid, &found.owner_name), &outside).await?;
    txn.commit().await?;
    run.admin.take_database(&found, run.database()).await
}

/// Gives the database its name, its owner and its rights back. Nobody but Freehold has been in it.
pub(super) async fn give_back(run: &Run) -> Result<()> {
    let Some(Adoption { owner_oid, outside, .. }) = recorded(run).await? else { return Ok(()) };
    if run.admin.database(&run.database().to_string()).await?.is_none() {
        return Ok(());
    }
    let owner = run.admin.former_owner(owner_oid).await?;
    run.admin.terminate_sessions(run.database()).await?;
    run.admin.give_database_back(run.database(), &owner, &statements(outside)?).await
}

/// Looks again, now that nobody else can enter, and hands what is in the database to Freehold's owner.
pub(super) async fn hand_over(run: &Run) -> Result<()> {
    let adoption = recorded(run).await?.ok_or_else(|| Error::defect("a database was taken, and nobody knows whose"))?;
    let owner = run.admin.former_owner(adoption.owner_oid).await?;
    let mut session = enter(run).await?;
    if Inside::is_handed_over(&session).await? {
        return Ok(());
    }
    let versions = versions(run)?;
    let (look, contents) = place(run).look_inside(&mut session, &owner, Some(versions.product)).await?;
    look.refuse()?;
    let without_defaults = no_default_privileges(&quote_ident(OWNER_ROLE)?, &quote_ident(TENANT_ROLE)?);
    let history = contents.history.unwrap_or_default();
    let inside = contents.inside.way_back(&owner, run.database(), (history, &without_defaults))?;
    let mut txn = run.begin().await?;
    let inside = serde_json::to_value(inside).map_err(Error::internal)?;
    adoptions::put_inside_in_txn(&mut txn, run.tenant_id(), &inside).await?;
    txn.commit().await?;
    let goal = Goal::find(&run.ctx, (run.server.id, &run.access), &run.admin, versions).await?;
    let rights = goal.objects().map(rights).unwrap_or_default();
    let owner = (&owner, run.admin.version());
    contents.inside.hand_over(&mut session, owner, &rights, &template::grants()?).await?;
    session.close().await;
    Ok(())
}

/// Gives back what is in the database, and takes away what is Freehold's.
pub(super) async fn hand_back(run: &Run) -> Result<()> {
    let Some(Adoption { owner_oid, inside: Some(inside), .. }) = recorded(run).await? else { return Ok(()) };
    // The database's owner changes in the same transaction: with the former one, all is given back.
    let found = run.admin.database(&run.database().to_string()).await?;
    if found.is_none_or(|found| found.owner != OWNER_ROLE) {
        return Ok(());
    }
    // The tenant's role is gone. A session of its own, or of the login that has migrated, would hold locks.
    run.admin.terminate_sessions(run.database()).await?;
    run.admin.drop_builder(&builder(run)).await?;
    let mut session = enter(run).await?;
    if Inside::is_handed_over(&session).await? {
        refuse_people(run, &session).await?;
        let owner = run.admin.former_owner(owner_oid).await?;
        Inside::hand_back(&mut session, (&owner, run.admin.version()), &statements(inside)?).await?;
    }
    session.close().await;
    Ok(())
}

/// Refuses to give a database back in which people are by now: a control database that was restored from a backup may
/// take a tenant that serves for one that is being adopted.
///
/// # Errors
/// `database_used` (409).
pub(super) async fn refuse_used(run: &Run) -> Result<()> {
    let found = run.admin.database(&run.database().to_string()).await?;
    if found.is_none_or(|found| found.owner != OWNER_ROLE) {
        return Ok(());
    }
    let session = enter(run).await?;
    let refused = refuse_people(run, &session).await;
    session.close().await;
    refused
}

async fn refuse_people(run: &Run, session: &Connection) -> Result<()> {
    let input: Input = run.input()?;
    session.batch_execute(&format!("BEGIN; SET LOCAL ROLE {}", quote_ident(OWNER_ROLE)?)).await?;
    let own = input.first.admin.as_ref().map(|admin| &admin.email);
    let is_used = people::are_kept(session).await? && people::holds_others(session, own).await?;
    session.batch_execute("ROLLBACK").await?;
    if is_used {
        let detail = "people are in the database by now: find out whose it is before it is given back";
        return Err(Error::conflict("database_used", detail));
    }
    Ok(())
}

/// Lets requests in. Nothing leads back from here, so what was recorded for that goes.
pub(super) async fn activate(run: &Run) -> Result<()> {
    provision::activate(run).await?;
    adoptions::forget(&mut *run.ctx.db.acquire_for_change().await?, run.tenant_id()).await
}

/// Applies Freehold's stream, records the product's files, and proves that the schema is that of the versions. The
/// login that does so can become the owner and nothing else.
pub(super) async fn take_in(run: &Run) -> Result<()> {
    let goal = Goal::find(&run.ctx, (run.server.id, &run.access), &run.admin, versions(run)?).await?;
    let login = run.admin.ensure_builder(&builder(run)).await?;
    let (address, name) = (&run.access.address, run.admin.application_name());
    let site = Site { address, database: run.database(), login: &login, name };
    let mut session = site.enter(&run.ctx).await?;
    let taken = migrate::take_in(&mut session, &goal, &Limits::default()).await;
    session.close().await;
    taken?;
    run.admin.drop_builder(&builder(run)).await
}

fn place(run: &Run) -> Place<'_> {
    Place { ctx: &run.ctx, server: &run.server, access: &run.access, admin: &run.admin }
}

/// An administrative session in the database that was taken.
async fn enter(run: &Run) -> Result<Connection> {
    let refused = || Error::defect("the administrative role may not enter a database of Freehold's");
    place(run).enter(&run.database().to_string()).await?.ok_or_else(refused)
}

/// The versions that the database has in the end.
fn versions(run: &Run) -> Result<SchemaVersions> {
    let Bound { versions } = run.input()?;
    versions.ok_or_else(|| Error::defect("an adoption knows no versions"))
}

async fn recorded(run: &Run) -> Result<Option<Adoption>> {
    adoptions::get(&mut *run.ctx.db.acquire().await?, run.tenant_id()).await
}

fn statements(stored: serde_json::Value) -> Result<Vec<String>> {
    serde_json::from_value(stored).map_err(Error::internal)
}

fn rights(reference: &Schema) -> Vec<Right> {
    let objects = reference.rights().filter_map(|(object, definition, acl)| Right::on(object, definition, &acl));
    let columns = reference.column_rights().map(|(table, column, acl)| Right::on_column(table, column, &acl));
    objects.chain(columns).collect()
}

/// The name of the login that applies Freehold's stream.
fn builder(run: &Run) -> String {
    format!("{BUILDER_PREFIX}{}", run.tenant_id().uuid().simple())
}
