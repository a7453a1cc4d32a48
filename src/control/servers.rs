//! Table `servers`: the PostgreSQL servers that hold tenant databases.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};

use super::errors::constraint;
use crate::{
    error::{Error, FieldError, Result},
    types::{ServerId, TenantId},
};

/// A registered server. Its administrative password is a secret of its own: see [`super::secrets`].
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Unique name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Whether it holds the platform tenant and nothing else.
    pub is_platform: bool,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The administrative role: CREATEDB and CREATEROLE, never superuser.
    pub admin_role: String,
    /// The database that the administrative role connects to for work on the server as a whole.
    pub maintenance_db: String,
    /// `verify-full` or `disable`.
    pub tls: String,
    /// Where it stands, for placement.
    pub region: Option<String>,
    /// Free labels.
    pub labels: serde_json::Value,
    /// The most sessions that all replicas together hold in its tenant databases.
    pub connection_budget: i32,
    /// Whether it takes no new tenants.
    pub cordoned: bool,
    /// The most tenants that it takes; `None` is as many as come.
    pub capacity: Option<i32>,
    /// How many databases are kept ready for new tenants; `None` follows demand.
    pub warm_target: Option<i32>,
    /// How many of its tenants a rollout migrates at a time.
    pub rollout_concurrency: i32,
    /// How many tenants have a database on it.
    pub tenants: i32,
    /// PostgreSQL's version number: 150018 is 15.18.
    pub version_num: i32,
    /// Rises with whatever operators change about it.
    pub revision: i64,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
}

struct Row {
    id: uuid::Uuid,
    name: String,
    purpose: String,
    host: String,
    port: i32,
    admin_role: String,
    maintenance_db: String,
    tls: String,
    region: Option<String>,
    labels: serde_json::Value,
    connection_budget: i32,
    cordoned: bool,
    capacity: Option<i32>,
    warm_target: Option<i32>,
    rollout_concurrency: i32,
    tenants: i32,
    version_num: i32,
    revision: i64,
    created_at: DateTime<Utc>,
}

/// All servers that `$rest` chooses.
macro_rules! rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "SELECT id, name, purpose, host, port, admin_role, maintenance_db, tls, region, labels, connection_budget,
                    cordoned, capacity, warm_target, rollout_concurrency, tenants, version_num, revision, created_at
             FROM servers " + $rest,
            $($argument),*
        )
    };
}

impl TryFrom<Row> for Server {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: ServerId::from_uuid(row.id),
            name: row.name,
            is_platform: row.purpose == "platform",
            host: row.host,
            port: u16::try_from(row.port).map_err(Error::internal)?,
            admin_role: row.admin_role,
            maintenance_db: row.maintenance_db,
            tls: row.tls,
            region: row.region,
            labels: row.labels,
            connection_budget: row.connection_budget,
            cordoned: row.cordoned,
            capacity: row.capacity,
            warm_target: row.warm_target,
            rollout_concurrency: row.rollout_concurrency,
            tenants: row.tenants,
            version_num: row.version_num,
            revision: row.revision,
            created_at: row.created_at,
        })
    }
}

/// Registers a server. A taken name or address is an error on its field.
/// `system_identifier` is PostgreSQL's own name for the cluster.
pub async fn insert_in_txn(txn: &mut PgConnection, server: &Server, system_identifier: i64) -> Result<()> {
    sqlx::query!(
        "INSERT INTO servers (id, name, purpose, host, port, admin_role, maintenance_db, tls, region, labels,
                              connection_budget, capacity, warm_target, version_num, system_identifier)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        server.id.uuid(),
        server.name,
        if server.is_platform { "platform" } else { "tenants" },
        server.host,
        i32::from(server.port),
        server.admin_role,
        server.maintenance_db,
        server.tls,
        server.region,
        server.labels,
        server.connection_budget,
        server.capacity,
        server.warm_target,
        server.version_num,
        system_identifier
    )
    .execute(txn)
    .await
    .map_err(|error| match constraint(&error) {
        Some("servers_name_key") => Error::conflict("server_name_taken", "another server has this name"),
        Some("servers_host_port_key" | "servers_system_identifier_key") => {
            Error::conflict("server_registered", "a server at this address is registered already")
        }
        Some("servers_name_check") => invalid_name().into(),
        _ => error.into(),
    })?;
    Ok(())
}

/// Judges a server's name by the rule of the table, for those who have to know before they write.
///
/// # Errors
/// `invalid_format` on `name`.
pub fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=63).contains(&name.len()) && name.bytes().all(is_plain);
    let ends = name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.ends_with('-');
    if fits && ends { Ok(()) } else { Err(invalid_name().into()) }
}

fn invalid_name() -> FieldError {
    let rule = "must be 1 to 63 of a-z, 0-9 and hyphen, beginning with a letter and not ending with a hyphen";
    FieldError::new("name", "invalid_format", rule)
}

/// The server with this id.
pub async fn get(connection: &mut PgConnection, id: ServerId) -> Result<Option<Server>> {
    let query = rows!("WHERE id = $1", id.uuid());
    query.fetch_optional(connection).await?.map(Server::try_from).transpose()
}

