//! `fsck`, `verify isolation`, and the schedule that runs them. They change nothing.

pub mod fsck;
pub mod isolation;
pub mod schedule;
pub mod verify_isolation;
