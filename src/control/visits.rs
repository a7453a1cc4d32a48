//! Table `visits`: operators who act as somebody of a tenant.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    error::Result,
    types::{TenantId, UserId, VisitId},
};

/// A visit to begin.
pub struct New<'a> {
    /// Its id.
    pub id: VisitId,
    /// Whose tenant.
    pub tenant: TenantId,
    /// Who acts: a user of the platform tenant.
    pub operator: UserId,
    /// As whom.
    pub user: UserId,
    /// Why.
    pub reason: &'a str,
    /// For how long.
    pub lifetime: Duration,
}

/// A visit that has ended just now.
pub struct Ended {
    /// Its id.
    pub id: VisitId,
    /// Whose tenant.
    pub tenant: TenantId,
    /// Who acted.
    pub operator: UserId,
    /// As whom.
    pub user: UserId,
}

/// Begins a visit.
pub async fn begin_in_txn(txn: &mut PgConnection, new: &New<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO visits (id, tenant_id, operator_id, user_id, reason, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))",
        new.id.uuid(),
        new.tenant.uuid(),
        new.operator.uuid(),
        new.user.uuid(),
        new.reason,
        new.lifetime.as_secs_f64()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Whether this visit, of this operator as this user, is open.
pub async fn is_open(
    connection: &mut PgConnection,
    (id, tenant): (VisitId, TenantId),
    (operator, user): (UserId, UserId),
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        "SELECT id FROM visits WHERE id = $1 AND tenant_id = $2 AND operator_id = $3 AND user_id = $4
             AND ended_at IS NULL AND expires_at > now()",
        id.uuid(),
        tenant.uuid(),
        operator.uuid(),
        user.uuid()
    );
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// Ends a visit, if it is open.
pub async fn end_in_txn(txn: &mut PgConnection, id: VisitId, because: &str) -> Result<Option<Ended>> {
    let row = sqlx::query!(
        "UPDATE visits SET ended_at = now(), ended_because = $2
         WHERE id = $1 AND ended_at IS NULL AND expires_at > now() RETURNING tenant_id, operator_id, user_id",
        id.uuid(),
        because
    );
    let row = row.fetch_optional(txn).await?;
    Ok(row.map(|row| Ended {
        id,
        tenant: TenantId::from_uuid(row.tenant_id),
        operator: UserId::from_uuid(row.operator_id),
        user: UserId::from_uuid(row.user_id),
    }))
}

/// The open visits of an operator.
pub async fn of_operator(connection: &mut PgConnection, operator: UserId) -> Result<Vec<VisitId>> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM visits WHERE operator_id = $1 AND ended_at IS NULL AND expires_at > now()",
        operator.uuid()
    );
    Ok(ids.fetch_all(connection).await?.into_iter().map(VisitId::from_uuid).collect())
}
