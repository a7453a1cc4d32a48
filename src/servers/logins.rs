//! Short-lived logins: for building a template, for migrating tenants, for dumping a tenant's database, for restoring
//! one. Each is made for one use, has the rights for it and a new random password, and is dropped afterwards.
//!
//! A killed process leaves its login behind. Nobody knows its password, and the next use of the same name takes it over.
//! Callers hold a lock on what the login is for: the template's, or the tenant's. A rollout's login bears the name of the
//! one replica that uses it.

use secrecy::SecretString;

use super::{
    BUILDER_PREFIX, Credentials, OWNER_ROLE, ROLLOUT_PREFIX, ServerAdmin,
    names::{DUMP_PREFIX, RESTORE_PREFIX},
    quote_ident, quote_literal,
    roles::comment_ddl,
    scratch_name, verifier,
};
use crate::{
    error::Result,
    types::{DbName, Random},
};

/// The sessions of a login that does one thing at a time: one, and one that is about to end.
const ONE_AT_A_TIME: u16 = 2;

/// A login that is let into one tenant's database, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferLogin {
    /// Reading all of it, as the owner of tenant databases, who may read what a tenant may not.
    Dump(DbName),
    /// Filling it, as that owner. No such login inherits from the owner: there is no other database that it may enter.
    Restore(DbName),
    /// Filling the tenant's scratch database, as the very login that fills the tenant's own.
    Rehearse(DbName),
}

impl TransferLogin {
    const fn tenant(self) -> DbName {
        match self {
            Self::Dump(database) | Self::Restore(database) | Self::Rehearse(database) => database,
        }
    }

    /// The database that the login is let into.
    #[must_use]
    pub fn database(self) -> String {
        match self {
            Self::Dump(database) | Self::Restore(database) => database.to_string(),
            Self::Rehearse(of) => scratch_name(of),
        }
    }

    /// The login's name: one a purpose and database.
    fn login(self) -> String {
        let prefix = match self {
            Self::Dump(_) => DUMP_PREFIX,
            Self::Restore(_) | Self::Rehearse(_) => RESTORE_PREFIX,
        };
        format!("{prefix}{}", self.tenant().tenant().uuid().simple())
    }
}

/// How a transfer login has its rights: the role, an attribute of its own, and from 16 on the membership's options.
const TRANSFER: (&str, &str, &str) = (OWNER_ROLE, "NOINHERIT", "INHERIT FALSE, SET TRUE");

/// How a login that migrates has its rights: it can become the owner, and inherits from it.
const BUILDER: (&str, &str, &str) = (OWNER_ROLE, "INHERIT", "INHERIT TRUE, SET TRUE");

impl ServerAdmin {
    /// Makes or adopts a login that can become the owner and nothing else, with a new password: migrations run in
    /// its session, so that one which resets its role is left with nothing. The caller holds a lock on `name`.
    pub async fn ensure_builder(&self, name: &str) -> Result<Credentials> {
        self.ensure_login(name, BUILDER, ONE_AT_A_TIME).await
    }

    /// The same for a rollout, with up to `sessions` at a time. It inherits from the owner of all tenants' databases,
    /// and so may enter each of them.
    pub async fn ensure_rollout_login(&self, name: &str, sessions: u16) -> Result<Credentials> {
        self.ensure_login(name, BUILDER, sessions).await
    }

    /// The logins of rollouts that are there, by name.
    pub async fn rollout_logins(&self) -> Result<Vec<String>> {
        let sql = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1) ORDER BY 1";
        self.query(sql, &[&ROLLOUT_PREFIX]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The logins that build templates, or that rows are restored or rehearsed with, by name.
    pub(crate) async fn builders(&self) -> Result<Vec<String>> {
        let sql = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1) ORDER BY 1";
        self.query(sql, &[&BUILDER_PREFIX]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Drops the login of a rollout. One that is not there is done.
    pub async fn drop_rollout_login(&self, name: &str) -> Result<()> {
        self.drop_login(name).await
    }

    /// Ends the sessions of a rollout's login in one tenant's database: those of a replica that lost the tenant.
    pub async fn end_rollout_sessions(&self, database: DbName, login: &str) -> Result<u64> {
        self.terminate_sessions_of(&database.to_string(), Some(login)).await
    }

    /// Drops the login again. Fails when something belongs to it: then a migration did not stay the owner.
    pub async fn drop_builder(&self, name: &str) -> Result<()> {
        self.drop_login(name).await
    }

    /// Makes or adopts the login, with a new password, and lets it into its database, which must be there.
    /// Whoever is in there under that name already, for an attempt that was killed or stopped, is thrown out.
    pub async fn ensure_transfer_login(&self, wanted: TransferLogin) -> Result<Credentials> {
        let login = self.ensure_login(&wanted.login(), TRANSFER, ONE_AT_A_TIME).await?;
        let (database, role) = (quote_ident(&wanted.database())?, quote_ident(&login.role)?);
        self.batch_execute(&format!("GRANT CONNECT ON DATABASE {database} TO {role}")).await?;
        self.terminate_sessions_of(&wanted.database(), Some(&login.role)).await?;
        Ok(login)
    }

    /// Drops the login again; it and the database may be gone already. Fails when something belongs to it:
    /// then what was restored did not stay the owner's.
    pub async fn drop_transfer_login(&self, wanted: TransferLogin) -> Result<()> {
        let (login, database) = (wanted.login(), wanted.database());
        let sql = "SELECT count(*) FROM pg_roles, pg_database WHERE rolname = $1 AND datname = $2";
        if self.query_one(sql, &[&login, &database]).await?.try_get::<_, i64>(0)? > 0 {
            let (database, role) = (quote_ident(&database)?, quote_ident(&login)?);
            self.batch_execute(&format!("REVOKE ALL ON DATABASE {database} FROM {role}")).await?;
        }
        self.drop_login(&login).await
    }

    async fn ensure_login(
        &self,
        name: &str,
        (group, inherits, options): (&str, &str, &str),
        sessions: u16,
    ) -> Result<Credentials> {
        let password = SecretString::from(Random.token());
        let secret = quote_literal(&verifier(&password))?;
        let options = if self.version().has_membership_options() { format!(" WITH {options}") } else { String::new() };
        let grant = format!("GRANT {} TO {}{options}", quote_ident(group)?, quote_ident(name)?);
        let attributes = format!("LOGIN {inherits} CONNECTION LIMIT {sessions} PASSWORD {secret}");
        self.ensure_role(name, &attributes, &format!("{}; {grant}", comment_ddl(name)?)).await?;
        Ok(Credentials { role: name.to_owned(), password })
    }

    async fn drop_login(&self, name: &str) -> Result<()> {
        Ok(self.batch_execute(&format!("DROP ROLE IF EXISTS {}", quote_ident(name)?)).await?)
    }
}
