//! Roles: two that a server's tenant databases share, and one login a tenant.
//!
//! `freehold_owner` owns every object and runs migrations; `freehold_tenant` holds the rights on rows through
//! default privileges, so that a clone of the template needs no granting; a tenant's login is a member of the
//! latter and of nothing else. A role is never given SUPERUSER, CREATEDB, CREATEROLE, REPLICATION or BYPASSRLS,
//! and one that has SUPERUSER, REPLICATION or BYPASSRLS (which only a superuser can take away) is not adopted.

use std::time::Duration;

use secrecy::SecretString;
use tokio_postgres::{error::SqlState, types::Type};

use super::{
    LockKey, MARK, OWNER_ROLE, ServerAdmin, TENANT_ROLE, errors::is_taken, is_sqlstate, quote_ident, quote_literal,
    verifier,
};
use crate::{
    error::{Error, Result},
    types::DbName,
};

/// A tenant's sessions on its server, all replicas together: the backstop behind the pools' own budget.
const CONNECTION_LIMIT: u16 = 100;
/// Waits on the data path (docs: the table of waits).
const TENANT_SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("search_path", "public"),
];
/// Long enough for another replica to make two roles.
const ROLES_WAIT: Duration = Duration::from_secs(10);
/// What every server has and Freehold has no use for being open.
const SHARED_DATABASES: [&str; 2] = ["postgres", "template1"];

impl ServerAdmin {
    /// Makes the shared roles, this session's membership in the owner, and closes `postgres` and `template1` to
    /// PUBLIC. Answers with those of the two that stay open because only their owner could close them.
    pub async fn ensure_roles(&self) -> Result<Vec<String>> {
        if !self.lock(&LockKey::Roles, ROLES_WAIT).await? {
            return Err(super::errors::unavailable(anyhow::anyhow!("another session holds the lock on the roles")));
        }
        let made = self.ensure_shared_roles().await;
        self.unlock(&LockKey::Roles).await?;
        made?;
        self.close_shared_databases().await
    }

    /// Makes or adopts the tenant's login and sets its password, limits and membership.
    ///
    /// # Errors
    /// `role_unsafe` when a role of that name has rights that Freehold cannot take away.
    pub async fn ensure_tenant_role(&self, name: DbName, password: &SecretString) -> Result<()> {
        let name = name.to_string();
        let secret = quote_literal(&verifier(password))?;
        let attributes = format!("LOGIN INHERIT CONNECTION LIMIT {CONNECTION_LIMIT} PASSWORD {secret}");
        self.ensure_role(&name, &attributes, &tenant_role_ddl(&name, self.version().has_membership_options())?).await
    }

    /// Keeps the tenant's role from logging in; a role that is not there cannot. Sessions that it has go on: see
    /// [`terminate_sessions`](Self::terminate_sessions).
    pub async fn deny_login(&self, name: DbName) -> Result<()> {
        self.alter_login(name, "NOLOGIN").await
    }

    /// Lets the tenant's role log in again. One that others have dropped stays away: what is undone ends all the same.
    pub async fn allow_login(&self, name: DbName) -> Result<()> {
        self.alter_login(name, "LOGIN").await
    }

    async fn alter_login(&self, name: DbName, login: &str) -> Result<()> {
        match self.alter_role(name, login).await? {
            Err(error) if is_sqlstate(&error, &SqlState::UNDEFINED_OBJECT) => Ok(()),
            altered => Ok(altered?),
        }
    }

    /// Gives the tenant's role another password. Sessions that it has go on. False when there is no such role.
    pub async fn set_tenant_password(&self, name: DbName, password: &SecretString) -> Result<bool> {
        // Looked for first: PostgreSQL logs a statement that fails, and with it the verifier.
        if self.is_harmless(&name.to_string()).await?.is_none() {
            return Ok(false);
        }
        let secret = quote_literal(&verifier(password))?;
        self.alter_role(name, &format!("PASSWORD {secret}")).await??;
        Ok(true)
    }

    async fn alter_role(&self, name: DbName, option: &str) -> Result<Result<(), tokio_postgres::Error>> {
        let role = quote_ident(&name.to_string())?;
        Ok(self.batch_execute(&format!("ALTER ROLE {role} {option}")).await)
    }

