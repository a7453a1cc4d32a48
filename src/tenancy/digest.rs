//! A digest of a registry's content. Two registries with the same tenants at the same revisions have the same digest,
//! in whatever order they read the tenants. To update the digest after a change takes constant time.

use std::fmt;

use aws_lc_rs::digest;

use crate::{control::tenants::Tenant, types::TenantId};

/// A digest of tenants and their revisions. It detects accidental differences, and is not cryptographically secure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryDigest {
    count: u64,
    sum: u64,
}

impl RegistryDigest {
    /// The digest of these tenants.
    pub fn of<'a>(tenants: impl IntoIterator<Item = &'a Tenant>) -> Self {
        let mut digest = Self::default();
        for tenant in tenants {
            digest.add(tenant.id, tenant.revision);
        }
        digest
    }

    pub(super) fn add(&mut self, id: TenantId, revision: i64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(weight(id, revision));
    }

    pub(super) fn remove(&mut self, id: TenantId, revision: i64) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(weight(id, revision));
    }
}

/// One tenant's share of the digest. Replicas of different releases compare digests, so this function must never
/// change.
fn weight(id: TenantId, revision: i64) -> u64 {
    let bytes = [id.uuid().as_bytes().as_slice(), &revision.to_be_bytes()].concat();
    let hash = digest::digest(&digest::SHA256, &bytes);
    hash.as_ref().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

impl fmt::Display for RegistryDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.count, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(last: char) -> TenantId {
        format!("ten_0190b6a4c1e87d3f8a2b5c6d7e8f901{last}").parse().unwrap()
    }

    #[test]
    fn what_is_held_counts_and_not_how_it_came_there() {
        let (mut one, mut other) = (RegistryDigest::default(), RegistryDigest::default());
        one.add(id('1'), 1);
        one.add(id('2'), 7);
        other.add(id('2'), 3);
        other.remove(id('2'), 3);
        other.add(id('2'), 7);
        other.add(id('1'), 1);
        assert_eq!(one, other);
        other.remove(id('1'), 1);
        other.add(id('1'), 2);
        assert_ne!(one, other, "another revision");
        assert_eq!(one.to_string().split(':').next(), Some("2"));
    }
}
