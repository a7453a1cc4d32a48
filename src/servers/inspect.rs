//! What is really there: read-only answers for fsck, for the isolation check and for every step that looks
//! before it acts.

use std::collections::HashMap;

use tokio_postgres::{Row, error::SqlState, types::Type};

use super::{
    BUILDER_PREFIX, MARK, OWNER_ROLE, ROLLOUT_PREFIX, ServerAdmin, is_sqlstate,
    names::{DUMP_PREFIX, RESTORE_PREFIX},
};
use crate::{
    error::{Error, Result},
    types::DbName,
};

/// A database of the server, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent property in PostgreSQL's catalogue")]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Whether sessions may enter.
    pub allow_connections: bool,
    /// Whether it is protected from being dropped and may be cloned.
    pub is_template: bool,
    /// Sessions at most; -1 is no limit, -2 an interrupted DROP.
    pub conn_limit: i32,
    /// Whether it carries Freehold's mark.
    pub marked: bool,
    /// Whether PUBLIC may connect.
    pub public_connect: bool,
    /// Whether PUBLIC may make temporary tables.
    pub public_temp: bool,
}

impl DatabaseInfo {
    /// Whether a DROP was cut off: nobody can connect, all that is left is to drop it again.
    #[must_use]
    pub const fn is_interrupted_drop(&self) -> bool {
        self.conn_limit == -2
    }

    /// Fails unless the database is Freehold's, and so can be the one that was meant.
    ///
    /// # Errors
    /// `database_taken`.
    pub(super) fn check_owner(&self) -> Result<()> {
        if self.owner == OWNER_ROLE {
            return Ok(());
        }
        let detail = format!("a database {} is there already and does not belong to Freehold", self.name);
        Err(Error::conflict("database_taken", detail))
    }

    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            owner: row.try_get("owner")?,
            allow_connections: row.try_get("datallowconn")?,
            is_template: row.try_get("datistemplate")?,
            conn_limit: row.try_get("datconnlimit")?,
            marked: row.try_get("marked")?,
            public_connect: row.try_get("public_connect")?,
            public_temp: row.try_get("public_temp")?,
        })
    }
}

/// A role that is there for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleInfo {
    /// Its name.
    pub name: String,
    /// LOGIN.
    pub can_login: bool,
}

impl RoleInfo {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { name: row.try_get("name")?, can_login: row.try_get("rolcanlogin")? })
    }
}

/// An empty `datacl` means the built-in defaults, which let PUBLIC in: `acldefault` spells them out.
const DATABASES: &str = "
    SELECT d.datname::text AS name, pg_get_userbyid(d.datdba)::text AS owner, d.datallowconn, d.datistemplate,
           d.datconnlimit, coalesce(shobj_description(d.oid, 'pg_database') = $1, false) AS marked,
           coalesce(bool_or(acl.privilege_type = 'CONNECT'), false) AS public_connect,
           coalesce(bool_or(acl.privilege_type = 'TEMPORARY'), false) AS public_temp
      FROM pg_database d
      LEFT JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) acl ON acl.grantee = 0
     WHERE $2::text IS NULL OR d.datname = $2
     GROUP BY d.oid, d.datname, d.datdba, d.datallowconn, d.datistemplate, d.datconnlimit
     ORDER BY d.datname";

const TENANT_ROLES: &str = "
    SELECT rolname::text AS name, rolcanlogin FROM pg_roles r
     WHERE starts_with(rolname::text, $1)
        OR EXISTS (SELECT FROM unnest($2::text[]) AS prefix WHERE starts_with(rolname::text, prefix))
           AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid)
     ORDER BY rolname";

impl ServerAdmin {
    /// All databases of the server, by name.
    pub async fn list_databases(&self) -> Result<Vec<DatabaseInfo>> {
        self.query(DATABASES, &[&MARK, &None::<&str>]).await?.iter().map(DatabaseInfo::from_row).collect()
    }

    /// One database, if it is there.
    pub async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>> {
        self.query_typed_opt(DATABASES, &[(&MARK, Type::TEXT), (&name, Type::TEXT)])
            .await?
            .as_ref()
            .map(DatabaseInfo::from_row)
            .transpose()
    }

