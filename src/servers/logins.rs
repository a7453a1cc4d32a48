//! Logins that are made for one errand and dropped after it: building a template, dumping a tenant's database,
//! restoring one. Each has the rights of its errand and a new random password.
//!
//! A killed process leaves its login behind; nobody knows its password, and the next errand of the same name takes
//! it over. Callers hold a lock on what the errand is about: the template's, or the tenant's.

use secrecy::SecretString;

use super::{
    Credentials, OWNER_ROLE, ServerAdmin, TENANT_ROLE, quote_ident, quote_literal, roles::comment_ddl, verifier,
};
use crate::{
    error::Result,
    types::{DbName, Random},
};

/// What the names of logins begin with that build a template.
pub const BUILDER_PREFIX: &str = "freehold_builder_";

/// What somebody is let into one tenant's database for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Reading all of it, with a tenant's rights: what is in it must not gain more by being read.
    Dump(DbName),
    /// Filling it, as the owner of tenant databases. The login does not inherit from the owner: there is no other
    /// database that it may enter.
    Restore(DbName),
}

impl Errand {
    const fn database(self) -> DbName {
        match self {
            Self::Dump(database) | Self::Restore(database) => database,
        }
    }

    /// What the names of such logins begin with.
    pub(super) const PREFIXES: [&str; 2] = ["freehold_dump_", "freehold_restore_"];

    /// The login's name: one an errand and database.
    fn login(self) -> String {
        let [dump, restore] = Self::PREFIXES;
        let prefix = match self {
            Self::Dump(_) => dump,
            Self::Restore(_) => restore,
        };
        format!("{prefix}{}", self.database().tenant().uuid().simple())
    }

    /// How the login has its rights: the role, an attribute of its own, and from 16 on the membership's options.
    const fn membership(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Dump(_) => (TENANT_ROLE, "INHERIT", "INHERIT TRUE, SET FALSE"),
            Self::Restore(_) => (OWNER_ROLE, "NOINHERIT", "INHERIT FALSE, SET TRUE"),
        }
    }
}

impl ServerAdmin {
    /// Makes or adopts a login that can become the owner and nothing else, with a new password: migrations run in
    /// its session, so that one which resets its role is left with nothing. The caller holds a lock on `name`.
    pub async fn ensure_builder(&self, name: &str) -> Result<Credentials> {
        self.ensure_login(name, (OWNER_ROLE, "INHERIT", "INHERIT TRUE, SET TRUE")).await
    }

    /// Drops the login again. Fails when something belongs to it: then a migration did not stay the owner.
    pub async fn drop_builder(&self, name: &str) -> Result<()> {
        self.drop_login(name).await
    }

    /// Makes or adopts the errand's login, with a new password, and lets it into its database, which must be there.
    /// Whoever is in there under that name already, for an attempt that was killed or stopped, is thrown out.
    pub async fn ensure_errand(&self, errand: Errand) -> Result<Credentials> {
        let login = self.ensure_login(&errand.login(), errand.membership()).await?;
        let (database, role) = (quote_ident(&errand.database().to_string())?, quote_ident(&login.role)?);
        self.batch_execute(&format!("GRANT CONNECT ON DATABASE {database} TO {role}")).await?;
        self.terminate_sessions_of(&errand.database().to_string(), Some(&login.role)).await?;
        Ok(login)
    }

    /// Drops the errand's login again; it and the database may be gone already. Fails when something belongs to it:
    /// then what was restored did not stay the owner's.
    pub async fn end_errand(&self, errand: Errand) -> Result<()> {
        let (login, database) = (errand.login(), errand.database().to_string());
        let sql = "SELECT count(*) FROM pg_roles, pg_database WHERE rolname = $1 AND datname = $2";
        if self.query_one(sql, &[&login, &database]).await?.try_get::<_, i64>(0)? > 0 {
            let (database, role) = (quote_ident(&database)?, quote_ident(&login)?);
            self.batch_execute(&format!("REVOKE ALL ON DATABASE {database} FROM {role}")).await?;
        }
        self.drop_login(&login).await
    }

    async fn ensure_login(&self, name: &str, (group, inherits, options): (&str, &str, &str)) -> Result<Credentials> {
        let password = SecretString::from(Random.token());
        let secret = quote_literal(&verifier(&password))?;
        let options = if self.version().has_membership_options() { format!(" WITH {options}") } else { String::new() };
        let grant = format!("GRANT {} TO {}{options}", quote_ident(group)?, quote_ident(name)?);
        let attributes = format!("LOGIN {inherits} CONNECTION LIMIT 2 PASSWORD {secret}");
        self.ensure_role(name, &attributes, &format!("{}; {grant}", comment_ddl(name)?)).await?;
        Ok(Credentials { role: name.to_owned(), password })
    }

    async fn drop_login(&self, name: &str) -> Result<()> {
        Ok(self.batch_execute(&format!("DROP ROLE IF EXISTS {}", quote_ident(name)?)).await?)
    }
}
