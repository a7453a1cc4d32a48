//! Who the caller is, for the caller.

use serde::Serialize;

use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{Identity, Permission, Principal, tokens},
    tenancy::Statements,
    types::{Slug, TenantId, UserId},
};

/// Who the caller is and what they may do.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct Me {
    /// The user, or whose API key it is.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: String,
    /// What they may do, as `resource:action`; with an API key, what the key may.
    pub permissions: Vec<&'static str>,
    /// Whether the address is known to be theirs.
    pub email_verified: bool,
    /// Whether a second factor is asked for when they sign in.
    pub mfa_enabled: bool,
    /// Where they are somebody.
    pub tenant: MyTenant,
}

/// A tenant, by its two names.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MyTenant {
    /// Its id.
    pub id: TenantId,
    /// Its public name.
    pub slug: Slug,
}

impl Identity {
    /// Who the principal is.
    ///
    /// # Errors
    /// `invalid_token` when the user is gone.
    pub async fn me(&self, tenant: &Tenant, principal: &Principal) -> Result<Me> {
        let sql = "SELECT email, name, email_verified_at IS NOT NULL AS verified FROM freehold.users WHERE id = $1";
        let connection = self.inner.tenancy.connect(tenant.id).await?;
        let row = connection.row(sql, &[&principal.user().uuid()]).await?.ok_or_else(tokens::invalid)?;
        Ok(Me {
            id: principal.user(),
            email: row.get("email"),
            name: row.get("name"),
            role: principal.role.clone(),
            permissions: principal.permissions().map(Permission::as_str).collect(),
            email_verified: row.get("verified"),
            // There is no second factor yet.
            mfa_enabled: false,
            tenant: MyTenant { id: tenant.id, slug: tenant.slug.clone() },
        })
    }
}
