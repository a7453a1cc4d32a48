//! Which audit log is meant.

use crate::control::tenants::Tenant;

/// Whose log. The chain of each is in the database of a tenant.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// What the people of this tenant did, operators among themselves too.
    Tenant(&'a Tenant),
    /// What operators did to tenants, servers and rollouts. With it comes the platform tenant.
    Platform(&'a Tenant),
}

impl Source<'_> {
    /// In whose database the chain is.
    pub(super) const fn tenant(&self) -> &Tenant {
        match self {
            Self::Tenant(tenant) | Self::Platform(tenant) => tenant,
        }
    }

    /// What the chain's tables call it.
    pub(super) const fn log(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Platform(_) => "platform",
        }
    }
}