/// The server that this tenant lives on, or will.
pub async fn home_of(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<Server>> {
    let query = rows!("WHERE id = (SELECT server_id FROM tenants WHERE id = $1)", tenant.uuid());
    query.fetch_optional(connection).await?.map(Server::try_from).transpose()
}

/// The servers that are this one under another registration, with the same role: what its password is, theirs is too.
/// This one is among them; everybody gets them in the same order, so that nobody who locks them waits in a circle.
pub async fn sharing_role(connection: &mut PgConnection, id: ServerId) -> Result<Vec<ServerId>> {
    let query = sqlx::query_scalar!(
        "SELECT other.id FROM servers s
         JOIN servers other ON other.system_identifier = s.system_identifier AND other.admin_role = s.admin_role
         WHERE s.id = $1
         ORDER BY other.id",
        id.uuid()
    );
    Ok(query.fetch_all(connection).await?.into_iter().map(ServerId::from_uuid).collect())
}

/// Whether the server's administrative role is the one with which Freehold is at its control database.
pub async fn is_controls_own(connection: &mut PgConnection, id: ServerId) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM servers s, pg_control_system() control
               WHERE s.id = $1 AND s.system_identifier = control.system_identifier AND s.admin_role = current_user
           ) AS "is_controls_own!""#,
        id.uuid()
    );
    Ok(query.fetch_one(connection).await?)
}

/// All servers by name, the platform server first.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Server>> {
    let query = rows!("ORDER BY purpose, name");
    query.fetch_all(connection).await?.into_iter().map(Server::try_from).collect()
}

/// A server that takes tenants, as placement sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub region: Option<String>,
    /// Free labels, an object of texts.
    pub labels: serde_json::Value,
    /// Whether it takes no new tenants at present.
    pub cordoned: bool,
    /// The most tenants that it takes.
    pub capacity: Option<i32>,
    /// How many it has.
    pub tenants: i32,
    /// How many databases of the newest versions are ready on it.
    pub ready: i64,
}

/// All servers that take tenants, whether they can take one now or not.
pub async fn candidates(connection: &mut PgConnection) -> Result<Vec<Candidate>> {
    let rows = sqlx::query!(
        r#"SELECT id, name, region, labels, cordoned, capacity, tenants,
                (SELECT count(*) FROM warm_databases w
                 WHERE w.server_id = servers.id AND w.state = 'ready'
                   AND w.freehold_version =
                       (SELECT coalesce(max(version), 0) FROM migrations WHERE stream = 'freehold')
                   AND w.schema_version =
                       (SELECT coalesce(max(version), 0) FROM migrations WHERE stream = 'product')) AS "ready!"
         FROM servers WHERE purpose = 'tenants'"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Candidate {
            id: ServerId::from_uuid(row.id),
            name: row.name,
            region: row.region,
            labels: row.labels,
            cordoned: row.cordoned,
            capacity: row.capacity,
            tenants: row.tenants,
            ready: row.ready,
        })
        .collect())
}

/// Commits the record of a new tenant. False, and nothing is recorded, when its server has filled up meanwhile.
pub async fn commit_placed(txn: Transaction<'static, Postgres>) -> Result<bool> {
    match txn.commit().await {
        Err(error) if constraint(&error) == Some("servers_capacity") => Ok(false),
        committed => Ok(committed.map(|()| true)?),
    }
}

/// The server with this id, held against other changes until the transaction ends.
pub async fn lock_in_txn(txn: &mut PgConnection, id: ServerId) -> Result<Option<Server>> {
    let query = rows!("WHERE id = $1 FOR NO KEY UPDATE", id.uuid());
    query.fetch_optional(txn).await?.map(Server::try_from).transpose()
}

/// Writes what an operator decides about a server: region, labels, budget, capacity, target, cordon and how much is
/// migrated at a time. Its revision by
/// then: a trigger raises it where something changes.
pub async fn update_in_txn(txn: &mut PgConnection, server: &Server) -> Result<i64> {
    let query = sqlx::query_scalar!(
        "UPDATE servers
         SET region = $2, labels = $3, connection_budget = $4, capacity = $5, warm_target = $6, cordoned = $7,
             rollout_concurrency = $8, updated_at = now()
         WHERE id = $1 RETURNING revision",
        server.id.uuid(),
        server.region,
        server.labels,
        server.connection_budget,
        server.capacity,
        server.warm_target,
        server.cordoned,
        server.rollout_concurrency
    );
    Ok(query.fetch_one(txn).await?)
}

/// A tenant that has a database on a server.
#[derive(Clone, Debug)]
pub struct Resident {
    /// Its id.
    pub id: TenantId,
    /// Its public name.
    pub slug: String,
}

/// The first `limit` tenants that have a database on the server, the oldest first.
pub async fn residents(connection: &mut PgConnection, server: ServerId, limit: i64) -> Result<Vec<Resident>> {
    let rows = sqlx::query!(
        "SELECT id, slug FROM tenants WHERE server_id = $1 AND state NOT IN ('archived', 'deleted')
         ORDER BY created_at, id LIMIT $2",
        server.uuid(),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| Resident { id: TenantId::from_uuid(row.id), slug: row.slug }).collect())
}
