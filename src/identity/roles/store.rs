//! All SQL on the table `roles`, and the parts of other modules' statements that use it.

use tokio_postgres::Row;

use super::{Listed, Role};
use crate::{
    error::Result,
    tenancy::{Statements, TenantTxn},
    types::RoleName,
};

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

macro_rules! listed {
    () => {
        "name, permissions, built_in, version, created_at, updated_at"
    };
}

/// Whoever has a role refers to its row, which `FOR NO KEY UPDATE` does not keep from anybody.
const ROSTER: &str = "SELECT FROM freehold.roles WHERE name = 'owner' FOR NO KEY UPDATE";

const NAMED: &str = concat!("SELECT ", columns!(), " FROM freehold.roles r WHERE r.name = $1");

const LIST: &str = concat!("SELECT ", listed!(), " FROM freehold.roles ORDER BY built_in DESC, name");

const GET: &str = concat!("SELECT ", listed!(), " FROM freehold.roles WHERE name = $1");

const INSERT: &str = concat!(
    "INSERT INTO freehold.roles (name, permissions) SELECT $1::text, $2::text[]
     WHERE (SELECT count(*) FROM freehold.roles) < $3::bigint
     ON CONFLICT (name) DO NOTHING RETURNING ",
    listed!()
);

const UPDATE: &str = concat!(
    "UPDATE freehold.roles SET permissions = $2, version = version + 1, updated_at = now()
     WHERE name = $1 AND NOT built_in RETURNING ",
    listed!()
);

const DELETE: &str = "DELETE FROM freehold.roles WHERE name = $1 AND NOT built_in";

/// The role in a row.
pub(in crate::identity) fn read(row: &Row) -> Result<Role> {
    Ok(Role { name: row.try_get("role")?, stored: row.try_get("role_permissions")? })
}

fn read_listed(row: &Row) -> Result<Listed> {
    Ok(Listed {
        name: row.try_get("name")?,
        permissions: row.try_get("permissions")?,
        built_in: row.try_get("built_in")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        version: row.try_get("version")?,
    })
}

/// See [`super::lock_roster_in_txn`].
pub(in crate::identity) async fn lock_roster_in_txn(txn: &TenantTxn<'_>) -> Result<()> {
    txn.row(ROSTER, &[]).await?;
    Ok(())
}

/// The role of this name.
pub(in crate::identity) async fn named(statements: &impl Statements, name: &str) -> Result<Option<Role>> {
    statements.row(NAMED, &[&name]).await?.map(|row| read(&row)).transpose()
}

/// All roles, with what their rows hold.
pub(super) async fn list(statements: &impl Statements) -> Result<Vec<Listed>> {
    statements.rows(LIST, &[]).await?.iter().map(read_listed).collect()
}

/// One of them.
pub(super) async fn get(statements: &impl Statements, name: &RoleName) -> Result<Option<Listed>> {
    statements.row(GET, &[&name.as_str()]).await?.map(|row| read_listed(&row)).transpose()
}

/// Adds a role, unless there is one of that name, or there are `most` already.
pub(super) async fn insert(
    txn: &TenantTxn<'_>,
    name: &RoleName,
    permissions: &[&str],
    most: i64,
) -> Result<Option<Listed>> {
    txn.row(INSERT, &[&name.as_str(), &permissions, &most]).await?.map(|row| read_listed(&row)).transpose()
}

/// Changes what a custom role grants.
pub(super) async fn update(txn: &TenantTxn<'_>, name: &RoleName, permissions: &[&str]) -> Result<Option<Listed>> {
    txn.row(UPDATE, &[&name.as_str(), &permissions]).await?.map(|row| read_listed(&row)).transpose()
}

/// Deletes a custom role. `None` while somebody has it.
pub(super) async fn delete(txn: &TenantTxn<'_>, name: &RoleName) -> Result<Option<u64>> {
    match txn.run(DELETE, &[&name.as_str()]).await {
        Ok(deleted) => Ok(Some(deleted)),
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::FOREIGN_KEY_VIOLATION) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
