//! The engine claims operations and attempts them until they end, whatever fails in between. It knows no operation by
//! name: its caller hands it a table of [`Kinds`].
//!
//! A replica claims an operation under a lease ([`workers`]). The clock of the control database decides when a lease
//! runs out. While an [`attempt`] works through the operation's steps, a separate future renews the lease ([`lease`]).
//! When a replica is killed, its operations wait until their leases run out, and nothing else is lost. When a replica
//! is restarted under the same name, it continues its own operations at once. A replica that is stopping releases its
//! operations between two steps.
//!
//! The table says what follows a failed attempt ([`outcome`]). The names in code style are fields of [`Pace`]:
//!
//! | what happened | what follows |
//! |---|---|
//! | a transient error | another attempt after a growing pause, without end |
//! | a transient error, and the operation can be undone | it is undone after `patience` attempts, or at the first failure after `longest_patience` at one step: users may be locked out in the meantime |
//! | `failures` permanent errors | its kind decides: it is undone, or it becomes `blocked` until an operator retries or cancels it |
//! | an error whose code the kind lists in its `refusals` | the same at once, since another attempt cannot succeed |
//! | a panic | one permanent error of this operation, and of no other |
//! | the replica was killed | no failure; another replica continues once the lease has run out |
//! | the lease was lost `lost_leases` times in a row at one step | a permanent error: this step may be what kills the replicas |
//!
//! While two releases run side by side, the older one skips the kinds and steps that it does not know.

mod attempt;
pub(super) mod kind;
mod lease;
mod outcome;
pub(super) mod queue;
pub(super) mod run;
pub mod wait;
mod workers;

pub use kind::Kinds;
pub use workers::spawn;

pub use super::pace::Pace;

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!("freehold_operation_attempts_total", "attempts to run an operation, by kind and outcome");
    let duration = "freehold_operation_attempt_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long attempts took, by kind; provisioning is tenant.provision");
}
