//! Writes to the table `rollout_tenants` by the replicas that migrate tenants, many rows at a time.
//!
//! A claim is a lease by the database's clock, and a generation that rises with every claim. A record under an older
//! generation changes nothing: a replica that was paused for too long cannot write over what another one has done.

use std::time::Duration;

use sqlx::PgConnection;

use super::rollout_states::MemberState;
use crate::{
    error::Result,
    types::{RolloutId, SchemaVersions, ServerId, TenantId},
};

/// A tenant that this replica migrates.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Which.
    pub tenant_id: TenantId,
    /// The generation under which the outcome is recorded.
    pub generation: i64,
    /// How often it was claimed, this time included.
    pub attempts: i32,
    /// The versions that it gets.
    pub to: SchemaVersions,
    /// The replica whose lease has run out: its sessions may be there still.
    pub former: Option<String>,
    /// How long ago it was first claimed.
    pub since: Duration,
}

/// Claims up to `limit` tenants of a server that are due: of a running rollout, of waves that have begun, waiting or
/// with a lease that has run out. Others skip what is being claimed.
pub async fn claim(
    connection: &mut PgConnection,
    (rollout, server): (RolloutId, ServerId),
    replica: &str,
    lease: Duration,
    limit: i64,
) -> Result<Vec<Claimed>> {
    let rows = sqlx::query!(
        r#"WITH due AS (
             SELECT tenant_id, CASE WHEN state = 'running' THEN lease_owner END AS former
             FROM rollout_tenants
             WHERE rollout_id = $1 AND server_id = $2
               AND wave <= (SELECT max(position) FROM rollout_waves WHERE rollout_id = $1 AND state <> 'pending')
               AND (state = 'pending' AND run_after <= now() OR state = 'running' AND lease_expires_at < now())
               AND EXISTS (SELECT FROM rollouts WHERE id = $1 AND state = 'running')
             ORDER BY wave, tenant_id LIMIT $5 FOR UPDATE SKIP LOCKED
         )
         UPDATE rollout_tenants m
         SET state = 'running', generation = generation + 1, attempts = attempts + 1, lease_owner = $3,
             lease_expires_at = now() + make_interval(secs => $4), started_at = coalesce(started_at, now())
         FROM due
         WHERE m.rollout_id = $1 AND m.tenant_id = due.tenant_id
         RETURNING m.tenant_id, m.generation, m.attempts, m.to_freehold, m.to_product, due.former,
                   extract(epoch FROM now() - m.started_at)::float8 AS "since!""#,
        rollout.uuid(),
        server.uuid(),
        replica,
        lease.as_secs_f64(),
        limit
    )
    .fetch_all(connection)
    .await?;
    let claimed = rows.into_iter().map(|row| Claimed {
        tenant_id: TenantId::from_uuid(row.tenant_id),
        generation: row.generation,
        attempts: row.attempts,
        to: SchemaVersions { freehold: row.to_freehold, product: row.to_product },
        former: row.former,
        since: Duration::from_secs_f64(row.since.max(0.0)),
    });
    Ok(claimed.collect())
}

/// What became of a claimed tenant.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which.
    pub tenant_id: TenantId,
    /// The generation of the claim.
    pub generation: i64,
    /// Where it is now. `Pending` is tried again after `pause`.
    pub state: MemberState,
    /// Before it is tried again.
    pub pause: Duration,
    /// The versions that its database has, where that was seen.
    pub versions: Option<SchemaVersions>,
    /// Whether only its history was corrected.
    pub adopted: bool,
    /// Why it is not done: a code and a sentence.
    pub error: Option<(String, String)>,
    /// How long the attempt took.
    pub took: Duration,
}

