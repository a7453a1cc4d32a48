//! What is done to one tenant. One file an operation, and one for each thing that several of them work with.

pub mod archive;
pub mod archive_store;
pub mod certificate;
mod change;
pub mod clone;
mod contents;
pub mod delete;
pub(super) mod erase;
mod footprint;
pub mod provision;
mod rehearsal;
pub mod restore;
pub mod rotate_credentials;
pub mod rotate_signing_keys;
pub mod suspend;
pub(super) mod transfer;
pub mod update;

pub use change::Progress;
