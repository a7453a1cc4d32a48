//! Whether every tenant's schema is what its versions say, in both streams' schemas and any other, found by comparing fingerprints.
//!
//! Each tenant is looked at by its own role, for one query. A fleet too large for the time of a request is looked at
//! in part, at random, so that repeated checks see all of it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{Finding, finding};
use crate::{
    control::{
        servers::Server,
        templates,
        tenants::{Tenant, TenantState},
    },
    error::{Result, Severity},
    migrations::Schema,
    operations::{Context, context::address, fleet::tenant_login, schema::publish},
    servers::ServerVersion,
    types::{SchemaVersions, TenantId},
};

/// Sessions at a time: within what operations may hold on a server.
const CONCURRENCY: usize = 6;
/// How long looking may take, all tenants together.
const BUDGET: Duration = Duration::from_secs(6);

/// The class of what is found where the server keeps everybody from looking.
const UNREACHABLE: &str = "unreachable_server";

/// A tenant to be looked at.
struct Subject {
    tenant: TenantId,
    versions: SchemaVersions,
    server: Server,
    expected: String,
}

/// The tenants on `servers` whose schema is another than that of their versions' template.
pub(super) async fn findings(ctx: &Context, servers: &[&Server], tenants: &[Tenant]) -> Result<Vec<Finding>> {
    let mut subjects = subjects(ctx, servers, tenants).await?;
    // Another order each time.
    subjects.sort_by_cached_key(|_| ctx.random.bytes::<8>());
    let deadline = Instant::now() + BUDGET;
    let looks = subjects.into_iter().map(|subject| look(ctx.clone(), subject));
    let looks = stream::iter(looks).take_while(|_| std::future::ready(Instant::now() < deadline));
    let mut findings: Vec<_> = looks.buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await;
    let mut told = HashSet::new();
    // A server that lets nobody look is one finding, however many tenants it has.
    findings.retain(|finding| finding.class != UNREACHABLE || told.insert(finding.server.clone()));
    Ok(findings)
}

/// Those whose template's schema is known: the ones of templates built by older releases are not.
async fn subjects(ctx: &Context, servers: &[&Server], tenants: &[Tenant]) -> Result<Vec<Subject>> {
    let fingerprints = templates::fingerprints(&mut *ctx.db.acquire().await?).await?;
    let newest = publish::current(&ctx.db).await?;
    let mut names = HashMap::new();
    let is_open = |tenant: &&Tenant| matches!(tenant.state, TenantState::Active | TenantState::Suspended);
    let subject = |tenant: &Tenant| {
        let server = servers.iter().find(|server| server.id == tenant.server_id)?;
        let name = names.entry(tenant.versions).or_insert_with(|| newest.up_to(tenant.versions).template_name());
        let expected = fingerprints.get(&(name.clone(), ServerVersion(server.version_num).major()))?.clone();
        Some(Subject { tenant: tenant.id, versions: tenant.versions, server: (*server).clone(), expected })
    };
    Ok(tenants.iter().filter(is_open).filter_map(subject).collect())
}

async fn look(ctx: Context, subject: Subject) -> Option<Finding> {
    let (tenant, server) = (subject.tenant, &subject.server.name);
    match fingerprint(&ctx, &subject).await {
        Ok(found) if found == subject.expected => None,
        Ok(_) => {
            let detail = format!("the schema is not that of {}", subject.versions);
            Some(finding("schema_drift", server, tenant.to_string(), &detail))
        }
        // The server is short of sessions, say, or went away meanwhile: nothing is known of the tenant.
        Err(error) if error.severity() == Severity::Dependency => {
            tracing::warn!(tenant.id = %tenant, error = error.chain(), "a tenant's schema cannot be read at the moment");
            Some(finding(UNREACHABLE, server, server.clone(), "not every tenant's schema can be read at the moment"))
        }
        Err(error) => {
            tracing::warn!(tenant.id = %tenant, error = error.chain(), "a tenant's schema cannot be read");
            Some(finding("ghost_tenant", server, tenant.to_string(), "the tenant's own role cannot read its schema"))
        }
    }
}

async fn fingerprint(ctx: &Context, subject: &Subject) -> Result<String> {
    let address = address(&subject.server)?;
    let (_, mut session) = tenant_login::open(ctx, &address, subject.tenant, "fsck").await?;
    let schema = Schema::of(&mut session).await;
    session.close().await;
    Ok(schema?.fingerprint())
}
