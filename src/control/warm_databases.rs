//! Table `warm_databases`: databases that are ready before anybody asks for them.
//!
//! A row has the id of the tenant that will get the database. Claiming one deletes the row in the transaction that
//! records the tenant; whatever still has an operation of its own under way is left alone. Everything else about
//! warm databases is decided by one reconciler at a time ([`try_reconcile_in_txn`]).

use std::time::Duration;

use sqlx::PgConnection;

use super::sealing::WrappedKey;
use crate::{
    error::{Error, Result},
    types::{SchemaVersions, ServerId, TenantId},
};

/// The reconciler's advisory lock: `warm` in ASCII. Replicas of different releases must agree: it may never change.
const RECONCILER_LOCK: i64 = 0x7761_726D;

/// A database that nobody has asked for yet.
#[derive(Clone, Debug)]
pub struct WarmDatabase {
    /// The id of the tenant that will get it.
    pub id: TenantId,
    /// Where it is.
    pub server_id: ServerId,
    /// Where it is in its life.
    pub state: WarmState,
    /// The template that it is a copy of.
    pub template: String,
    /// How long it has been ready.
    pub ready_for: Option<Duration>,
    /// Whether the operation that makes it, or takes it away, waits for an operator.
    pub is_stuck: bool,
}

/// Where a warm database is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmState {
    /// An operation makes it.
    Making,
    /// The next tenant may have it.
    Ready,
    /// An operation takes it away.
    Retiring,
}

impl WarmState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Ready => "ready",
            Self::Retiring => "retiring",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let all = [Self::Making, Self::Ready, Self::Retiring];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Error::defect(format!("unknown state of a warm database {text}")))
    }
}

/// What a tenant gets: a database with the newest published migration of each stream.
#[derive(Debug)]
pub struct Claimed {
    /// Its id from now on.
    pub id: TenantId,
    /// Its data key.
    pub key: WrappedKey,
}

