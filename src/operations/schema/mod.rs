//! The schema of tenants' databases: the published migrations, and the template databases that are built from them.

pub mod publish;
pub(super) mod template;

pub use super::memory::Newest;