    async fn ensure_shared_roles(&self) -> Result<()> {
        for name in [OWNER_ROLE, TENANT_ROLE] {
            self.ensure_role(name, "NOLOGIN INHERIT", &comment_ddl(name)?).await?;
        }
        let owner = quote_ident(OWNER_ROLE)?;
        let options = if self.version().has_membership_options() { " WITH INHERIT TRUE, SET TRUE" } else { "" };
        self.batch_execute(&format!("GRANT {owner} TO CURRENT_USER{options}")).await?;
        Ok(())
    }

    /// Makes the role, or gives the one that is there the same attributes, and does `then` in the same transaction:
    /// what can be repeated of it.
    pub(super) async fn ensure_role(&self, name: &str, attributes: &str, then: &str) -> Result<()> {
        let role = quote_ident(name)?;
        if !self.adoptable(name).await? {
            let create = format!(
                "CREATE ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS {attributes}; {then}"
            );
            match self.batch_execute(&create).await {
                Err(error) if is_taken(&error) => {}
                made => return Ok(made?),
            }
        }
        self.batch_execute(&format!("ALTER ROLE {role} NOCREATEDB NOCREATEROLE {attributes}; {then}")).await?;
        Ok(())
    }

    /// Whether the role is there, and may be adopted.
    async fn adoptable(&self, name: &str) -> Result<bool> {
        match self.is_harmless(name).await? {
            None => Ok(false),
            Some(true) => Ok(true),
            Some(false) => Err(Error::conflict(
                "role_unsafe",
                format!("the role {name} is there already and has rights that only a superuser can take away"),
            )),
        }
    }

    /// Whether the role, if it is there, has no rights that only a superuser can take away.
    pub(super) async fn is_harmless(&self, name: &str) -> Result<Option<bool>> {
        let sql = "SELECT NOT (rolsuper OR rolreplication OR rolbypassrls) FROM pg_roles WHERE rolname = $1";
        let row = self.query_typed_opt(sql, &[(&name, Type::TEXT)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn close_shared_databases(&self) -> Result<Vec<String>> {
        // A REVOKE by somebody else than the owner only warns: ask who owns, and look at what became of it.
        let sql = "SELECT datname::text FROM pg_database WHERE datname = ANY($1) AND pg_has_role(datdba, 'USAGE')";
        for row in self.query(sql, &[&SHARED_DATABASES.as_slice()]).await? {
            let name = quote_ident(row.try_get(0)?)?;
            self.batch_execute(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")).await?;
        }
        self.open_shared_databases().await
    }

    /// Those of `postgres` and `template1` that PUBLIC may enter.
    pub async fn open_shared_databases(&self) -> Result<Vec<String>> {
        let open = |info: &super::DatabaseInfo| {
            SHARED_DATABASES.contains(&info.name.as_str()) && (info.public_connect || info.public_temp)
        };
        Ok(self.list_databases().await?.into_iter().filter(open).map(|info| info.name).collect())
    }
}

pub(super) fn comment_ddl(role: &str) -> Result<String> {
    Ok(format!("COMMENT ON ROLE {} IS {}", quote_ident(role)?, quote_literal(MARK)?))
}

fn tenant_role_ddl(name: &str, membership_options: bool) -> Result<String> {
    let role = quote_ident(name)?;
    // A tenant uses the rights on rows and never becomes the role that holds them.
    let options = if membership_options { " WITH INHERIT TRUE, SET FALSE" } else { "" };
    let mut ddl = vec![format!("GRANT {} TO {role}{options}", quote_ident(TENANT_ROLE)?)];
    for (setting, value) in TENANT_SETTINGS {
        ddl.push(format!("ALTER ROLE {role} SET {} = {}", quote_ident(setting)?, quote_literal(value)?));
    }
    ddl.push(comment_ddl(name)?);
    Ok(ddl.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_role_gets_its_membership_limits_and_mark() {
        let ddl = tenant_role_ddl("tenant_a", true).unwrap();
        assert!(ddl.starts_with("GRANT \"freehold_tenant\" TO \"tenant_a\" WITH INHERIT TRUE, SET FALSE; "));
        assert!(ddl.contains("ALTER ROLE \"tenant_a\" SET \"statement_timeout\" = '10s'"));
        assert!(ddl.ends_with("COMMENT ON ROLE \"tenant_a\" IS 'managed by freehold'"));
        assert!(!tenant_role_ddl("tenant_a", false).unwrap().contains(" WITH "));
    }
}
