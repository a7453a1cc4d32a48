//! How often something may be tried. Counts are shared by all replicas through Redis where there is one.
//!
//! Redis makes limits exact across replicas and holds nothing else: correctness and security never depend on
//! it. When it is absent, slow or down, every replica counts by itself, more strictly, in bounded memory. A
//! command to Redis delays a request by at most its time-out, and by nothing while the breaker is open.
//!
//! This module must never read a tenant's database, and never put an e-mail address or another personal text
//! into a key: what is counted is named by digests.

mod attempts;
mod bounds;
mod local;
pub mod traces;

pub use attempts::{Attempts, Reservation};

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_counter!("freehold_attempts_refused_total", "attempts refused because too many had failed");
}
