//! Counts of attempts in tenants whose database does not count them itself, since no rollout has reached it
//! (`identity::guesses` counts in all others). All replicas share the counts through Redis, if it is configured.
//!
//! Redis makes the limits exact across replicas, and stores nothing else. Correctness and security never depend on it.
//! When it is absent, slow or down, every replica counts by itself, in limited memory and with stricter limits. A
//! command to Redis delays a request by at most its timeout, and not at all while the breaker is open.
//!
//! This module must never read a tenant's database. It must never put an email address or other personal data into a
//! key: keys contain digests.

mod attempts;
mod bounds;
mod local;
pub mod traces;

pub use attempts::{Attempts, Reservation};

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_counter!("freehold_attempts_refused_total", "attempts refused because too many had failed");
}
