//! Databases: made closed from a template, restricted and opened last, at once.
//!
//! A row in `pg_database` becomes visible when its copy is complete, so a database that is there is whole: it is
//! adopted. The one exception is what an interrupted DROP leaves behind, and that is dropped again.

use super::{DatabaseInfo, MARK, OWNER_ROLE, ServerAdmin, errors::is_taken, quote_ident, quote_literal};
use crate::{error::Result, types::DbName};

/// A drop or a lost race, and what settles it.
const OBSERVATIONS: usize = 3;

impl ServerAdmin {
    /// Makes the tenant's database as a clone of `template`, closed to everybody, or adopts the one that is there.
    ///
    /// # Errors
    /// `database_taken` when one of that name belongs to somebody else; `tenant_database_unavailable` while the
    /// template or the name is in use.
    pub async fn ensure_database(&self, name: DbName, template: &str) -> Result<()> {
        let source = format!("TEMPLATE {}", quote_ident(template)?);
        self.ensure_closed_database(&name.to_string(), &source).await
    }

    /// Takes the database from PUBLIC, gives CONNECT to its tenant alone, and marks it as Freehold's.
    pub async fn restrict_database(&self, name: DbName) -> Result<()> {
        Ok(self.batch_execute(&restrict_ddl(name)?).await?)
    }

    /// The same, and lets sessions in: the last step of making a database that was closed until then. All at once, so
    /// that none gets in before.
    pub async fn grant_access(&self, name: DbName) -> Result<()> {
        let open = alter_ddl(&name.to_string(), "ALLOW_CONNECTIONS true")?;
        Ok(self.batch_execute(&format!("{}; {open}", restrict_ddl(name)?)).await?)
    }

    /// Makes an empty database to build a template or to restore a dump in, or adopts the one that is there: UTF-8,
    /// closed to everybody but the owner, those who inherit from it, and whom it is granted to.
    ///
    /// The locale is the one that the server was initialised with, its operator's choice; where that is not of
    /// UTF-8 it is `C`, the one locale that goes with every encoding on every platform.
    ///
    /// # Errors
    /// As [`ensure_database`](Self::ensure_database).
    pub async fn ensure_empty_database(&self, name: &str) -> Result<()> {
        let sql = "SELECT pg_encoding_to_char(encoding) = 'UTF8' FROM pg_database WHERE datname = 'template0'";
        let utf8: bool = self.query_one(sql, &[]).await?.try_get(0)?;
        let locale = if utf8 { "" } else { " LOCALE 'C' LOCALE_PROVIDER libc" };
        self.ensure_closed_database(name, &format!("TEMPLATE template0 ENCODING 'UTF8'{locale}")).await?;
        self.batch_execute(&close_ddl(name)?).await?;
        self.alter_database(name, "ALLOW_CONNECTIONS true").await
    }

    /// Shuts a template for good: no session can enter, so none can stand in the way of a clone.
    pub async fn close_template(&self, name: &str) -> Result<()> {
        self.alter_database(name, "ALLOW_CONNECTIONS false").await?;
        self.alter_database(name, "IS_TEMPLATE true").await
    }

    /// Marks the database as Freehold's.
    pub async fn mark_database(&self, name: &str) -> Result<()> {
        Ok(self.batch_execute(&mark_ddl(name)?).await?)
    }

    /// Drops a template that was not finished, and ends the sessions in it: those of a builder that was stopped and
    /// would keep them for as long as its machine does. The caller holds the template's lock, so that nobody else is at
    /// work there.
    ///
    /// # Errors
    /// `database_taken` when it belongs to somebody else; `database_in_use` for sessions that this role may not end.
    pub async fn drop_unfinished_template(&self, name: &str) -> Result<()> {
        self.release_template(name).await?;
        self.terminate_sessions_of(name, None).await?;
        Ok(self.drop_closed(name).await??)
    }

    /// Lets nobody enter the template any more, and lets it be dropped.
    async fn release_template(&self, name: &str) -> Result<()> {
        let Some(found) = self.database(name).await? else { return Ok(()) };
        found.check_owner()?;
        // What an interrupted DROP has left lets nobody in and cannot be altered any more.
        if found.is_interrupted_drop() {
            return Ok(());
        }
        self.alter_database(name, "ALLOW_CONNECTIONS false").await?;
        self.alter_database(name, "IS_TEMPLATE false").await
    }

    async fn ensure_closed_database(&self, name: &str, source: &str) -> Result<()> {
        let (quoted, owner) = (quote_ident(name)?, quote_ident(OWNER_ROLE)?);
        let create = format!("CREATE DATABASE {quoted} {source} OWNER {owner} ALLOW_CONNECTIONS false");
        for _ in 0..OBSERVATIONS {
            // PostgreSQL looks for the name before it copies anything: nobody who waits for a copy waits for one more
            // look.
            match self.batch_execute(&create).await {
                Err(error) if is_taken(&error) => {}
                made => return Ok(made?),
            }
            match self.database(name).await? {
                Some(found) if found.is_interrupted_drop() => self.drop_interrupted(&found).await?,
                Some(found) => return found.check_owner(),
                None => {}
            }
        }
        Err(super::errors::unavailable(anyhow::anyhow!("{name} appears and disappears: somebody else works on it")))
    }

    pub(super) async fn alter_database(&self, name: &str, option: &str) -> Result<()> {
        Ok(self.batch_execute(&alter_ddl(name, option)?).await?)
    }

    async fn drop_interrupted(&self, found: &DatabaseInfo) -> Result<()> {
        found.check_owner()?;
        tracing::warn!(database = found.name, "dropping what an interrupted drop left behind");
        Ok(self.drop_closed(&found.name).await??)
    }

    /// Drops the database, if it is there, under PostgreSQL's own conditions; its refusal is for the caller to read.
    pub(super) async fn drop_closed(&self, name: &str) -> Result<Result<(), tokio_postgres::Error>> {
        Ok(self.batch_execute(&format!("DROP DATABASE IF EXISTS {}", quote_ident(name)?)).await)
    }
}

/// Sent together, statements are one transaction (PostgreSQL manual: "Multiple Statements in a Simple Query").
fn restrict_ddl(name: DbName) -> Result<String> {
    let name = name.to_string();
    let quoted = quote_ident(&name)?;
    Ok(format!("{}; GRANT CONNECT ON DATABASE {quoted} TO {quoted}; {}", close_ddl(&name)?, mark_ddl(&name)?))
}

fn alter_ddl(name: &str, option: &str) -> Result<String> {
    Ok(format!("ALTER DATABASE {} WITH {option}", quote_ident(name)?))
}

fn close_ddl(name: &str) -> Result<String> {
    Ok(format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", quote_ident(name)?))
}

fn mark_ddl(name: &str) -> Result<String> {
    Ok(format!("COMMENT ON DATABASE {} IS {}", quote_ident(name)?, quote_literal(MARK)?))
}
