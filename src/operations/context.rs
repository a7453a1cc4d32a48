//! What operations work with.

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;

use super::{memory::Memory, pace::Pace};
use crate::{
    archives::Store,
    control::{
        ControlDb,
        audit::Origin,
        listener::Signals,
        sealing::KeyRing,
        secrets::{self, Purpose},
        servers::{self, Server},
    },
    error::{Error, Result},
    identity::Identity,
    migrations::MigrationSet,
    redis::Redis,
    servers::{Connector, Credentials, ServerAddress, ServerAdmin, dump::DumpTools, login_refused},
    tenancy::Tenancy,
    types::{Clock, Random, ServerId},
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
    pub identity: Arc<Identity>,
    /// What other replicas tell.
    pub signals: Signals,
    /// Where archives are kept, if anywhere: see [`Context::archives`].
    pub archives: Option<Store>,
    /// PostgreSQL's own programs for dumps.
    pub dump_tools: DumpTools,
    /// What this replica remembers from one operation to the next.
    pub memory: Memory,
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
    /// The product's migrations, as this program carries them.
    pub migrations: Arc<MigrationSet>,
    /// Whether a server may be registered that is reached without TLS; never in production.
    pub plaintext: bool,
}

/// What is done without being asked for and how fast, and the times and bounds of a tenant's life.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether this replica does what is due by itself.
    pub janitor: bool,
    /// How long a deleted tenant can be had back.
    pub deletion_grace: Duration,
    /// How long a renamed tenant's former slug leads to the new one.
    pub slug_redirect: Duration,
    /// How long an erased tenant's slug is kept from others.
    pub slug_reservation: Duration,
    /// How many tenants may be deleted within an hour, over the whole fleet.
    pub deletions_per_hour: u32,
    /// How fast the engine and the janitor go about their work.
    pub pace: Pace,
}

const PRESENT: Purpose = Purpose::ServerAdminPassword;
const NEXT: Purpose = Purpose::NextServerAdminPassword;
/// How often a server's passwords are read for one session. What was read may have been replaced before it was used;
/// whoever replaces one has sealed the next one before.
const READINGS: usize = 3;

/// How a server is reached for its administration.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) address: ServerAddress,
    pub(super) maintenance_db: String,
    pub(super) credentials: Credentials,
    server: ServerId,
    /// The one that takes the place of `credentials`, while the password is being replaced.
    next: Option<Credentials>,
}

impl Access {
    /// Whether one of two passwords is the present one, and it is not known which.
    pub(super) const fn is_unsettled(&self) -> bool {
        self.next.is_some()
    }
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

    /// Who does what nobody has asked for: this replica.
    pub(super) fn origin(&self) -> Origin {
        Origin { actor: format!("system:{}", self.replica), ..Origin::default() }
    }

    /// How `server` is reached, with its administrative password opened.
    pub(super) async fn access(&self, connection: &mut PgConnection, server: &Server) -> Result<Access> {
        let owner = server.id.uuid();
        let (password, next) = secrets::require_pair(connection, &self.keys, owner, (NEXT, PRESENT)).await?;
        let credentials = |password| Credentials { role: server.admin_role.clone(), password };
        Ok(Access {
            address: address(server)?,
            maintenance_db: server.maintenance_db.clone(),
            credentials: credentials(password),
            server: server.id,
            next: next.map(credentials),
        })
    }

    /// A dedicated administrative session on the server, and the access that it was opened with. `purpose` ends its
    /// `application_name`, by which PostgreSQL's own log tells who did what: `freehold:<replica>:<purpose>`.
    pub(super) async fn administer(&self, server: &Server, purpose: &str) -> Result<(Access, ServerAdmin)> {
        let name = self.session_name(purpose);
        for _ in 0..READINGS {
            let access = self.access(&mut *self.db.acquire().await?, server).await?;
            let Access { address, maintenance_db, credentials, next, .. } = &access;
            let candidates: Vec<_> = [credentials].into_iter().chain(next).collect();
            let opened = ServerAdmin::connect_as_any(&self.connector, address, maintenance_db, &candidates, &name);
            match opened.await? {
                Some((admin, 0)) => return Ok((access, admin)),
                Some((admin, _)) => return Ok((self.settled(access).await?, admin)),
                None => {}
            }
        }
        Err(login_refused(server.id))
    }

    /// Only the next password is accepted: whoever replaced the present one has not recorded that yet, or died before.
    /// It is recorded here, unless yet another one is on its way: that is somebody else's to settle.
    async fn settled(&self, access: Access) -> Result<Access> {
        let Access { server, next: Some(next), .. } = access else { return Ok(access) };
        tracing::warn!(server.id = %server, "the next administrative password is the one that works");
        let mut txn = self.db.begin().await?;
        for server in servers::sharing_role(&mut txn, server).await? {
            secrets::promote_in_txn(&mut txn, &self.keys, server.uuid(), (NEXT, PRESENT), &next.password).await?;
        }
        txn.commit().await?;
        Ok(Access { credentials: next, next: None, ..access })
    }

    /// How a session introduces itself to PostgreSQL.
    pub(super) fn session_name(&self, purpose: &str) -> String {
        // PostgreSQL cuts names at 63 bytes: the end matters more than the replica's name.
        let room = 63_usize.saturating_sub("freehold::".len() + purpose.len());
        let replica: String = self.replica.chars().take(room).collect();
        format!("freehold:{replica}:{purpose}")
    }
}