/// Records what became of claimed tenants, and the versions that their databases have, which a trigger tells every
/// replica. One statement, however many there are. The tenants whose claims were held.
pub async fn record(connection: &mut PgConnection, rollout: RolloutId, records: &[Record]) -> Result<Vec<TenantId>> {
    let ids: Vec<_> = records.iter().map(|record| record.tenant_id.uuid()).collect();
    let generations: Vec<_> = records.iter().map(|record| record.generation).collect();
    let states: Vec<_> = records.iter().map(|record| record.state.as_str().to_owned()).collect();
    let pauses: Vec<_> = records.iter().map(|record| record.pause.as_secs_f64()).collect();
    let (freehold, product): (Vec<_>, Vec<_>) = records
        .iter()
        .map(|record| record.versions.map(|versions| (versions.freehold, versions.product)).unzip())
        .unzip();
    let adopted: Vec<_> = records.iter().map(|record| record.adopted).collect();
    let (codes, errors): (Vec<_>, Vec<_>) = records.iter().map(|record| record.error.clone().unzip()).unzip();
    let took: Vec<_> =
        records.iter().map(|record| i64::try_from(record.took.as_millis()).unwrap_or(i64::MAX)).collect();
    let held = sqlx::query_scalar!(
        r#"WITH outcome AS (
             SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::float8[], $6::integer[], $7::integer[],
                                  $8::boolean[], $9::text[], $10::text[], $11::bigint[])
                 AS o (tenant_id, generation, state, pause, freehold, product, adopted, error_code, error, took)
         ), held AS (
             UPDATE rollout_tenants m
             SET state = o.state, adopted = o.adopted, error_code = o.error_code, error = o.error, duration_ms = o.took,
                 run_after = now() + make_interval(secs => o.pause), lease_expires_at = NULL,
                 finished_at = CASE WHEN o.state IN ('done', 'failed', 'skipped') THEN now() END
             FROM outcome o
             WHERE m.rollout_id = $1 AND m.tenant_id = o.tenant_id AND m.generation = o.generation
               AND m.state = 'running'
             RETURNING m.tenant_id, o.freehold, o.product
         ), told AS (
             UPDATE tenants t SET freehold_version = held.freehold, schema_version = held.product
             FROM held
             WHERE t.id = held.tenant_id AND held.freehold IS NOT NULL AND t.state IN ('active', 'suspended')
               AND (t.freehold_version, t.schema_version) IS DISTINCT FROM (held.freehold, held.product)
         )
         SELECT tenant_id AS "tenant_id!" FROM held"#,
        rollout.uuid(),
        &ids,
        &generations,
        &states,
        &pauses,
        &freehold as &[Option<i32>],
        &product as &[Option<i32>],
        &adopted,
        &codes as &[Option<String>],
        &errors as &[Option<String>],
        &took
    )
    .fetch_all(connection)
    .await?;
    Ok(held.into_iter().map(TenantId::from_uuid).collect())
}

/// Gives claimed tenants back that nothing was done to. Of a rollout that was aborted meanwhile they are left out.
pub async fn release(connection: &mut PgConnection, rollout: RolloutId, claimed: &[Claimed]) -> Result<()> {
    let (ids, generations): (Vec<_>, Vec<_>) =
        claimed.iter().map(|claim| (claim.tenant_id.uuid(), claim.generation)).unzip();
    sqlx::query!(
        "UPDATE rollout_tenants m
         SET state = CASE r.state WHEN 'aborted' THEN 'skipped' ELSE 'pending' END, attempts = attempts - 1,
             lease_expires_at = NULL, finished_at = CASE r.state WHEN 'aborted' THEN now() END,
             error_code = CASE r.state WHEN 'aborted' THEN 'aborted' ELSE error_code END,
             error = CASE r.state WHEN 'aborted' THEN 'the rollout was aborted before the tenant''s turn' ELSE error END
         FROM unnest($2::uuid[], $3::bigint[]) AS o (tenant_id, generation), rollouts r
         WHERE r.id = $1 AND m.rollout_id = $1 AND m.tenant_id = o.tenant_id AND m.generation = o.generation AND m.state = 'running'",
        rollout.uuid(),
        &ids,
        &generations
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Prolongs the leases of all that this replica has claimed.
pub async fn renew(connection: &mut PgConnection, rollout: RolloutId, replica: &str, lease: Duration) -> Result<()> {
    sqlx::query!(
        "UPDATE rollout_tenants SET lease_expires_at = now() + make_interval(secs => $3)
         WHERE rollout_id = $1 AND state = 'running' AND lease_owner = $2 AND lease_expires_at > now()",
        rollout.uuid(),
        replica,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the leases that an earlier process of this replica left behind. How many there were.
pub async fn release_leftovers(connection: &mut PgConnection, replica: &str) -> Result<u64> {
    let done = sqlx::query!(
        "UPDATE rollout_tenants SET lease_expires_at = now() - interval '1 microsecond'
         WHERE state = 'running' AND lease_owner = $1",
        replica
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The servers with tenants of a running rollout that are due: see [`claim`].
pub async fn due(connection: &mut PgConnection, rollout: RolloutId) -> Result<Vec<ServerId>> {
    let servers = sqlx::query_scalar!(
        "SELECT DISTINCT server_id FROM rollout_tenants
         WHERE rollout_id = $1
           AND wave <= (SELECT max(position) FROM rollout_waves WHERE rollout_id = $1 AND state <> 'pending')
           AND (state = 'pending' AND run_after <= now() OR state = 'running' AND lease_expires_at < now())",
        rollout.uuid()
    )
    .fetch_all(connection)
    .await?;
    Ok(servers.into_iter().map(ServerId::from_uuid).collect())
}

/// Leaves those out of rollouts that have been aborted whose replica was gone before it could say what became of them,
/// and those that were to be tried again. How many there were.
pub async fn forget_abandoned(connection: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query!(
        "UPDATE rollout_tenants m
         SET state = 'skipped', error_code = 'aborted', finished_at = now(), lease_expires_at = NULL,
             error = 'the rollout was aborted while the tenant was being migrated; the next one looks how far it came'
         FROM rollouts r
         WHERE r.id = m.rollout_id AND r.state = 'aborted' AND (m.state = 'pending' OR m.state = 'running' AND m.lease_expires_at < now())"
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
