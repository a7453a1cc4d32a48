//! Table `drifts`: objects of tenants' schemas that are not what the tenants' versions say. A look at a tenant replaces
//! what the look before has found.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{error::Result, types::TenantId};

/// An object that differs.
#[derive(Clone, Debug)]
pub struct Drift {
    /// Whose schema it is in.
    pub tenant: TenantId,
    /// Its place among those of the tenant, from 0.
    pub position: i32,
    /// Its kind and its name.
    pub object: String,
    /// What it should be; none if it should not be there.
    pub expected: Option<String>,
    /// What it is; none if it is not there.
    pub actual: Option<String>,
    /// When that was seen.
    pub found_at: DateTime<Utc>,
}

/// What a look at one tenant found: nothing, if its schema is right.
pub type Found = (TenantId, Vec<(String, Option<String>, Option<String>)>);

/// Replaces what is recorded of these tenants.
pub async fn replace_in_txn(txn: &mut PgConnection, found: &[Found]) -> Result<()> {
    let looked_at: Vec<Uuid> = found.iter().map(|(tenant, _)| tenant.uuid()).collect();
    sqlx::query!("DELETE FROM drifts WHERE tenant_id = ANY($1)", &looked_at).execute(&mut *txn).await?;
    let (mut tenants, mut positions, mut objects) = (Vec::new(), Vec::new(), Vec::new());
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for (tenant, differences) in found {
        for (position, difference) in (0_i32..).zip(differences) {
            tenants.push(tenant.uuid());
            positions.push(position);
            objects.push(difference.0.clone());
            expected.push(difference.1.clone());
            actual.push(difference.2.clone());
        }
    }
    sqlx::query!(
        "INSERT INTO drifts (tenant_id, position, object, expected, actual)
         SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[])",
        &tenants,
        &positions,
        &objects,
        &expected as _,
        &actual as _
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// A page, by tenant: at most `limit` after `after` (tenant and place of the last one seen); of one tenant if given.
pub async fn page(
    connection: &mut PgConnection,
    of: Option<TenantId>,
    after: Option<(TenantId, i32)>,
    limit: i64,
) -> Result<Vec<Drift>> {
    let (tenant, position) = after.unzip();
    let rows = sqlx::query!(
        "SELECT d.tenant_id, d.position, d.object, d.expected, d.actual, d.found_at
         FROM drifts d JOIN tenants t ON t.id = d.tenant_id
         WHERE t.state IN ('active', 'suspended') AND ($1::uuid IS NULL OR d.tenant_id = $1)
           AND ($2::uuid IS NULL OR (d.tenant_id, d.position) > ($2, $3::integer))
         ORDER BY d.tenant_id, d.position LIMIT $4",
        of.map(TenantId::uuid) as _,
        tenant.map(TenantId::uuid) as _,
        position,
        limit
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    Ok(rows
        .map(|row| Drift {
            tenant: TenantId::from_uuid(row.tenant_id),
            position: row.position,
            object: row.object,
            expected: row.expected,
            actual: row.actual,
            found_at: row.found_at,
        })
        .collect())
}
