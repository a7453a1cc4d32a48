//! What each built-in role may do, told by the API itself: the whole table. A line that changes here changes what
//! people may do after the next deployment.

use serde_json::Value;

use crate::harness::{actors::Caller, fleet};

const ROLES: [&str; 4] = ["viewer", "member", "admin", "owner"];

/// A permission, and whether each of [`ROLES`] holds it.
type Row = (&'static str, [bool; 4]);

const ALL: [bool; 4] = [true, true, true, true];
const WORK: [bool; 4] = [false, true, true, true];
const ADMINS: [bool; 4] = [false, false, true, true];

/// Of tenants' people: the example product's permissions. [`PEOPLE`] follow.
const TENANT: &[Row] = &[("projects:read", ALL), ("projects:write", WORK), ("tasks:read", ALL), ("tasks:write", WORK)];

/// About people, on both planes.
const PEOPLE: &[Row] = &[
    ("users:read", ADMINS),
    ("users:write", ADMINS),
    ("users:delete", ADMINS),
    ("roles:read", ADMINS),
    ("roles:write", ADMINS),
    ("invitations:read", ADMINS),
    ("invitations:write", ADMINS),
    ("api-keys:read", ADMINS),
    ("api-keys:write", WORK),
    ("api-keys:revoke", ADMINS),
    ("service-accounts:write", ADMINS),
    ("audit-events:read", ADMINS),
    ("settings:read", ADMINS),
    ("settings:write", ADMINS),
];

/// Of operators. [`PEOPLE`] follow.
const PLATFORM: &[Row] = &[
    ("tenants:read", ALL),
    ("tenants:write", WORK),
    ("tenants:visit", WORK),
    ("tenants:delete", ADMINS),
    ("archives:export", ADMINS),
    ("tenants:import", ADMINS),
    ("servers:read", ALL),
    ("servers:write", ADMINS),
    ("operations:read", ALL),
    ("operations:write", WORK),
    ("jobs:read", ALL),
    ("jobs:write", WORK),
    ("plans:read", ALL),
    ("migrations:read", ALL),
    ("migrations:write", ADMINS),
    ("rollouts:read", ALL),
    ("rollouts:write", ADMINS),
    ("keys:read", ADMINS),
    ("keys:write", ADMINS),
    ("audit:read", ADMINS),
    ("fleet:verify", ADMINS),
];

async fn assert_grants(table: &[Row], role: usize, caller: &Caller) {
    let me = caller.get("/v1/auth/me").await.expect(200);
    let expected: Vec<_> =
        table.iter().chain(PEOPLE).filter(|(_, held)| held[role]).map(|(name, _)| Value::from(*name)).collect();
    assert_eq!(me["role"], ROLES[role]);
    assert_eq!(me["permissions"], Value::from(expected), "{}", ROLES[role]);
}

#[tokio::test]
async fn every_built_in_role_holds_what_the_table_says() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    for (at, role) in ROLES.into_iter().enumerate() {
        assert_grants(TENANT, at, &*tenant.member(role).await).await;
        assert_grants(PLATFORM, at, &*fleet.operator_with_role(role).await).await;
    }
    // The first operator's key grants what an owner holds.
    assert_grants(PLATFORM, 3, &fleet.operator()).await;
}
