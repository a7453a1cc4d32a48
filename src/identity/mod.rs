//! Who somebody is and what they may do: passwords, sessions, tokens, API keys, roles, invitations.
//!
//! Written once for both planes: operators are the users of the platform tenant. People, credentials and
//! sessions live in the tenant's own database; the keys that sign a tenant's access tokens live, sealed, in the
//! control database. A sign-in opens a session, a session carries a family of refresh tokens, and a refresh
//! token buys short-lived access tokens. What was verified is remembered for seconds, under the tenant's epoch:
//! whoever takes a right away raises the epoch, and every replica looks again.
//!
//! This module must never store or log a password, a token or a key as it is, hold a connection while it hashes
//! a password, or let an answer tell whether an e-mail address is known.

mod api_keys;
mod audit;
mod authenticate;
mod credentials;
mod first_admin;
mod invitations;
mod people;
mod permissions;
mod principal;
mod sessions;
mod tokens;

use std::{sync::Arc, time::Duration};

pub use audit::Client;
pub use credentials::check_password_policy;
pub use first_admin::FirstAdmin;
pub use people::{Me, MyTenant};
pub use permissions::Permission;
pub use principal::{Actor, Principal};
pub use sessions::{Login, Tokens};
pub use tokens::make_signing_key;

use crate::{
    control::{
        ControlDb,
        sealing::KeyRing,
        tenants::{self, Tenant},
    },
    error::Result,
    limits::Attempts,
    tenancy::Tenancy,
    types::{Clock, Random, Slug, Stream, TableName, TenantId},
};

/// Tables of a tenant's database whose rows open doors, or tell of what people did: what a copy of the database must
/// not hold. People, their passwords and roles are not among them.
pub const LEFT_BEHIND: [TableName; 6] = [
    TableName::of(Stream::Freehold, "sessions"),
    TableName::of(Stream::Freehold, "refresh_tokens"),
    TableName::of(Stream::Freehold, "invitations"),
    TableName::of(Stream::Freehold, "api_keys"),
    TableName::of(Stream::Freehold, "audit_events"),
    TableName::of(Stream::Freehold, "idempotency_keys"),
];

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("freehold_password_hashes_running", "passwords that are being hashed");
    let duration = "freehold_password_hash_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long hashes took, without their wait for a turn");
    describe_counter!("freehold_logins_total", "attempts to sign in, by result");
    describe_counter!("freehold_tenant_mismatch_total", "access tokens of one tenant that were shown to another");
    describe_counter!("freehold_refresh_token_reuse_total", "refresh tokens used a second time: sessions ended");
}

/// How identity behaves.
#[derive(Clone)]
pub struct Settings {
    /// How many passwords are hashed at once. Each takes a core for some 50 ms and 19 MiB.
    pub hash_concurrency: usize,
    /// How long a session lives without use.
    pub session_idle: Duration,
    /// A tenant's public address, without a trailing slash: the issuer of its tokens.
    pub issuer: Arc<dyn Fn(&Slug) -> String + Send + Sync>,
}

/// The door to everything here. Clones share caches and bounds.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    db: ControlDb,
    tenancy: Tenancy,
    clock: Clock,
    random: Random,
    attempts: Attempts,
    hasher: credentials::Hasher,
    keys: tokens::Keys,
    verified: authenticate::Verified,
    session_idle: Duration,
    issuer: Arc<dyn Fn(&Slug) -> String + Send + Sync>,
}

/// What identity works with.
pub struct Dependencies {
    /// The control database.
    pub db: ControlDb,
    /// Unseals signing keys.
    pub key_ring: Arc<KeyRing>,
    /// The doors to tenants' data.
    pub tenancy: Tenancy,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Counts failed attempts.
    pub attempts: Attempts,
}

impl Identity {
    /// Puts identity together. Reads nothing yet.
    #[must_use]
    pub fn new(dependencies: Dependencies, settings: Settings) -> Self {
        let Dependencies { db, key_ring, tenancy, clock, random, attempts } = dependencies;
        let inner = Inner {
            hasher: credentials::Hasher::new(settings.hash_concurrency, random),
            keys: tokens::Keys::new(tenancy.clone(), key_ring),
            verified: authenticate::Verified::new(),
            session_idle: settings.session_idle,
            issuer: settings.issuer,
            db,
            tenancy,
            clock,
            random,
            attempts,
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    /// Makes every replica look again at who may do what in the tenant; this one at once, the others when the
    /// notification reaches them.
    async fn forget(&self, tenant: TenantId) -> Result<()> {
        let mut connection = self.db.acquire().await?;
        let epoch = tenants::raise_epoch(&mut connection, tenant).await?;
        self.verified.raise(tenant, epoch);
        Ok(())
    }

    /// Whose tokens are accepted: those from before a tenant was renamed are as good as ever.
    fn issuers(&self, tenant: &Tenant) -> Vec<String> {
        tenant.reserved_slugs.iter().chain([&tenant.slug]).map(|slug| (self.issuer)(slug)).collect()
    }

    fn issuer(&self, tenant: &Tenant) -> String {
        (self.issuer)(&tenant.slug)
    }
}
