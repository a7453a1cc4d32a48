//! The schema of tenants' databases: which migrations are published, and the templates that are built from them.

pub mod publish;
pub(super) mod template;

pub use super::memory::Newest;
