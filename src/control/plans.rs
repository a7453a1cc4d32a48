//! Table `plans`: limits, quotas and features.

use sqlx::PgConnection;

use crate::error::Result;

/// A plan. In `limits` and `quotas` an absent or null entry means unlimited.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Unique name.
    pub name: String,
    /// Rates: requests a minute, hour and day, burst.
    pub limits: serde_json::Value,
    /// Amounts: users, keys, bytes, connections.
    pub quotas: serde_json::Value,
    /// Switches.
    pub features: Vec<String>,
}

/// All plans by name.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Plan>> {
    let query = sqlx::query_as!(Plan, "SELECT name, limits, quotas, features FROM plans ORDER BY name");
    Ok(query.fetch_all(connection).await?)
}
