//! `freehold verify isolation` over the fleet: a page of tenants at a time, so that a check of any size stays
//! within a request's bounds and shows its progress.

use futures::FutureExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::verify_isolation::{self, Report, Site};
use crate::{
    control::{servers, tenants},
    error::{Error, Result},
    operations::{Context, fleet::tenant_login},
    types::TenantId,
};

/// How many tenants one call tries: each costs a session a target.
pub const PAGE: usize = 10;

/// How many tenants of a server are tried at the same time, one session each.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Somebody waits: within what operations may hold on a server.
    OnDemand,
    /// A scheduled round: tenants shall not feel it, on a small machine least of all.
    Scheduled,
}

impl Pace {
    const fn at_once(self) -> usize {
        match self {
            Self::OnDemand => 6,
            Self::Scheduled => 1,
        }
    }
}

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

/// Tries the next [`PAGE`] tenants after `after`, by id; the platform tenant is one of them. One that cannot be tried,
/// for itself or because its server is away, is told, and holds up no other.
pub async fn check(ctx: &Context, after: Option<TenantId>, pace: Pace) -> Result<Checked> {
    let (mut open, servers) = {
        let mut connection = ctx.db.acquire().await?;
        // One more tells whether there are more.
        let limit = i64::try_from(PAGE).map_err(Error::internal)? + 1;
        let open = tenants::open_after(&mut connection, after, limit).await?;
        (open, servers::list(&mut connection).await?)
    };
    let more = open.len() > PAGE;
    open.truncate(PAGE);
    let next = open.last().map(|tenant| tenant.id).filter(|_| more);
    let mut report = Report::default();
    for server in &servers {
        let residents: Vec<_> = open.iter().filter(|tenant| tenant.server_id == server.id).map(|t| t.id).collect();
        if !residents.is_empty() {
            let tried = check_server(ctx, server, &residents, pace).await;
            report = report.merge(tried.unwrap_or_else(|error| {
                tracing::warn!(server = server.name, error = error.chain(), "no tenant of the server can be tried");
                Report::unproven(&residents)
            }));
        }
    }
    Ok(Checked { report, tenants: open.len(), next })
}

async fn check_server(ctx: &Context, server: &servers::Server, residents: &[TenantId], pace: Pace) -> Result<Report> {
    let (access, admin) = ctx.administer(server, "verify-isolation").await?;
    let fetch = |tenant| tenant_login::credentials(ctx, &access.address, tenant).boxed();
    let site = Site { connector: &ctx.connector, address: &access.address, login: &fetch };
    verify_isolation::verify(&admin, site, residents, pace.at_once()).await
}
