//! Authenticates a bearer token, and returns its [`Principal`].
//!
//! The result is cached for a few seconds ([`verdicts`](super::verdicts)). A token that is not in the cache is
//! verified, and then looked up in the tenant's database. Its session or key must be valid and its user active. The
//! role is the one that the user has now.

use std::{net::IpAddr, sync::Arc};

use super::{Actor, Identity, Principal, api_keys, sessions, tokens, verdicts::Verdict, visits};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
};

/// In bytes. Freehold issues no longer tokens.
const MAX_TOKEN: usize = 4_096;

/// Returns the principal of `bearer`, which is an access token or an API key.
///
/// # Errors
/// `tenant_mismatch` (403) for a token that was issued for another tenant; `invalid_token` for every other token that
/// is not valid.
pub async fn authenticate(ctx: &Identity, tenant: &Tenant, bearer: &str, ip: IpAddr) -> Result<Arc<Principal>> {
    if bearer.len() > MAX_TOKEN {
        return Err(tokens::invalid());
    }
    // API keys may be bound to addresses.
    let bound_to = bearer.starts_with(api_keys::PREFIX).then_some(ip);
    let verdict = ctx.verdicts.get_or(tenant, (bearer, bound_to), || verify(ctx, tenant, bearer, ip)).await?;
    if verdict.expires <= ctx.clock.unix_seconds() {
        return Err(tokens::invalid());
    }
    Ok(verdict.principal)
}

async fn verify(ctx: &Identity, tenant: &Tenant, bearer: &str, ip: IpAddr) -> Result<Verdict> {
    if bearer.starts_with(api_keys::PREFIX) {
        return api_keys::verify(ctx, tenant, bearer, ip).await;
    }
    if tokens::claimed_tenant(bearer).is_some_and(|claimed| claimed != tenant.id) {
        metrics::counter!("freehold_tenant_mismatch_total").increment(1);
        let detail = "the token belongs to another tenant".to_owned();
        return Err(Error::Forbidden { code: "tenant_mismatch", detail });
    }
    verify_access_token(ctx, tenant, bearer).await
}

async fn verify_access_token(ctx: &Identity, tenant: &Tenant, token: &str) -> Result<Verdict> {
    let proof = ctx.issuer.verify(tenant, token).await?;
    if let Some(operator) = proof.operator {
        return visits::verify(ctx, tenant, &proof, operator).await;
    }
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let role = sessions::role(&connection, tenant, &proof).await?.ok_or_else(tokens::invalid)?;
    let granted = role.permissions(ctx, tenant);
    let actor = Actor::User { user: proof.user, session: proof.session };
    Ok(Verdict::new(Principal::new(actor, tenant.id, role.name, granted), proof.expires))
}
