//! Rollouts: the published migrations carried to the tenants that exist, in waves, with proof.
//!
//! A rollout is a row with its waves and a row for each tenant that is behind ([`start`]). Not one operation for each
//! tenant: the rows have claims of their own, and many are claimed and recorded with one statement. Its life:
//!
//! 1. [`plan`] says who is behind and which wave each tenant belongs to. It asks the control database one query, and no
//!    tenant.
//! 2. Every replica works on the unfinished rollout ([`worker`]). On each server it has a [`crew`], which takes some of
//!    the places in which tenants of that server are migrated. PostgreSQL's locks on the places keep all replicas
//!    together within the server's concurrency.
//! 3. A place takes a tenant from the [`desk`], which claims some at a time and records outcomes together. It migrates
//!    the tenant ([`tenant`]), and compares the fingerprint of the schema with that of the template of the same versions.
//! 4. Whoever finds nothing more to claim looks whether the wave is over, and what comes next ([`waves`]).
//! 5. An operator pauses, resumes or aborts it, has failed tenants tried again, and leaves tenants out ([`control`]).
//!    Anybody can follow it ([`progress`]).
//! 6. The way back ([`undo`]) is a rollout too.
//!
//! A tenant that fails serves as before: a file and its row in the database's own history are one transaction. The rows
//! here may be behind a database, when a replica died between the two, and never ahead of it.

mod change;
pub mod control;
mod crew;
mod desk;
pub mod obstacles;
mod outcome;
pub mod plan;
pub mod progress;
pub mod request;
pub mod start;
mod tenant;
mod tidy;
pub mod undo;
mod waves;
pub mod worker;

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("freehold_rollout_tenants", "tenants of the unfinished rollout, or of the last one, by state");
    describe_gauge!("freehold_rollout_paused", "whether the unfinished rollout waits for an operator");
    describe_counter!("freehold_rollout_attempts_total", "attempts to migrate a tenant, by outcome");
    let duration = "freehold_rollout_attempt_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long attempts to migrate a tenant took");
}
