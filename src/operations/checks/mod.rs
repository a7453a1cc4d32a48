//! `fsck`, `verify isolation`, the drift sweep, and the schedule that runs them. They change nothing.

pub mod drift;
pub mod fsck;
pub mod isolation;
pub mod schedule;
pub mod verify_isolation;
