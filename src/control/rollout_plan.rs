//! Who is behind: the tenants that a rollout would take further. One query over the table `tenants`, whatever there is
//! to do, since it knows everybody's versions. And who was taken further: those that an undo would take back.

use std::time::Duration;

use sqlx::PgConnection;

use super::tenants::TenantState;
use crate::{
    error::{Error, Result},
    types::{RolloutId, SchemaVersions, ServerId, Slug, TenantId},
};

/// A tenant that is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: TenantId,
    /// Its public name.
    pub slug: Slug,
    /// Whether it is the platform tenant.
    pub is_platform: bool,
    /// The name of its plan.
    pub plan: String,
    /// Free labels, an object of texts.
    pub labels: serde_json::Value,
    /// Where its database is.
    pub server_id: ServerId,
    /// Where that server stands.
    pub region: Option<String>,
    /// The newest migration of each stream in its database.
    pub versions: SchemaVersions,
    /// The version of the product's stream beyond which it is not to go.
    pub pinned: Option<i32>,
}

/// The active and suspended tenants that are behind `target` in a stream, and not part of the rollout `but_of`.
pub async fn behind(
    connection: &mut PgConnection,
    target: SchemaVersions,
    but_of: Option<RolloutId>,
) -> Result<Vec<Candidate>> {
    let rows = sqlx::query!(
        r#"SELECT t.id, t.slug, (t.kind = 'platform') AS "is_platform!", t.plan, t.labels, t.server_id, s.region,
                  t.freehold_version, t.schema_version, t.pinned_version
           FROM tenants t JOIN servers s ON s.id = t.server_id
           WHERE t.state IN ('active', 'suspended') AND (t.freehold_version < $1 OR t.schema_version < $2)
             AND ($3::uuid IS NULL OR NOT EXISTS (
                     SELECT FROM rollout_tenants m WHERE m.rollout_id = $3 AND m.tenant_id = t.id))"#,
        target.freehold,
        target.product,
        but_of.map(RolloutId::uuid)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Candidate {
                id: TenantId::from_uuid(row.id),
                slug: Slug::from_stored(&row.slug).map_err(Error::internal)?,
                is_platform: row.is_platform,
                plan: row.plan,
                labels: row.labels,
                server_id: ServerId::from_uuid(row.server_id),
                region: row.region,
                versions: SchemaVersions { freehold: row.freehold_version, product: row.schema_version },
                pinned: row.pinned_version,
            })
        })
        .collect()
}

/// A tenant that a rollout has begun to migrate.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// The tenant as it is now.
    pub tenant: Candidate,
    /// Where it is in its life.
    pub state: TenantState,
    /// Whether the rollout has proven that it has arrived. If not, its database may have some of the files.
    pub is_done: bool,
    /// The version of the product's stream that it had before.
    pub before: i32,
    /// The one that it was to get.
    pub after: i32,
}

/// The tenants that a rollout has begun to migrate, tombstones aside.
pub async fn begun(connection: &mut PgConnection, rollout: RolloutId) -> Result<Vec<Begun>> {
    let rows = sqlx::query!(
        r#"SELECT t.id, t.slug, (t.kind = 'platform') AS "is_platform!", t.plan, t.labels, t.server_id, s.region,
                  t.freehold_version, t.schema_version, t.pinned_version, t.state, (m.state = 'done') AS "is_done!",
                  m.from_product, m.to_product
           FROM rollout_tenants m JOIN tenants t ON t.id = m.tenant_id JOIN servers s ON s.id = t.server_id
           WHERE m.rollout_id = $1 AND (m.attempts > 0 OR m.duration_ms IS NOT NULL) AND t.state <> 'deleted'"#,
        rollout.uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let tenant = Candidate {
                id: TenantId::from_uuid(row.id),
                slug: Slug::from_stored(&row.slug).map_err(Error::internal)?,
                is_platform: row.is_platform,
                plan: row.plan,
                labels: row.labels,
                server_id: ServerId::from_uuid(row.server_id),
                region: row.region,
                versions: SchemaVersions { freehold: row.freehold_version, product: row.schema_version },
                pinned: row.pinned_version,
            };
            Ok(Begun {
                tenant,
                state: row.state.parse()?,
                is_done: row.is_done,
                before: row.from_product,
                after: row.to_product,
            })
        })
        .collect()
}

/// How many active and suspended tenants are beyond `version` of the product's stream, and are none of these.
pub async fn beyond_but(connection: &mut PgConnection, version: i32, but: &[TenantId]) -> Result<i64> {
    let but: Vec<_> = but.iter().map(|id| id.uuid()).collect();
    let query = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tenants
           WHERE state IN ('active', 'suspended') AND schema_version > $1 AND id <> ALL($2)"#,
        version,
        &but
    );
    Ok(query.fetch_one(connection).await?)
}

/// The oldest version of the product's stream that a tenant of a rollout has, or is taken back to, of those that wait or
/// are at work. None when nobody is left.
pub async fn oldest_left(connection: &mut PgConnection, rollout: RolloutId) -> Result<Option<i32>> {
    let query = sqlx::query_scalar!(
        "SELECT min(least(from_product, to_product)) FROM rollout_tenants
         WHERE rollout_id = $1 AND state IN ('pending', 'running')",
        rollout.uuid()
    );
    Ok(query.fetch_one(connection).await?)
}

/// The tenants that these are the ids or slugs of, each with what it was called by. Tombstones are nobody's.
pub async fn named(connection: &mut PgConnection, references: &[String]) -> Result<Vec<(String, TenantId)>> {
    let rows = sqlx::query!(
        r#"SELECT reference AS "reference!", t.id
           FROM unnest($1::text[]) AS reference
           JOIN tenants t ON t.slug = reference OR 'ten_' || replace(t.id::text, '-', '') = reference
           WHERE t.state <> 'deleted'"#,
        references
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.reference, TenantId::from_uuid(row.id))).collect())
}

/// What a tenant has taken on average in the rollouts of the last month, and how many are migrated at a time on each
/// server. Without a tenant that was measured there is no time.
pub async fn measured(connection: &mut PgConnection) -> Result<(Option<Duration>, Vec<(ServerId, i32)>)> {
    let average = sqlx::query_scalar!(
        "SELECT avg(duration_ms)::float8 FROM (
             SELECT duration_ms FROM rollout_tenants
             WHERE state = 'done' AND finished_at > now() - interval '30 days' AND duration_ms IS NOT NULL
             ORDER BY finished_at DESC LIMIT 1000) AS latest"
    )
    .fetch_one(&mut *connection)
    .await?;
    let servers = sqlx::query!("SELECT id, rollout_concurrency FROM servers").fetch_all(connection).await?;
    let servers = servers.into_iter().map(|row| (ServerId::from_uuid(row.id), row.rollout_concurrency));
    Ok((average.map(|millis| Duration::from_secs_f64(millis.max(0.0) / 1000.0)), servers.collect()))
}
