//! Which databases a tenant is tried against: all of them on a server with 50 or fewer. On a larger one the work
//! would grow with the square of the tenants, so each is tried against the first 50 that belong to no tenant
//! (`postgres`, templates, strangers) and the next eight tenants in a ring, which together try every database.

use crate::{servers::DatabaseInfo, types::DbName};

const FULL: usize = 50;
const NEIGHBOURS: usize = 8;

/// The databases of a server.
pub(super) struct Targets {
    tenants: Vec<DatabaseInfo>,
    others: Vec<DatabaseInfo>,
}

impl Targets {
    /// Sorts out whose is whose.
    pub(super) fn new(databases: Vec<DatabaseInfo>) -> Self {
        let is_tenant = |info: &DatabaseInfo| info.name.parse::<DbName>().is_ok();
        let (tenants, others) = databases.into_iter().partition(is_tenant);
        Self { tenants, others }
    }

    /// Whether some are left out.
    pub(super) fn is_sampled(&self) -> bool {
        self.tenants.len() + self.others.len() > FULL
    }

    /// What the tenant whose own database is `own` is tried against.
    pub(super) fn of<'a>(&'a self, own: &'a str) -> impl Iterator<Item = &'a DatabaseInfo> {
        let neighbours = if self.is_sampled() { NEIGHBOURS } else { self.tenants.len() };
        let after = self.tenants.partition_point(|info| info.name.as_str() <= own);
        let ring = self.tenants.iter().cycle().skip(after).take(neighbours.min(self.tenants.len()));
        self.others.iter().take(FULL).chain(ring.filter(move |info| info.name != own))
    }
}

/// What to say about a database that let a stranger in.
pub(super) fn remedy(database: &DatabaseInfo) -> String {
    if database.public_connect {
        format!(
            "a session was let in: the database is open to PUBLIC; as its owner ({}): \
             REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC",
            database.owner, database.name
        )
    } else {
        "a session was let in".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn database(name: String) -> DatabaseInfo {
        DatabaseInfo {
            name,
            owner: "freehold_owner".into(),
            allow_connections: true,
            is_template: false,
            conn_limit: -1,
            marked: true,
            public_connect: false,
            public_temp: false,
        }
    }

    fn targets(tenants: u32) -> Targets {
        let mut all: Vec<_> = (0..tenants).map(|n| database(format!("tenant_{n:032x}"))).collect();
        all.extend(["postgres", "template0", "template1"].map(|name| database(name.into())));
        Targets::new(all)
    }

    #[test]
    fn a_small_server_is_tried_in_full_and_nobody_against_itself() {
        let targets = targets(5);
        assert!(!targets.is_sampled());
        for own in &targets.tenants {
            let names: BTreeSet<_> = targets.of(&own.name).map(|info| &info.name).collect();
            assert_eq!(names.len(), 4 + 3);
            assert!(!names.contains(&own.name));
        }
    }

    #[test]
    fn a_large_server_is_sampled_and_every_database_is_tried_by_somebody() {
        let targets = targets(200);
        assert!(targets.is_sampled());
        let mut tried = BTreeSet::new();
        for own in &targets.tenants {
            let names: Vec<_> = targets.of(&own.name).map(|info| info.name.clone()).collect();
            assert_eq!(names.len(), NEIGHBOURS + 3);
            assert!(!names.contains(&own.name));
            tried.extend(names);
        }
        assert_eq!(tried.len(), 203);
    }

    #[test]
    fn a_tenant_alone_on_a_large_server_is_fine() {
        let others = (0..60).map(|n| database(format!("other_{n}")));
        let targets = Targets::new(others.chain([database(format!("tenant_{:032x}", 1))]).collect());
        assert_eq!(targets.of(&format!("tenant_{:032x}", 1)).count(), FULL);
    }
}
