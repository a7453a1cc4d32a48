//! The names by which Freehold knows its roles on a server.

/// Owns all objects in tenant databases and runs their migrations. Cannot log in. It inherits, because the
/// schema `public` belongs to `pg_database_owner`, of which a database's owner is a silent member.
pub const OWNER_ROLE: &str = "freehold_owner";
/// Holds the tenants' rights on rows. Cannot log in.
pub const TENANT_ROLE: &str = "freehold_tenant";

/// What the names of logins begin with that build a template.
pub const BUILDER_PREFIX: &str = "freehold_builder_";
/// What the names of logins begin with that migrate tenants in a rollout.
pub const ROLLOUT_PREFIX: &str = "freehold_rollout_";
/// What the names of logins begin with that dump a tenant's database.
pub(super) const DUMP_PREFIX: &str = "freehold_dump_";
/// What the names of logins begin with that restore one.
pub(super) const RESTORE_PREFIX: &str = "freehold_restore_";