/// Records a database that is about to be made.
pub async fn insert_in_txn(
    txn: &mut PgConnection,
    (id, server): (TenantId, ServerId),
    template: &str,
    versions: SchemaVersions,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO warm_databases (id, server_id, template, freehold_version, schema_version)
         VALUES ($1, $2, $3, $4, $5)",
        id.uuid(),
        server.uuid(),
        template,
        versions.freehold,
        versions.product
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Notes where the database is in its life.
pub async fn set_state(connection: &mut PgConnection, id: TenantId, state: WarmState) -> Result<()> {
    sqlx::query!(
        "UPDATE warm_databases SET state = $2, ready_at = CASE WHEN $2 = 'ready' THEN now() ELSE ready_at END
         WHERE id = $1 AND state <> $2",
        id.uuid(),
        state.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives the database that has been ready longest to a tenant that is being recorded: one of the newest published
/// versions, on this server. Answers with these versions too. Never waits: what another transaction is about to claim
/// is passed over.
pub async fn claim_in_txn(txn: &mut PgConnection, server: ServerId) -> Result<(SchemaVersions, Option<Claimed>)> {
    let row = sqlx::query!(
        r#"WITH newest AS (
             SELECT coalesce((SELECT max(version) FROM migrations WHERE stream = 'freehold'), 0) AS freehold,
                    coalesce((SELECT max(version) FROM migrations WHERE stream = 'product'), 0) AS product
         ), claimed AS (
             DELETE FROM warm_databases
             WHERE id = (SELECT w.id FROM warm_databases w
                         WHERE w.server_id = $1 AND w.state = 'ready'
                           AND w.freehold_version = (SELECT freehold FROM newest)
                           AND w.schema_version = (SELECT product FROM newest)
                           AND NOT EXISTS (SELECT FROM operations o
                                           WHERE o.tenant_id = w.id AND o.state IN ('queued', 'running', 'blocked'))
                         ORDER BY w.ready_at LIMIT 1 FOR UPDATE OF w SKIP LOCKED)
             RETURNING id
         )
         SELECT newest.freehold AS "freehold!", newest.product AS "product!", claimed.id AS "id?", k.kek_id AS "kek_id?", k.wrapped AS "wrapped?"
         FROM newest LEFT JOIN claimed ON true LEFT JOIN data_keys k ON k.owner_id = claimed.id"#,
        server.uuid()
    )
    .fetch_one(txn)
    .await?;
    let versions = SchemaVersions { freehold: row.freehold, product: row.product };
    let Some(id) = row.id else { return Ok((versions, None)) };
    let key = row.kek_id.zip(row.wrapped).map(|(kek_id, wrapped)| WrappedKey { kek_id, wrapped });
    let key = key.ok_or_else(|| Error::defect(format!("the warm database {id} has no data key")))?;
    Ok((versions, Some(Claimed { id: TenantId::from_uuid(id), key })))
}

/// Keeps a database from being claimed, so that it can be taken away. False when somebody has claimed it, or is about
/// to, or something is under way with it.
pub async fn retire_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE warm_databases SET state = 'retiring'
         WHERE id = (SELECT w.id FROM warm_databases w
                     WHERE w.id = $1 AND w.state = 'ready'
                       AND NOT EXISTS (SELECT FROM operations o
                                       WHERE o.tenant_id = w.id AND o.state IN ('queued', 'running', 'blocked'))
                     FOR UPDATE OF w SKIP LOCKED)",
        id.uuid()
    )
    .execute(txn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets a database that is gone.
pub async fn forget_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    sqlx::query!("DELETE FROM warm_databases WHERE id = $1", id.uuid()).execute(txn).await?;
    Ok(())
}

/// All of them, those that were ready first before the others.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<WarmDatabase>> {
    let rows = sqlx::query!(
        r#"SELECT id, server_id, state, template, extract(epoch FROM now() - ready_at)::float8 AS ready_for,
                EXISTS (SELECT FROM operations o WHERE o.tenant_id = w.id AND o.state = 'blocked') AS "is_stuck!"
         FROM warm_databases w ORDER BY ready_at NULLS LAST, id"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(WarmDatabase {
                id: TenantId::from_uuid(row.id),
                server_id: ServerId::from_uuid(row.server_id),
                state: WarmState::parse(&row.state)?,
                template: row.template,
                ready_for: row.ready_for.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
                is_stuck: row.is_stuck,
            })
        })
        .collect()
}

/// Those that an operation should be at work on, and none is.
pub async fn leaked(connection: &mut PgConnection) -> Result<Vec<TenantId>> {
    let query = sqlx::query_scalar!(
        "SELECT w.id FROM warm_databases w
         WHERE w.state <> 'ready'
           AND NOT EXISTS (SELECT FROM operations o
                           WHERE o.tenant_id = w.id AND o.state IN ('queued', 'running', 'blocked'))
         ORDER BY w.id"
    );
    Ok(query.fetch_all(connection).await?.into_iter().map(TenantId::from_uuid).collect())
}

/// The next one of those that has been left alone for `time`, with its server, locked until the transaction ends; or
/// the one with this id, if it is such a one. Whoever works on a database has an operation from the transaction on that
/// says so, and an operation that ends does so after the row has changed for the last time: what is left alone has been
/// since the latest of these moments. A tenant's database is nobody's to take away, whatever a row here says.
pub async fn lock_leaked_in_txn(
    txn: &mut PgConnection,
    id: Option<TenantId>,
    time: Duration,
) -> Result<Option<(TenantId, ServerId)>> {
    let row = sqlx::query!(
        "SELECT w.id, w.server_id FROM warm_databases w
         WHERE w.state <> 'ready' AND ($1::uuid IS NULL OR w.id = $1)
           AND greatest(w.created_at, w.ready_at) < now() - make_interval(secs => $2)
           AND NOT EXISTS (SELECT FROM operations o
                           WHERE o.tenant_id = w.id
                             AND (o.finished_at IS NULL OR o.finished_at > now() - make_interval(secs => $2)))
           AND NOT EXISTS (SELECT FROM tenants t WHERE t.id = w.id)
         ORDER BY w.created_at LIMIT 1 FOR UPDATE OF w SKIP LOCKED",
        id.map(TenantId::uuid),
        time.as_secs_f64()
    )
    .fetch_optional(txn)
    .await?;
    Ok(row.map(|row| (TenantId::from_uuid(row.id), ServerId::from_uuid(row.server_id))))
}

