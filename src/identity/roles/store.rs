//! Table `roles`: the only SQL that speaks to it, in parts of other rooms' statements.

use tokio_postgres::Row;

use super::Role;
use crate::error::Result;

/// Joins, as `r`, the role with the name in `$name`.
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
