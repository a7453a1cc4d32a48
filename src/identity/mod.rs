//! Who somebody is and what they may do.
//!
//! Written once for both planes: operators are the users of the platform tenant. People, what they prove who they are
//! with, and their sessions live in the tenant's own database; the keys that sign a tenant's access tokens live, sealed,
//! in the control database. A sign-in opens a session, a session carries a family of refresh tokens, and a refresh token
//! buys short-lived access tokens. What was verified is remembered for seconds, under the tenant's epoch: whoever takes
//! a right away raises the epoch, and every replica looks again.
//!
//! # The rooms
//! Each noun has a room, and each table one room. A room's functions take the [`Identity`] that they work with first;
//! what can end in more than one way answers with a type of its own, which says how it is answered. A room may use the
//! rooms that stand behind its arrow, and `tests/identity_rooms.rs` fails on any other:
//!
//! ```text
//! authenticate -> sessions, api_keys, tokens, verdicts
//! first_admin  -> people, credentials, invitations, tokens
//! invitations  -> people, credentials, tokens, audit
//! api_keys     -> people, roles, tokens, verdicts
//! sessions     -> people, credentials, roles, tokens, audit
//! people       -> credentials, settings, tokens
//! credentials, settings, roles, tokens, audit, verdicts -> (permissions, principal and client only)
//! ```
//!
//! `store.rs` is the one file of a room that knows its table, and nobody else's code says SQL to it: what operations ask
//! of these tables they ask through functions. Where one statement has to look at the tables of several rooms, each
//! room's part of its text comes from that room's `store.rs`, as a macro, so that the statement is still a constant.
//!
//! # What must never happen
//! A password, a token or a key is stored or logged as it is. A connection is held while a password is hashed. An
//! answer tells whether an e-mail address is known.

pub mod api_keys;
mod audit;
mod authenticate;
mod client;
pub mod credentials;
pub mod first_admin;
pub mod invitations;
pub mod people;
mod permissions;
mod principal;
mod roles;
pub mod sessions;
mod settings;
pub mod tokens;
mod verdicts;

use std::{sync::Arc, time::Duration};

pub use authenticate::authenticate;
pub use client::Client;
pub use permissions::{Permissions, RESERVED_RESOURCES, right};
pub use principal::{Actor, Principal};

use crate::{
    control::{ControlDb, sealing::KeyRing},
    limits::Attempts,
    tenancy::{Tenancy, idempotency},
    types::{Clock, Random, TableName},
};

/// Tables of a tenant's database whose rows open doors, or tell of what people did: what a copy of the database must
/// not hold. People, their passwords and roles are not among them.
pub const LEFT_BEHIND: [TableName; 6] =
    [sessions::TABLE, tokens::TABLE, invitations::TABLE, api_keys::TABLE, audit::TABLE, idempotency::TABLE];

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
    pub issuer: tokens::Address,
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
    /// All permissions that there are.
    pub permissions: Permissions,
}

/// What the rooms work with: the doors to tenants' data, and what a replica shares among all requests. Opaque outside.
pub struct Identity {
    tenancy: Tenancy,
    clock: Clock,
    random: Random,
    /// Bounds guesses.
    attempts: Attempts,
    /// Bounds hashes.
    hasher: credentials::Hasher,
    /// Makes and verifies access tokens.
    issuer: tokens::Issuer,
    /// Remembers who was verified.
    verdicts: verdicts::Verdicts,
    /// What a role grants.
    permissions: Permissions,
    session_idle: Duration,
}

impl Identity {
    /// Puts identity together. Reads nothing yet.
    #[must_use]
    pub fn new(dependencies: Dependencies, settings: Settings) -> Self {
        let Dependencies { db, key_ring, tenancy, clock, random, attempts, permissions } = dependencies;
        let Settings { hash_concurrency, session_idle, issuer } = settings;
        Self {
            hasher: credentials::Hasher::new(hash_concurrency, random),
            issuer: tokens::Issuer::new(tenancy.clone(), key_ring, issuer, (clock.clone(), random)),
            verdicts: verdicts::Verdicts::new(db),
            session_idle,
            tenancy,
            clock,
            random,
            attempts,
            permissions,
        }
    }
}
