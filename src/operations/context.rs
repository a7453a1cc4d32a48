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
    types::{Clock, Random, ServerId, TableName},
};

/// What operations work with. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// The control database.
    pub db: ControlDb,
    /// Seals secrets and opens them.
    pub keys: Arc<KeyRing>,
    /// Makes connections to servers.
    pub connector: Connector,
    /// Opens connections to tenants' databases.
    pub tenancy: Tenancy,
    /// Users, keys and sessions of tenants.
    pub identity: Arc<Identity>,
    /// Notifications from other replicas.
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
    /// Redis, if this Freehold is configured with one.
    pub redis: Option<Redis>,
    /// The times and bounds of a tenant's life.
    pub settings: Settings,
    /// The product's migrations, as this program carries them.
    pub migrations: Arc<MigrationSet>,
    /// The tables, Freehold's and the product's, that a clone of a tenant gets without their rows.
    pub left_behind: Arc<[TableName]>,
    /// Whether operators may register a server without TLS. Never in production.
    pub plaintext: bool,
}

/// The settings of operations: what runs without a request, the timing, and the times and limits of a tenant's life.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether this replica runs the janitor.
    pub janitor: bool,
    /// How long the deletion of a tenant can be taken back.
    pub deletion_grace: Duration,
    /// How long a renamed tenant's former slug redirects to the new one.
    pub slug_redirect: Duration,
    /// How long no other tenant may take the slug of an erased one.
    pub slug_reservation: Duration,
    /// How many tenants may be deleted within an hour, over the whole fleet.
    pub deletions_per_hour: u32,
    /// How fast the engine and the janitor go about their work.
    pub pace: Pace,
}

const PRESENT: Purpose = Purpose::ServerAdminPassword;
const NEXT: Purpose = Purpose::NextServerAdminPassword;
/// How often a server's passwords are read for one session. A password may be replaced between the read and the login.
/// A rotation stores the next password before it changes the role, so that a second read finds the valid one.
const READINGS: usize = 3;

/// The address of a server and the administrative credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) address: ServerAddress,
    pub(crate) maintenance_db: String,
    pub(crate) credentials: Credentials,
    server: ServerId,
    /// The credentials that replace `credentials`, while the password is being rotated.
    next: Option<Credentials>,
}

impl Access {
    /// Whether two passwords are stored and it is not known which of them is valid.
    pub(super) const fn is_unsettled(&self) -> bool {
        self.next.is_some()
    }
}

/// The address of a server.
pub(crate) fn address(server: &Server) -> Result<ServerAddress> {
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

    /// The origin of changes that nobody asked for: this replica.
    pub(crate) fn origin(&self) -> Origin {
        Origin { actor: format!("system:{}", self.replica), ..Origin::default() }
    }

    /// The address of `server` and its administrative credentials, decrypted.
    pub(crate) async fn access(&self, connection: &mut PgConnection, server: &Server) -> Result<Access> {
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

    /// Opens a dedicated administrative session on the server. Returns it with the access that it was opened with. The
    /// session's `application_name` is `freehold:<replica>:<purpose>`, so that PostgreSQL's own log says who did what.
    pub(crate) async fn administer(&self, server: &Server, purpose: &str) -> Result<(Access, ServerAdmin)> {
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

    /// Records the next password as the present one, after only the next one was accepted. The rotation that changed it
    /// on the server has not recorded that yet, or died before. If another rotation has begun since then, nothing is
    /// recorded here: that rotation does it.
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

    /// The `application_name` of a session.
    pub(crate) fn session_name(&self, purpose: &str) -> String {
        session_name_of(&self.replica, purpose)
    }
}

/// How a session of that replica for this purpose introduces itself.
pub(crate) fn session_name_of(replica: &str, purpose: &str) -> String {
    // PostgreSQL cuts names at 63 bytes: the end matters more than the replica's name.
    let room = 63_usize.saturating_sub("freehold::".len() + purpose.len());
    let replica: String = replica.chars().take(room).collect();
    format!("freehold:{replica}:{purpose}")
}
