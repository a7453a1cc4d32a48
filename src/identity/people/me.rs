//! What a caller is told about themselves.

use serde::Serialize;

use super::store;
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{Identity, Principal, tokens},
    types::{Permission, Slug, TenantId, UserId},
};

/// Who the caller is and what they may do.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct Me {
    /// The user, or the owner of the API key.
    pub id: UserId,
    /// Their email address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: String,
    /// What they may do, as `resource:action`; with an API key, what the key may.
    pub permissions: Vec<&'static str>,
    /// Whether the email address is verified.
    pub email_verified: bool,
    /// Whether a second factor is asked for when they sign in.
    pub mfa_enabled: bool,
    /// The tenant whose user they are.
    pub tenant: MyTenant,
}

/// The tenant's id and slug.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MyTenant {
    /// Its id.
    pub id: TenantId,
    /// Its public name.
    pub slug: Slug,
}

/// Describes the principal.
///
/// # Errors
/// `invalid_token` when the user is deleted.
pub async fn me(ctx: &Identity, tenant: &Tenant, principal: &Principal) -> Result<Me> {
    let profile = store::profile(&ctx.tenancy.connect(tenant.id).await?, principal.user()).await?;
    let profile = profile.ok_or_else(tokens::invalid)?;
    Ok(Me {
        id: principal.user(),
        email: profile.email,
        name: profile.name,
        role: principal.role.clone(),
        permissions: principal.permissions().map(Permission::as_str).collect(),
        email_verified: profile.is_verified,
        mfa_enabled: profile.has_factor,
        tenant: MyTenant { id: tenant.id, slug: tenant.slug.clone() },
    })
}
