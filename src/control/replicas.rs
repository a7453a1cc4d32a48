//! Table `replicas`: which replicas there are, and which state of the tenants each has in memory.

use sqlx::PgConnection;

use crate::{error::Result, types::SchemaVersions};

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// The release that it runs.
    pub release: String,
    /// The newest versions of both streams that it carries.
    pub versions: SchemaVersions,
    /// The oldest version of the product's stream that it can serve.
    pub oldest: i32,
    /// The most connections that it opens to one tenant's database.
    pub pool_size: i32,
    /// Whether it migrates tenants in rollouts.
    pub migrates: bool,
    /// The newest revision of a tenant that it has seen.
    pub registry_revision: i64,
    /// Sums up all tenants that it remembers, with their revisions.
    pub registry_digest: String,
}

/// Says what this replica is and knows, and forgets those that have been gone for a day.
pub async fn announce(connection: &mut PgConnection, replica: &Replica) -> Result<()> {
    sqlx::query!(
        "WITH gone AS (DELETE FROM replicas WHERE seen_at < now() - interval '1 day' AND name <> $1)
         INSERT INTO replicas (name, release, pool_size, registry_revision, registry_digest, freehold_version,
                               schema_version, oldest_schema_version, migrates)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (name) DO UPDATE
         SET release = excluded.release, pool_size = excluded.pool_size, seen_at = now(),
             registry_revision = excluded.registry_revision, registry_digest = excluded.registry_digest,
             freehold_version = excluded.freehold_version, schema_version = excluded.schema_version,
             oldest_schema_version = excluded.oldest_schema_version,
             migrates = excluded.migrates",
        replica.name,
        replica.release,
        replica.pool_size,
        replica.registry_revision,
        replica.registry_digest,
        replica.versions.freehold,
        replica.versions.product,
        replica.oldest,
        replica.migrates
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The names of the replicas that are alive, which is heard of within a minute, and carry less than `versions` of a
/// stream. One that has not said what it carries runs a release from before replicas did.
pub async fn older_than(connection: &mut PgConnection, versions: SchemaVersions) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        "SELECT name FROM replicas
         WHERE seen_at > now() - interval '1 minute' AND (freehold_version < $1 OR schema_version < $2)
         ORDER BY name",
        versions.freehold,
        versions.product
    );
    Ok(query.fetch_all(connection).await?)
}

/// The names of the replicas that are alive and cannot serve a tenant at `version` of the product's stream. One that has
/// not said what it can serve is taken to need what it carries.
pub async fn needing_more_than(connection: &mut PgConnection, version: i32) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        "SELECT name FROM replicas
         WHERE seen_at > now() - interval '1 minute' AND coalesce(oldest_schema_version, schema_version) > $1
         ORDER BY name",
        version
    );
    Ok(query.fetch_all(connection).await?)
}

/// Forgets a replica that stops.
pub async fn withdraw(connection: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query!("DELETE FROM replicas WHERE name = $1", name).execute(connection).await?;
    Ok(())
}

/// How many replicas are alive, which is heard of within a minute, and the most connections that they open to one
/// tenant's database together.
pub async fn count(connection: &mut PgConnection) -> Result<(i64, i64)> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "replicas!", coalesce(sum(pool_size), 0) AS "connections!"
         FROM replicas WHERE seen_at > now() - interval '1 minute'"#
    )
    .fetch_one(connection)
    .await?;
    Ok((row.replicas, row.connections))
}

/// How many replicas migrate tenants in rollouts. One that has said nothing for three heartbeats is not waited for.
pub async fn count_migrating(connection: &mut PgConnection) -> Result<i64> {
    let query = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM replicas WHERE migrates AND seen_at > now() - interval '15 seconds'"#
    );
    Ok(query.fetch_one(connection).await?)
}

/// The replicas that migrate tenants in rollouts and have said nothing for three heartbeats: they are stopped, or dead, or
/// do not reach the control database.
pub async fn silent(connection: &mut PgConnection) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        "SELECT name FROM replicas WHERE migrates AND seen_at <= now() - interval '15 seconds'
         ORDER BY seen_at DESC LIMIT 100"
    );
    Ok(query.fetch_all(connection).await?)
}

/// The names and digests of the replicas that have said so since the last change of a tenant, and had ten seconds to
/// follow it: all of them must remember the same.
pub async fn settled(connection: &mut PgConnection) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query!(
        "SELECT name, registry_digest FROM replicas
         WHERE seen_at > now() - interval '1 minute'
           AND seen_at > (SELECT coalesce(max(updated_at), '-infinity') FROM tenants) + interval '10 seconds'
         ORDER BY name"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.registry_digest)).collect())
}
