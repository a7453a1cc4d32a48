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
//! accounts       -> administration, first_proof, invitations, people, credentials, roles, sessions, steps, links
//! accounts       -> guesses, settings, tokens, audit
//! administration -> people, credentials, roles, sessions, steps, guesses, api_keys, invitations, visits, audit
//! authenticate   -> sessions, api_keys, visits, tokens, verdicts
//! visits         -> sessions, people, tokens, verdicts, audit
//! first_admin    -> people, credentials, invitations, tokens
//! imports        -> people, credentials, roles, sessions, audit
//! letters        -> invitations, links, tokens
//! policies       -> sessions, settings, audit
//! purge          -> people, credentials, sessions, steps, guesses, links, invitations, settings, roles, audit
//! factors        -> sessions, people, credentials, steps, guesses, links, tokens, audit
//! invitations    -> first_proof, links, people, credentials, settings, roles, guesses, tokens, audit
//! first_proof    -> sessions, steps, api_keys, credentials, links
//! api_keys       -> sessions, people, roles, links, tokens, verdicts, audit
//! sessions       -> people, credentials, steps, guesses, settings, roles, links, tokens, audit
//! people         -> credentials, settings, roles, tokens
//! credentials    -> settings
//! steps, links   -> tokens
//! guesses        -> audit
//! settings, roles, tokens, audit, verdicts -> (permissions, principal, client and made only)
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

pub mod accounts;
pub mod administration;
pub mod api_keys;
pub mod audit;
mod authenticate;
mod client;
pub mod credentials;
pub mod factors;
pub mod first_admin;
mod first_proof;
mod guesses;
pub mod imports;
pub mod invitations;
pub mod letters;
mod links;
mod made;
pub mod people;
mod permissions;
pub mod policies;
mod principal;
pub mod purge;
pub mod roles;
pub mod sessions;
mod settings;
pub mod steps;
pub mod tokens;
mod verdicts;
pub mod visits;

use std::{sync::Arc, time::Duration};

pub use authenticate::authenticate;
pub use client::Client;
pub use made::Made;
pub use permissions::{Permissions, people as people_right, right};
pub use principal::{Actor, Caller, Principal};

use crate::{
    control::{ControlDb, sealed::SealedTenant, sealing::KeyRing, tenants::Tenant},
    error::Result,
    limits::Attempts,
    tenancy::{self, Tenancy, idempotency},
    types::{Clock, Random, SchemaVersions, TableName},
};

/// Freehold's tables that a clone of a tenant's database gets without their rows, because the rows give access or record
/// what users did. Users, their passwords and roles are copied. A product names its own such tables:
/// [`Product::left_behind`](crate::Product::left_behind).
pub const LEFT_BEHIND: [TableName; 12] = [
    sessions::TABLE,
    tokens::TABLE,
    steps::TABLE,
    links::TABLE,
    guesses::TABLE,
    invitations::TABLE,
    api_keys::TABLE,
    audit::TABLE,
    audit::BATCHES,
    audit::DIGESTS,
    audit::HORIZONS,
    idempotency::TABLE,
];

/// The version of Freehold's stream with what the administration of people and the chains of audit logs need.
const PEOPLE_SINCE: i32 = 3;

/// The version of Freehold's stream from which on passwords may be hashes that other systems have made.
const IMPORTS_SINCE: i32 = 5;

/// Refuses what needs a version of Freehold's stream that no rollout has taken the tenant to yet.
///
/// # Errors
/// `tenant_schema_outdated` (503).
pub fn require_schema(tenant: &Tenant, since: i32) -> Result<()> {
    tenancy::reaches(tenant, SchemaVersions { freehold: since, product: 0 })
}

/// The same for what the administration of people needs.
fn require_people_schema(tenant: &Tenant) -> Result<()> {
    require_schema(tenant, PEOPLE_SINCE)
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("freehold_password_hashes_running", "passwords that are being hashed");
    let duration = "freehold_password_hash_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long hashes took, without their wait for a turn");
    describe_counter!("freehold_logins_total", "attempts to sign in, by result");
    describe_counter!("freehold_spraying_total", "networks that have tried too many accounts in vain, by their size");
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
    /// How old audit events of tenants become, in days; none: they are kept for ever.
    pub audit_days: Option<i32>,
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
    /// Counts failed attempts in databases of an earlier version.
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
    /// Limits failed attempts in databases of an earlier version.
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
    /// The platform's own audit log.
    db: ControlDb,
    /// Whose audit logs are to be chained.
    unchained: audit::Unchained,
    audit_days: Option<i32>,
}

impl Identity {
    /// Creates the context. Does no I/O.
    #[must_use]
    pub fn new(dependencies: Dependencies, settings: Settings) -> Self {
        let Dependencies { db, key_ring, tenancy, clock, random, attempts, permissions, letters } = dependencies;
        let Settings { hash_concurrency, session_idle, product, audit_days, issuer } = settings;
        Self {
            hasher: credentials::Hasher::new(hash_concurrency, random),
            issuer: tokens::Issuer::new(tenancy.clone(), Arc::clone(&key_ring), issuer, (clock.clone(), random)),
            verdicts: verdicts::Verdicts::new(db.clone()),
            key_ring,
            unchained: audit::Unchained::new(),
            audit_days,
            db,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_asked_for_is_that_of_the_file() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tenant-migrations/freehold");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names.collect();
        for (since, what) in [
            (PEOPLE_SINCE, "people"),
            (links::ACCOUNTS_SINCE, "accounts"),
            (IMPORTS_SINCE, "imported_passwords"),
            (guesses::GUESSES_SINCE, "guesses"),
        ] {
            let ending = format!("__{what}.sql");
            let found: Vec<_> = names.iter().filter(|name| name.ends_with(&ending)).collect();
            assert_eq!(found, [&format!("V{since}{ending}")]);
        }
    }
}