/// Takes the reconciler's lock until the transaction ends; false while another replica reconciles the warm databases.
pub async fn try_reconcile_in_txn(txn: &mut PgConnection) -> Result<bool> {
    let query = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1) AS "held!""#, RECONCILER_LOCK);
    Ok(query.fetch_one(txn).await?)
}

/// A server that takes tenants, as the reconciler has to know it.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Which one.
    pub server_id: ServerId,
    /// Whether it takes no new tenants at present.
    pub cordoned: bool,
    /// The most tenants that it takes.
    pub capacity: Option<i32>,
    /// How many it has.
    pub tenants: i32,
    /// How many databases shall be ready; `None` follows demand.
    pub target: Option<i32>,
    /// How many tenants it was given in the last ten minutes.
    pub recent: i64,
}

/// What every server that takes tenants is asked for.
pub async fn demands(connection: &mut PgConnection) -> Result<Vec<Demand>> {
    let rows = sqlx::query!(
        r#"SELECT s.id, s.cordoned, s.capacity, s.tenants, s.warm_target, coalesce(recent.count, 0) AS "recent!"
         FROM servers s
         LEFT JOIN (SELECT server_id, count(*) FROM tenants WHERE created_at > now() - interval '10 minutes'
                    GROUP BY server_id) recent ON recent.server_id = s.id
         WHERE s.purpose = 'tenants' ORDER BY s.name"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Demand {
            server_id: ServerId::from_uuid(row.id),
            cordoned: row.cordoned,
            capacity: row.capacity,
            tenants: row.tenants,
            target: row.warm_target,
            recent: row.recent,
        })
        .collect())
}

/// How the making of a warm database ended.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Where.
    pub server_id: ServerId,
    /// Whether it is there.
    pub succeeded: bool,
    /// How long it took.
    pub took: Duration,
    /// How long ago it ended.
    pub ago: Duration,
}

/// How the last eight makings on each server ended, the last one first.
pub async fn last_made(connection: &mut PgConnection) -> Result<Vec<Made>> {
    let rows = sqlx::query!(
        r#"SELECT s.id, (o.state = 'succeeded') AS "succeeded!",
                extract(epoch FROM o.finished_at - o.started_at)::float8 AS took,
                extract(epoch FROM now() - o.finished_at)::float8 AS ago
         FROM servers s
         CROSS JOIN LATERAL (SELECT state, started_at, finished_at FROM operations
                             WHERE kind = 'warm.make' AND finished_at IS NOT NULL
                               AND input ->> 'server_id' = 'srv_' || replace(s.id::text, '-', '')
                             ORDER BY finished_at DESC LIMIT 8) o
         WHERE s.purpose = 'tenants'
         ORDER BY s.id, o.finished_at DESC"#
    )
    .fetch_all(connection)
    .await?;
    let time = |seconds: Option<f64>| seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or_default();
    Ok(rows
        .into_iter()
        .map(|row| Made {
            server_id: ServerId::from_uuid(row.id),
            succeeded: row.succeeded,
            took: time(row.took),
            ago: time(row.ago),
        })
        .collect())
}

/// How many databases are ready on each server that takes tenants, by the server's name.
pub async fn count_ready(connection: &mut PgConnection) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT s.name, count(w.id) AS "ready!"
         FROM servers s LEFT JOIN warm_databases w ON w.server_id = s.id AND w.state = 'ready'
         WHERE s.purpose = 'tenants' GROUP BY s.name"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.ready)).collect())
}
