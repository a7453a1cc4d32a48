//! An administrative session: one connection to a server's maintenance database, with its own time limits.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use secrecy::SecretString;
use tokio_postgres::{error::SqlState, types::Type};

use super::{Connection, Connector, Credentials, ServerAddress, is_sqlstate, quote_literal, scram::verifier_of_any};
use crate::error::{Error, Result};

/// Waits of an administrative session. A statement may copy a template (35 ms for an empty one, seconds for
/// a large one); a lock that is not free within 2 s is tried again by the caller.
const SESSION: &str = "SET statement_timeout = '60s'; SET lock_timeout = '2s'; SET search_path = pg_catalog";

/// A PostgreSQL version as the server says it: 150018 is 15.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(pub i32);

impl ServerVersion {
    /// The oldest release that Freehold works with: 15.0.
    pub const OLDEST: Self = Self(150_000);

    /// 15, 16, …
    #[must_use]
    pub const fn major(self) -> i32 {
        self.0 / 10_000
    }

    /// From 16 on, memberships carry INHERIT and SET, and CREATEROLE reaches only the roles that it made.
    pub(super) const fn has_membership_options(self) -> bool {
        self.0 >= 160_000
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10_000)
    }
}

/// The session with a server's administrative credential. Not shared: its locks guard its own statements.
#[derive(Debug)]
pub struct ServerAdmin {
    connection: Connection,
    version: ServerVersion,
    application_name: String,
}

impl ServerAdmin {
    /// Opens the session in the server's maintenance database.
    pub async fn connect(
        connector: &Connector,
        address: &ServerAddress,
        maintenance_db: &str,
        credentials: &Credentials,
        application_name: &str,
    ) -> Result<Self> {
        let connection = connector.connect(address, maintenance_db, credentials, application_name).await?;
        Self::begin(connection, application_name).await
    }

    /// Opens the session under the first of `candidates` whose password PostgreSQL accepts; answers with its place
    /// among them too, or with `None` when it accepts none.
    pub async fn connect_as_any(
        connector: &Connector,
        address: &ServerAddress,
        maintenance_db: &str,
        candidates: &[&Credentials],
        application_name: &str,
    ) -> Result<Option<(Self, usize)>> {
        for (place, credentials) in candidates.iter().enumerate() {
            let config = connector.config(address, maintenance_db, credentials, application_name);
            match connector.open(&config).await? {
                Ok(connection) => return Ok(Some((Self::begin(connection, application_name).await?, place))),
                Err(error) if is_sqlstate(&error, &SqlState::INVALID_PASSWORD) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Gives the role that this session belongs to another password. Its sessions go on.
    pub async fn set_own_password(&self, password: &SecretString) -> Result<()> {
        let secret = quote_literal(&verifier_of_any(password))?;
        Ok(self.batch_execute(&format!("ALTER ROLE CURRENT_USER PASSWORD {secret}")).await?)
    }

    pub(super) async fn begin(connection: Connection, application_name: &str) -> Result<Self> {
        connection.batch_execute(SESSION).await?;
        let number: String = connection.query_one("SHOW server_version_num", &[]).await?.try_get(0)?;
        let version = ServerVersion(number.parse().map_err(Error::internal)?);
        Ok(Self { connection, version, application_name: application_name.to_owned() })
    }

    /// Gives back every lock and takes another name: what follows is done for somebody else.
    pub async fn pass_on(&mut self, application_name: &str) -> Result<()> {
        let sql = "SELECT pg_advisory_unlock_all(), set_config('application_name', $1, false)";
        self.connection.query_typed(sql, &[(&application_name, Type::TEXT)]).await?;
        application_name.clone_into(&mut self.application_name);
        Ok(())
    }

    /// The server's version.
    #[must_use]
    pub const fn version(&self) -> ServerVersion {
        self.version
    }

    /// How this session introduces itself; sessions made on its behalf use the same name.
    #[must_use]
    pub fn application_name(&self) -> &str {
        &self.application_name
    }
}

impl Deref for ServerAdmin {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for ServerAdmin {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
