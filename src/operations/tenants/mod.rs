//! The changes of one tenant. Each operation has a file, and so has each part that several operations share.

pub mod adopt;
pub mod archive;
pub mod archive_store;
pub mod certificate;
mod change;
pub mod clone;
mod contents;
pub mod delete;
pub(super) mod erase;
pub mod export;
mod footprint;
pub mod import;
pub mod migration_rehearsal;
pub mod provision;
mod rehearsal;
pub mod restore;
mod restoring;
pub mod rotate_credentials;
pub mod rotate_signing_keys;
pub mod suspend;
pub(super) mod transfer;
pub mod update;

pub use change::Progress;
