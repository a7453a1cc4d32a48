//! What operations work with.

use std::{sync::Arc, time::Duration};

use crate::{
    archives::Store,
    control::{
        ControlDb,
        listener::Signals,
        sealing::KeyRing,
        secrets::{self, Purpose},
        servers::Server,
    },
    error::{Error, Result},
    identity::Identity,
    limits::Redis,
    servers::{Connector, Credentials, ServerAddress, ServerAdmin, dump::DumpTools},
    tenancy::Tenancy,
    types::{Clock, Random},
};

/// What operations work with. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// The control database.
    pub db: ControlDb,
    /// Opens and makes sealed secrets.
    pub keys: Arc<KeyRing>,
    /// Makes connections to servers.
    pub connector: Connector,
    /// The doors to tenants' data.
    pub tenancy: Tenancy,
    /// Users, keys and sessions of tenants.
    pub identity: Identity,
    /// What other replicas tell.
    pub signals: Signals,
    /// Where archives are kept, if anywhere: see [`Context::archives`].
    pub archives: Option<Store>,
    /// PostgreSQL's own programs for dumps.
    pub dump_tools: DumpTools,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// This replica's name.
    pub replica: String,
    /// How long an invitation can be accepted.
    pub invitation: Duration,
    /// What Redis holds of tenants, where there is one.
    pub redis: Option<Redis>,
    /// The times and bounds of a tenant's life.
    pub settings: Settings,
    /// Whether a server may be registered that is reached without TLS; never in production.
    pub plaintext: bool,
}

/// The times and bounds of a tenant's life.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a deleted tenant can be had back.
    pub deletion_grace: Duration,
    /// How long a renamed tenant's former slug leads to the new one.
    pub slug_redirect: Duration,
    /// How long an erased tenant's slug is kept from others.
    pub slug_reservation: Duration,
    /// How many tenants may be deleted within an hour, over the whole fleet.
    pub deletions_per_hour: u32,
}

/// How a server is reached for its administration.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) address: ServerAddress,
    pub(super) maintenance_db: String,
    pub(super) credentials: Credentials,
}

/// Where a server is.
pub(super) fn address(server: &Server) -> Result<ServerAddress> {
    let tls = server.tls.parse().map_err(|invalid: crate::types::Invalid| Error::internal(invalid))?;
    Ok(ServerAddress { host: server.host.clone(), port: server.port, tls })
}

impl Context {
    /// Where archives are kept.
    ///
    /// # Errors
    /// `archives_not_configured` (409).
    pub fn archives(&self) -> Result<&Store> {
        self.archives.as_ref().ok_or_else(|| {
            let detail = "this Freehold has no archive store: its operators have to set FREEHOLD_ARCHIVE_URL";
            Error::conflict("archives_not_configured", detail)
        })
    }

    /// How `server` is reached, with its administrative password opened.
    pub(super) async fn access(&self, server: &Server) -> Result<Access> {
        let mut connection = self.db.acquire().await?;
        let password =
            secrets::require(&mut connection, &self.keys, server.id.uuid(), Purpose::ServerAdminPassword).await?;
        Ok(Access {
            address: address(server)?,
            maintenance_db: server.maintenance_db.clone(),
            credentials: Credentials { role: server.admin_role.clone(), password },
        })
    }

    /// A dedicated administrative session. `purpose` ends its `application_name`, by which PostgreSQL's own log
    /// tells who did what: `freehold:<replica>:<purpose>`.
    pub(super) async fn administer(&self, access: &Access, purpose: &str) -> Result<ServerAdmin> {
        let name = self.session_name(purpose);
        ServerAdmin::connect(&self.connector, &access.address, &access.maintenance_db, &access.credentials, &name).await
    }

    /// How a session introduces itself to PostgreSQL.
    pub(super) fn session_name(&self, purpose: &str) -> String {
        // PostgreSQL cuts names at 63 bytes: the end matters more than the replica's name.
        let room = 63_usize.saturating_sub("freehold::".len() + purpose.len());
        let replica: String = self.replica.chars().take(room).collect();
        format!("freehold:{replica}:{purpose}")
    }
}
