//! Authentication and authorization of users.
//!
//! Both planes use this module: operators are the users of the platform tenant. Users, their credentials and their
//! sessions are in the tenant's own database. The keys that sign a tenant's access tokens are in the control database,
//! encrypted.
//!
//! A sign-in opens a session. A session has a family of refresh tokens, and a refresh token is exchanged for
//! short-lived access tokens. Verified tokens are cached for a few seconds, together with the tenant's epoch. Code that
//! takes a right away increments the epoch, and then every replica verifies the tokens again.
//!
//! # The rooms
//! A room is a submodule for one noun. Each table belongs to one room. A room's functions take the [`Identity`] as
//! their first argument. A function with several outcomes returns an enum of its own, which converts to the response. A
//! room may use the rooms to the right of its arrow, and `tests/identity_rooms.rs` fails on any other:
//!
//! ```text
//! authenticate -> sessions, api_keys, tokens, verdicts
//! first_admin  -> people, credentials, invitations, tokens
//! letters      -> invitations, tokens
//! policies     -> sessions, settings, audit
//! factors      -> sessions, people, credentials, steps, tokens, audit
//! invitations  -> people, credentials, settings, tokens, audit
//! api_keys     -> people, roles, tokens, verdicts
//! sessions     -> people, credentials, steps, settings, roles, tokens, audit
//! people       -> credentials, settings, tokens
//! credentials  -> settings
//! steps        -> tokens
//! settings, roles, tokens, audit, verdicts -> (permissions, principal and client only)
//! ```
//!
//! All SQL on a room's table is in the room's `store.rs`. Other modules call functions. When one statement needs the
//! tables of several rooms, each room's `store.rs` has a macro with its part of the statement, so that the text is a
//! constant.
//!
//! # What must never happen
//! * A password, a token or a key is stored or logged in plain text.
//! * A database connection is held while a password is hashed.
//! * A response shows whether an email address is known.

pub mod api_keys;
mod audit;
mod authenticate;
mod client;
pub mod credentials;
pub mod factors;
pub mod first_admin;
pub mod invitations;
pub mod letters;
pub mod people;
mod permissions;
pub mod policies;
mod principal;
mod roles;
pub mod sessions;
mod settings;
pub mod steps;
pub mod tokens;
mod verdicts;

use std::{sync::Arc, time::Duration};

pub use authenticate::authenticate;
pub use client::Client;
pub use permissions::{Permissions, people as people_right, right};
pub use principal::{Actor, Principal};

use crate::{
    control::{ControlDb, sealed::SealedTenant, sealing::KeyRing, tenants::Tenant},
    error::Result,
    limits::Attempts,
    tenancy::{Tenancy, idempotency},
    types::{Clock, Random, TableName},
};

/// Freehold's tables that a clone of a tenant's database gets without their rows, because the rows give access or record
/// what users did. Users, their passwords and roles are copied. A product names its own such tables:
/// [`Product::left_behind`](crate::Product::left_behind).
pub const LEFT_BEHIND: [TableName; 7] = [
    sessions::TABLE,
    tokens::TABLE,
    steps::TABLE,
    invitations::TABLE,
    api_keys::TABLE,
    audit::TABLE,
    idempotency::TABLE,
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

/// The settings of identity.
#[derive(Clone)]
pub struct Settings {
    /// How many passwords are hashed at once. Each takes a core for some 50 ms and 19 MiB.
    pub hash_concurrency: usize,
    /// How long a session lives without use.
    pub session_idle: Duration,
    /// The product's name: no password is made of it alone, and authenticator apps show it.
    pub product: String,
    /// A tenant's public address, without a trailing slash: the issuer of its tokens.
    pub issuer: tokens::Address,
}

/// What identity depends on.
pub struct Dependencies {
    /// The control database.
    pub db: ControlDb,
    /// Decrypts signing keys.
    pub key_ring: Arc<KeyRing>,
    /// Connects to tenants' databases.
    pub tenancy: Tenancy,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Counts failed attempts.
    pub attempts: Attempts,
    /// All permissions, Freehold's and the product's.
    pub permissions: Permissions,
    /// Mails to people, if any are sent.
    pub letters: Option<letters::Letters>,
}

/// The context of this module's functions: connections to tenants' databases, and the state that all requests of a
/// replica share. Its fields are private.
pub struct Identity {
    tenancy: Tenancy,
    clock: Clock,
    random: Random,
    /// Limits failed attempts.
    attempts: Attempts,
    /// Hashes passwords, and limits how many at once.
    hasher: credentials::Hasher,
    /// Issues and verifies access tokens.
    issuer: tokens::Issuer,
    /// Caches verified tokens.
    verdicts: verdicts::Verdicts,
    /// The permissions of each role.
    permissions: Permissions,
    /// Seals and opens second factors, with tenants' data keys.
    key_ring: Arc<KeyRing>,
    session_idle: Duration,
    /// Mails to people, if any are sent.
    letters: Option<letters::Letters>,
    product: String,
}

impl Identity {
    /// Creates the context. Does no I/O.
    #[must_use]
    pub fn new(dependencies: Dependencies, settings: Settings) -> Self {
        let Dependencies { db, key_ring, tenancy, clock, random, attempts, permissions, letters } = dependencies;
        let Settings { hash_concurrency, session_idle, product, issuer } = settings;
        Self {
            hasher: credentials::Hasher::new(hash_concurrency, random),
            issuer: tokens::Issuer::new(tenancy.clone(), Arc::clone(&key_ring), issuer, (clock.clone(), random)),
            verdicts: verdicts::Verdicts::new(db),
            key_ring,
            session_idle,
            product,
            tenancy,
            clock,
            random,
            attempts,
            permissions,
            letters,
        }
    }

    /// The tenant's sealed data key, which second factors are sealed with. Asked for before a connection is taken.
    async fn factor_key(&self, tenant: &Tenant) -> Result<Arc<SealedTenant>> {
        self.tenancy.sealed(tenant.id, tenant.revision).await
    }
}
