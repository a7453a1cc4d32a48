//! `freehold verify isolation` over the fleet: a page of tenants at a time, so that a check of any size stays
//! within a request's bounds and shows its progress.

use futures::FutureExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Context, tenant_login,
    verify_isolation::{self, Report, Site},
};
use crate::{
    control::{
        servers,
        tenants::{self, Tenant, TenantState},
    },
    error::Result,
    types::TenantId,
};

/// How many tenants one call tries: each costs a session a target.
pub const PAGE: usize = 10;

/// What was tried with one page of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checked {
    /// What was tried and what of it was possible.
    #[serde(flatten)]
    pub report: Report,
    /// How many tenants were tried.
    pub tenants: usize,
    /// The last tenant tried, when there are more.
    pub next: Option<TenantId>,
}

/// Tries the next [`PAGE`] tenants after `after`, by id; the platform tenant is one of them.
pub async fn check(ctx: &Context, after: Option<TenantId>) -> Result<Checked> {
    let mut open = tenants::changed_since(&mut *ctx.db.acquire().await?, -1).await?;
    let reachable = |tenant: &Tenant| matches!(tenant.state, TenantState::Active | TenantState::Suspended);
    open.retain(|tenant| reachable(tenant) && after.is_none_or(|after| tenant.id > after));
    open.sort_by_key(|tenant| tenant.id);
    let more = open.len() > PAGE;
    open.truncate(PAGE);
    let next = open.last().map(|tenant| tenant.id).filter(|_| more);
    let servers = servers::list(&mut *ctx.db.acquire().await?).await?;
    let mut report = Report::default();
    for server in &servers {
        let residents: Vec<_> = open.iter().filter(|tenant| tenant.server_id == server.id).collect();
        if !residents.is_empty() {
            report = report.merge(check_server(ctx, server, &residents).await?);
        }
    }
    Ok(Checked { report, tenants: open.len(), next })
}

async fn check_server(ctx: &Context, server: &servers::Server, residents: &[&Tenant]) -> Result<Report> {
    let (access, admin) = ctx.administer(server, "verify-isolation").await?;
    let subjects: Vec<_> = residents.iter().map(|tenant| tenant.id).collect();
    let fetch = |tenant| tenant_login::credentials(ctx, &access.address, tenant).boxed();
    let site = Site { connector: &ctx.connector, address: &access.address, login: &fetch };
    verify_isolation::verify(&admin, site, &subjects).await
}
