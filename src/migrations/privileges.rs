//! The rights that a tenant's role gets on whatever the owner makes: PostgreSQL's default privileges.
//!
//! They are in every template, and so in every copy. But `DROP OWNED BY` of the tenants' role takes them away, and
//! PostgreSQL lets that role run it. What a migration makes afterwards, the tenant could not read. So they are set
//! again before each file.

/// Whose files run, and who uses what they make.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Owns all objects and runs the files.
    pub owner: &'static str,
    /// Holds the tenants' rights on rows.
    pub tenant: &'static str,
}

/// The statements that set them. They may be run any number of times, as the owner or as a member. Both names are
/// quoted as PostgreSQL wants them.
#[must_use]
pub fn default_privileges(owner: &str, tenant: &str) -> String {
    RIGHTS.map(|right| format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT {right} TO {tenant}")).join("; ")
}

/// The statements that take them away again, from a database that is given back.
#[must_use]
pub fn no_default_privileges(owner: &str, tenant: &str) -> String {
    RIGHTS.map(|right| format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE {right} FROM {tenant}")).join("; ")
}

const RIGHTS: [&str; 5] = [
    "USAGE ON SCHEMAS",
    "SELECT, INSERT, UPDATE, DELETE ON TABLES",
    "USAGE, SELECT ON SEQUENCES",
    "EXECUTE ON FUNCTIONS",
    "USAGE ON TYPES",
];
