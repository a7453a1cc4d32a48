//! How many people a tenant has.

use crate::{error::Result, identity::Identity, tenancy::Statements, types::TenantId};

const COUNT: &str = "SELECT count(*) FROM freehold.users";

impl Identity {
    /// All users of the tenant, deactivated ones included.
    ///
    /// # Errors
    /// The tenant's database cannot be reached.
    pub async fn count_users(&self, tenant: TenantId) -> Result<i64> {
        let connection = self.inner.tenancy.connect(tenant).await?;
        let row = connection.row(COUNT, &[]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }
}
