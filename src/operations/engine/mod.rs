//! The engine claims operations, has them attempted, and survives whatever happens in between. It knows no operation by
//! name: it is handed a table of [`Kinds`].
//!
//! A replica claims an operation for a lease on the control database's clock ([`workers`]). A task of its own renews the
//! lease ([`lease`]) while an [`attempt`] works through the operation's steps. A killed replica costs the time until its
//! lease runs out and nothing else; one that is restarted under the same name takes up its own work at once. Between
//! two steps a stopping replica hands its operations back.
//!
//! How an operation goes on after a failed attempt ([`outcome`]); the numbers are [`Pace`]'s:
//!
//! | what happened | what follows |
//! |---|---|
//! | a passing reason | another attempt after a growing pause, without end |
//! | the same, and the operation can be undone | it is undone after `patience` attempts, or at the first failure after `longest_patience` at one step: somebody may be shut out meanwhile |
//! | `failures` times a reason that stays | it is undone, or set aside as `blocked` until an operator retries or cancels it, as its kind says |
//! | a panic | one failure of this operation, and of no other |
//! | the replica was killed | no failure; another replica goes on when the lease has run out |
//! | the lease was lost `lost_leases` times in a row at one step | a reason that stays: the replicas may have died of it |
//!
//! While releases are mixed, a replica leaves alone what only a newer one knows: kinds, and steps of known kinds.

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
