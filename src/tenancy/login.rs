//! Opens connections to one tenant's database, and checks used ones.
//!
//! A connection can be opened during a password rotation: the present password is tried, and the next one. When
//! PostgreSQL refuses both, the cached passwords are older than the rotation. They are then read again and tried again,
//! a limited number of times within the time limit of a new connection. A connection is handed out only after
//! PostgreSQL has confirmed its database and role. The decrypted password is in memory only until then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::error::SqlState;

use super::{Registry, prepared::Texts, proof::Proofs, session::Session, vault::Vault};
use crate::{
    control::{sealed::SealedTenant, sealing::KeyRing},
    error::{Error, Result},
    servers::{Connector, Credentials, is_sqlstate, login_refused},
    types::{SchemaVersions, TenantId},
};

/// How often secrets are read again for one connection. The first read may have begun before the password changed. The
/// second one has not.
const READINGS: usize = 2;

/// A session that was used within this time is handed out without a check that it is still alive.
const ALIVE: Duration = Duration::from_millis(500);

/// Opens the connections of one tenant's pool.
pub(super) struct Login {
    pub(super) tenant: TenantId,
    pub(super) door: Arc<Door>,
    /// The revision of the tenant's row at which the next password was the valid one. At that revision it is tried
    /// first, so that a rotation that is held up does not fill PostgreSQL's log with failed logins.
    prefers_next: AtomicI64,
    /// The versions of its schema that were heard of last; 0 before the first time.
    versions: AtomicU64,
    /// Which statements are proven to leave no session state in its database.
    proofs: Arc<Proofs>,
}

/// What opening a connection needs for every tenant.
pub(super) struct Door {
    pub(super) vault: Arc<Vault>,
    pub(super) registry: Arc<Registry>,
    pub(super) keys: Arc<KeyRing>,
    pub(super) connector: Connector,
    pub(super) application_name: String,
    /// The statements that are known to be right.
    pub(super) texts: Arc<Texts>,
}

impl Login {
    pub(super) fn new(tenant: TenantId, door: Arc<Door>) -> Self {
        Self { tenant, door, prefers_next: AtomicI64::new(0), versions: AtomicU64::new(0), proofs: Arc::default() }
    }

    /// Called with what the control database says of the versions of the tenant's schema. When they are others than
    /// before, the database was migrated: what its sessions have prepared, and what is proven, may not hold any more.
    pub(super) fn heed(&self, versions: SchemaVersions) {
        let packed = [versions.freehold, versions.product].map(|version| u64::from(version.unsigned_abs()));
        let versions = packed[0] << 32 | packed[1];
        let before = self.versions.load(Ordering::Relaxed);
        if before != versions {
            self.versions.store(versions, Ordering::Relaxed);
            if before != 0 {
                self.proofs.doubt();
            }
        }
    }

    async fn log_in(&self) -> Result<ClientWrapper> {
        let mut refused: Vec<SecretString> = Vec::new();
        let mut sealed = self.door.vault.of(self.tenant, self.door.registry.revision_of(self.tenant)).await?;
        let mut readings = 0;
        loop {
            for (is_next, password) in self.candidates(&sealed)? {
                if refused.iter().any(|earlier| earlier.expose_secret() == password.expose_secret()) {
                    continue;
                }
                match self.connect(&sealed, password.clone()).await? {
                    Ok(client) => {
                        self.prefers_next.store(if is_next { sealed.revision } else { 0 }, Ordering::Relaxed);
                        return Ok(client);
                    }
                    Err(error) if is_sqlstate(&error, &SqlState::INVALID_PASSWORD) => refused.push(password),
                    // The request passed the gate just before the tenant's archiving or erasure denied the login.
                    Err(error) if is_sqlstate(&error, &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                        return Err(shut_out());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if readings == READINGS {
                return Err(login_refused(self.tenant));
            }
            readings += 1;
            sealed = self.door.vault.anew(self.tenant).await?;
        }
    }

    /// The passwords that may be valid, the likelier one first. Each is marked if it is the next one.
    fn candidates(&self, sealed: &SealedTenant) -> Result<Vec<(bool, SecretString)>> {
        let mut passwords: Vec<_> = [false, true].into_iter().zip(sealed.passwords(&self.door.keys)?).collect();
        if self.prefers_next.load(Ordering::Relaxed) == sealed.revision {
            passwords.reverse();
        }
        Ok(passwords)
    }

    async fn connect(
        &self,
        sealed: &SealedTenant,
        password: SecretString,
    ) -> Result<Result<ClientWrapper, tokio_postgres::Error>> {
        let Door { vault, connector, application_name, .. } = &*self.door;
        let address = vault.address(sealed.server).await?;
        let database = self.tenant.db_name().to_string();
        let credentials = Credentials { role: database.clone(), password };
        let config = connector.config(&address, &database, &credentials, application_name);
        let session = connector.session(&config).await?;
        Ok(session.map(|(client, task)| ClientWrapper::new(client, task)))
    }

    /// Checks that a new connection is on the tenant's database, with the tenant's role.
    async fn verify_identity(&self, client: &ClientWrapper) -> Result<()> {
        let row = client.query_one("SELECT current_database(), session_user", &[]).await?;
        let expected = self.tenant.db_name().to_string();
        if row.try_get::<_, String>(0)? == expected && row.try_get::<_, String>(1)? == expected {
            Ok(())
        } else {
            Err(Error::defect("a connection is not on its tenant's database"))
        }
    }
}

/// The error code and detail when the tenant's role may not log in.
pub(crate) const LOGIN_DENIED: (&str, &str) =
    ("tenant_login_denied", "this tenant's database lets nobody in at the moment");

fn shut_out() -> Error {
    let cause = anyhow::Error::msg("the tenant's role may not log in");
    Error::unavailable(LOGIN_DENIED.0, LOGIN_DENIED.1, cause)
}

impl Manager for Login {
    type Type = Session;
    type Error = Error;

    /// The pool limits the time of the whole call.
    async fn create(&self) -> Result<Session> {
        // Boxed, because the future is large and rarely needed.
        let client = Box::pin(self.log_in()).await?;
        self.verify_identity(&client).await?;
        Ok(Session::new(client, Arc::clone(&self.door.texts), Arc::clone(&self.proofs)))
    }

    /// Checks a used session. Sessions usually return clean; the rare one that could not be reset at once is reset
    /// here. A session that was used a moment ago counts as alive. Others are checked with a query, within the pool's
    /// time limit.
    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<Error> {
        if session.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if session.traces.are_possible() {
            return session.reset().await.map_err(|error| RecycleError::Backend(Error::internal(error)));
        }
        if metrics.last_used() > ALIVE {
            session.client.simple_query("").await.map_err(|error| RecycleError::Backend(error.into()))?;
        }
        Ok(())
    }
}
