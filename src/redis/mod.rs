//! The connection to Redis, with its circuit breaker and its timeouts. Other modules decide what is stored there.
//!
//! Correctness and security never depend on Redis. A command delays its caller by at most its timeout, and not at all
//! while the breaker is open.

mod breaker;
mod connection;
mod keys;

pub use connection::{NoAnswer, Redis};

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_counter!("freehold_redis_failures_total", "commands to Redis that failed or were too late");
}
