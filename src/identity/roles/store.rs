//! All SQL on the table `roles`, as parts of other modules' statements.

use tokio_postgres::Row;

use super::Role;
use crate::error::Result;

/// An SQL join: the role with the name `$name` as `r`.
macro_rules! join {
    ($name:literal) => {
        concat!(" JOIN freehold.roles r ON r.name = ", $name)
    };
}
pub(in crate::identity) use join;

/// The columns that [`read`] reads, of the role that [`join`] joins.
macro_rules! columns {
    () => {
        "r.name AS role, r.permissions AS role_permissions"
    };
}
pub(in crate::identity) use columns;

/// The role in a row.
pub(in crate::identity) fn read(row: &Row) -> Result<Role> {
    Ok(Role { name: row.try_get("role")?, stored: row.try_get("role_permissions")? })
}
