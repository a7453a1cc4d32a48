//! The checks that compare promises with reality and change nothing, and the schedule that runs them.

pub mod fsck;
pub mod isolation;
pub mod schedule;
pub mod verify_isolation;
