//! Taking a tenant off a server: its database first, its role after that.
//!
//! Both can be repeated, also after a kill in their middle: what is gone is done, and a DROP that was cut off is
//! finished. What cannot be dropped is left and named, for an operator to decide; nothing that a person or
//! another program still has in the database is ever rolled back or thrown away to get there.

use tokio_postgres::error::SqlState;

use super::{ServerAdmin, errors, is_sqlstate, quote_ident};
use crate::{
    error::{Error, Result},
    types::DbName,
};

/// A DROP, and another when a session slipped in between the closing and the first.
const ATTEMPTS: usize = 2;

/// What PostgreSQL refuses to drop a database under, and what a closed one cannot be rid of either: only who
/// prepared a transaction can end it, connected to the database. A logical slot that nobody reads is no obstacle:
/// it goes with its database.
const OBSTACLES: &str = "
    SELECT (SELECT count(*) FROM pg_prepared_xacts WHERE database = $1) AS prepared,
           (SELECT count(*) FROM pg_replication_slots WHERE database = $1 AND active) AS slots";

/// Where on the server something depends on a role: its rights on databases, and what it has inside of them.
const DEPENDENTS: &str = "
    SELECT DISTINCT d.datname::text
      FROM pg_shdepend s
      JOIN pg_database d ON d.oid = CASE WHEN s.classid = 'pg_database'::regclass THEN s.objid ELSE s.dbid END
     WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = $1)
     ORDER BY 1";

impl ServerAdmin {
    /// Drops the tenant's database: closes it, ends its sessions, drops it. One that is not there is done. That it
    /// belongs to [`super::OWNER_ROLE`] is the condition, and not the mark, which a database that was never finished
    /// does not carry yet. The DROP waits for a checkpoint: seconds on a busy server.
    ///
    /// Prepared transactions are looked for before the database is closed, so that who made them still gets in.
    ///
    /// # Errors
    /// `database_taken` when it belongs to somebody else; `database_in_use` with what stands in the way: prepared
    /// transactions, replication slots, or sessions that this role may not end; unavailable while it is locked.
    pub async fn drop_database(&self, name: DbName) -> Result<()> {
        let text = name.to_string();
        for _ in 0..ATTEMPTS {
            let Some(found) = self.database(&text).await? else { return Ok(()) };
            found.check_owner()?;
            self.check_obstacles(&text).await?;
            // What an interrupted DROP has left lets nobody in and cannot be altered any more.
            if !found.is_interrupted_drop() {
                self.alter_database(&text, "ALLOW_CONNECTIONS false").await?;
            }
            self.terminate_sessions(name).await?;
            match self.drop_closed(&text).await? {
                Err(error) if is_sqlstate(&error, &SqlState::OBJECT_IN_USE) => self.check_obstacles(&text).await?,
                dropped => return Ok(dropped?),
            }
        }
        Err(errors::unavailable(anyhow::anyhow!("sessions keep entering {text}")))
    }

    /// Drops the tenant's role, after its database. One that is not there is done.
    ///
    /// # Errors
    /// `role_in_use` when something on the server still depends on it, with the databases that it is in.
    pub async fn drop_tenant_role(&self, name: DbName) -> Result<()> {
        let text = name.to_string();
        let role = quote_ident(&text)?;
        if self.database(&text).await?.is_some_and(|found| found.check_owner().is_ok()) {
            match self.batch_execute(&format!("REVOKE ALL ON DATABASE {role} FROM {role}")).await {
                Err(error) if is_sqlstate(&error, &SqlState::UNDEFINED_OBJECT) => return Ok(()),
                revoked => revoked?,
            }
        }
        match self.batch_execute(&format!("DROP ROLE IF EXISTS {role}")).await {
            Err(error) if is_sqlstate(&error, &SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                Err(self.role_in_use(&text).await?)
            }
            dropped => Ok(dropped?),
        }
    }

    /// Undoes the making of the tenant's database: as [`drop_database`](Self::drop_database), but one that belongs to
    /// somebody else was not made, and is left.
    ///
    /// # Errors
    /// `database_in_use`; unavailable while it is locked.
    pub async fn discard_database(&self, name: DbName) -> Result<()> {
        match self.database(&name.to_string()).await? {
            Some(found) if found.check_owner().is_err() => {
                tracing::warn!(database = found.name, "a database that belongs to somebody else is left");
                Ok(())
            }
            _ => self.drop_database(name).await,
        }
    }

    /// Undoes the making of the tenant's role: as [`drop_tenant_role`](Self::drop_tenant_role), but one that cannot
    /// have been adopted is left.
    ///
    /// # Errors
    /// `role_in_use`.
    pub async fn discard_tenant_role(&self, name: DbName) -> Result<()> {
        if self.is_harmless(&name.to_string()).await? == Some(false) {
            tracing::warn!(role = %name, "a role with rights that only a superuser can take away is left");
            return Ok(());
        }
        self.drop_tenant_role(name).await
    }

    /// Whether the tenant's database could be dropped once nobody is in it: to be asked before anything is done that
    /// ends with that.
    ///
    /// # Errors
    /// `database_in_use` with the prepared transactions and active replication slots that stand in the way.
    pub async fn check_droppable(&self, name: DbName) -> Result<()> {
        self.check_obstacles(&name.to_string()).await
    }

    async fn check_obstacles(&self, name: &str) -> Result<()> {
        let row = self.query_one(OBSTACLES, &[&name]).await?;
        let (prepared, slots): (i64, i64) = (row.try_get("prepared")?, row.try_get("slots")?);
        if prepared == 0 && slots == 0 {
            return Ok(());
        }
        let detail = format!(
            "the database {name} cannot be dropped: {prepared} prepared transactions, {slots} active replication \
             slots; COMMIT PREPARED or ROLLBACK PREPARED the former in it, stop the readers of the latter"
        );
        Err(Error::conflict("database_in_use", detail))
    }

    async fn role_in_use(&self, name: &str) -> Result<Error> {
        let rows = self.query(DEPENDENTS, &[&name]).await?;
        let databases = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        let detail = format!("the role {name} still has rights or objects, in: {}", databases.join(", "));
        Ok(Error::conflict("role_in_use", detail))
    }
}