    /// The tenant's role, if it is there.
    pub async fn tenant_role(&self, name: DbName) -> Result<Option<RoleInfo>> {
        let sql = "SELECT rolname::text AS name, rolcanlogin FROM pg_roles WHERE rolname = $1";
        let found = self.query_opt(sql, &[&name.to_string()]).await?;
        found.as_ref().map(RoleInfo::from_row).transpose()
    }

    /// What the tenant's database takes on disk, in bytes. PostgreSQL tells it to those who may connect to the
    /// database: this role inherits from its owner, which may, also while no session is let in.
    ///
    /// # Errors
    /// `not_found` when there is no such database.
    pub async fn database_size(&self, name: DbName) -> Result<i64> {
        match self.query_one("SELECT pg_database_size($1::text::name)", &[&name.to_string()]).await {
            Err(error) if is_sqlstate(&error, &SqlState::UNDEFINED_DATABASE) => Err(Error::not_found("database")),
            measured => Ok(measured?.try_get(0)?),
        }
    }

    /// What those of the databases take on disk that are there, in bytes, by their names. PostgreSQL tells it to
    /// whoever may connect to them.
    pub async fn database_sizes(&self, names: &[DbName]) -> Result<HashMap<String, i64>> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let sql = "SELECT datname::text, pg_database_size(oid) FROM pg_database WHERE datname = ANY($1)";
        let rows = self.query(sql, &[&names]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// All roles that are there for one tenant, by name: its own, and the logins of transfers, of rollouts and of templates
    /// in the making, unless they are in use.
    pub async fn list_tenant_roles(&self) -> Result<Vec<RoleInfo>> {
        let passing = [DUMP_PREFIX, RESTORE_PREFIX, BUILDER_PREFIX, ROLLOUT_PREFIX];
        self.query(TENANT_ROLES, &[&DbName::PREFIX, &passing.as_slice()])
            .await?
            .iter()
            .map(RoleInfo::from_row)
            .collect()
    }

    /// Whether the tenant has a role, whether or not it may log in.
    pub async fn has_role(&self, name: DbName) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
        Ok(self.query_one(sql, &[&name.to_string()]).await?.try_get(0)?)
    }

    /// PostgreSQL's own name for the cluster, drawn when it was made.
    pub async fn system_identifier(&self) -> Result<i64> {
        Ok(self.query_one("SELECT system_identifier FROM pg_control_system()", &[]).await?.try_get(0)?)
    }

    /// How many sessions are in the database.
    pub async fn sessions_in(&self, database: &str) -> Result<i64> {
        // Databases of other users' sessions are visible to everybody; only their queries are not.
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        Ok(self.query_one(sql, &[&database]).await?.try_get(0)?)
    }

    /// How many sessions in tenant databases sit idle inside a transaction, or `None` where the administrative
    /// role may not see it (`GRANT pg_read_all_stats TO …` lets it).
    pub async fn idle_in_transaction(&self) -> Result<Option<i64>> {
        let sql = "SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN
                       (SELECT count(*) FROM pg_stat_activity
                         WHERE starts_with(datname::text, $1) AND state LIKE 'idle in transaction%') END";
        Ok(self.query_one(sql, &[&DbName::PREFIX]).await?.try_get(0)?)
    }

    /// How many replication slots there are in tenant databases. Freehold makes none.
    pub async fn replication_slots(&self) -> Result<i64> {
        let sql = "SELECT count(*) FROM pg_replication_slots WHERE starts_with(database::text, $1)";
        Ok(self.query_one(sql, &[&DbName::PREFIX]).await?.try_get(0)?)
    }

    /// How many prepared transactions there are in tenant databases. Freehold makes none.
    pub async fn prepared_transactions(&self) -> Result<i64> {
        let sql = "SELECT count(*) FROM pg_prepared_xacts WHERE starts_with(database::text, $1)";
        Ok(self.query_one(sql, &[&DbName::PREFIX]).await?.try_get(0)?)
    }
}
