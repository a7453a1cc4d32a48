//! Whether every tenant's schema is what its versions say, in both streams' schemas and any other, found by comparing
//! fingerprints. Where they differ, the objects are compared, so that each difference is named.
//!
//! Each tenant is looked at by its own role, for one query. A fleet too large for the time of a request is looked at
//! in part, at random, so that repeated checks see all of it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{Difference, Finding, finding};
use crate::{
    control::{
        servers::Server,
        templates,
        tenants::{Tenant, TenantState},
    },
    error::{Error, Result, Severity},
    migrations,
    operations::{
        Context,
        checks::drift::{self, Looked, Reference},
        schema::publish,
    },
    servers::ServerVersion,
    types::{SchemaVersions, TenantId},
};

/// Sessions at a time: within what operations may hold on a server.
const CONCURRENCY: usize = 6;
/// How long looking may take, all tenants together.
const BUDGET: Duration = Duration::from_secs(6);

/// How many differing objects of a tenant are told of.
const TOLD: usize = 20;

/// The class of what is found where the server keeps everybody from looking.
const UNREACHABLE: &str = "unreachable_server";

/// A tenant to be looked at.
struct Subject {
    tenant: TenantId,
    versions: SchemaVersions,
    server: Server,
    expected: String,
    template: String,
}

/// The tenants on `servers` whose schema is another than that of their versions' template.
pub(super) async fn findings(ctx: &Context, servers: &[&Server], tenants: &[Tenant]) -> Result<Vec<Finding>> {
    let mut subjects = subjects(ctx, servers, tenants).await?;
    // Another order each time.
    subjects.sort_by_cached_key(|_| ctx.random.bytes::<8>());
    let deadline = Instant::now() + BUDGET;
    let looks = subjects.into_iter().map(|subject| look(ctx.clone(), subject));
    let looks = stream::iter(looks).take_while(|_| std::future::ready(Instant::now() < deadline));
    let looks: Vec<_> = looks.buffer_unordered(CONCURRENCY).collect().await;
    let (mut findings, mut unread) = (Vec::new(), Vec::new());
    for look in looks {
        match look {
            Look::Done(finding) => findings.extend(finding),
            Look::Failed(subject) => unread.push(*subject),
        }
    }
    let unread = unread.into_iter().map(|subject| (subject.server.name.clone(), subject)).collect();
    let again = |subject| look(ctx.clone(), subject);
    findings.extend(look_again(unread, deadline + BUDGET / 2, again).await);
    Ok(findings)
}

/// A look fails where something is scarce for a moment, and where a server is away. So whoever could not be looked at is
/// looked at once more, one after the other, until the deadline. A server that keeps everybody from looking is one
/// finding, however many tenants it has; and so is one for which there is no time any more. Each of `unread` comes with
/// the name of its server.
async fn look_again<S, F>(unread: Vec<(String, S)>, deadline: Instant, look: impl Fn(S) -> F) -> Vec<Finding>
where
    F: Future<Output = Look<S>>,
{
    let (mut findings, mut away) = (Vec::new(), HashSet::new());
    for (server, subject) in unread {
        if away.contains(&server) {
            continue;
        }
        let look = if Instant::now() < deadline { look(subject).await } else { Look::Failed(Box::new(subject)) };
        match look {
            Look::Done(finding) => findings.extend(finding),
            Look::Failed(_) => {
                let detail = "not every tenant's schema can be read at the moment";
                findings.push(finding(UNREACHABLE, &server, server.clone(), detail));
                away.insert(server);
            }
        }
    }
    findings
}

/// What became of one look at a tenant.
enum Look<S> {
    /// It ended, perhaps with a finding.
    Done(Option<Finding>),
    /// Nothing is known of the tenant.
    Failed(Box<S>),
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
        let (server, template) = ((*server).clone(), name.clone());
        Some(Subject { tenant: tenant.id, versions: tenant.versions, server, expected, template })
    };
    Ok(tenants.iter().filter(is_open).filter_map(subject).collect())
}

async fn look(ctx: Context, subject: Subject) -> Look<Subject> {
    let (tenant, server) = (subject.tenant, &subject.server.name);
    match differences(&ctx, &subject).await {
        Ok(None) => Look::Done(None),
        Ok(Some(differences)) => Look::Done(Some(drifted(&subject, differences))),
        // The server is short of sessions, say, or went away meanwhile.
        Err(error) if error.severity() == Severity::Dependency => {
            tracing::warn!(tenant.id = %tenant, error = error.chain(), "a tenant's schema cannot be read at the moment");
            Look::Failed(Box::new(subject))
        }
        Err(error) => {
            tracing::warn!(tenant.id = %tenant, error = error.chain(), "a tenant's schema cannot be read");
            let detail = "the tenant's own role cannot read its schema";
            Look::Done(Some(finding("ghost_tenant", server, tenant.to_string(), detail)))
        }
    }
}

/// What differs from the template's schema; none if nothing does. Only then are the template's objects read, and the
/// tenant is looked at once more.
async fn differences(ctx: &Context, subject: &Subject) -> Result<Option<Vec<migrations::Difference>>> {
    let reference = Reference { fingerprint: subject.expected.clone(), schema: None };
    if drift::look(ctx, &subject.server, subject.tenant, &reference).await? == Looked::Same {
        return Ok(None);
    }
    let major = ServerVersion(subject.server.version_num).major();
    let recorded = templates::schema(&mut *ctx.db.acquire().await?, &subject.template, major).await?;
    let schema = recorded.and_then(|(_, objects)| objects).map(serde_json::from_value).transpose();
    let reference = Reference { schema: schema.map_err(Error::internal)?, ..reference };
    match drift::look(ctx, &subject.server, subject.tenant, &reference).await? {
        Looked::Drifted(differences) => Ok(Some(differences)),
        Looked::Same | Looked::Unreadable => Ok(None),
    }
}

fn drifted(subject: &Subject, differences: Vec<migrations::Difference>) -> Finding {
    let count = differences.len();
    let objects: Vec<_> = differences.iter().take(TOLD).map(|difference| difference.object.as_str()).collect();
    let more = if count > TOLD { format!(" and {} more", count - TOLD) } else { String::new() };
    let detail = format!("the schema is not that of {}: {}{more}", subject.versions, objects.join(", "));
    let found = finding("schema_drift", &subject.server.name, subject.tenant.to_string(), &detail);
    Finding { differences: differences.into_iter().take(TOLD).map(Difference::from).collect(), ..found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_could_not_be_looked_at_is_told_of_once_a_server_with_time_left_or_without() {
        let unread = || ["a", "a", "b", "c"].map(|server| (server.to_owned(), server)).to_vec();
        let look = |server: &'static str| async move {
            if server == "b" { Look::Done(None) } else { Look::Failed(Box::new(server)) }
        };
        for (left, told) in [(BUDGET, vec!["a", "c"]), (Duration::ZERO, vec!["a", "b", "c"])] {
            let findings = look_again(unread(), Instant::now() + left, look).await;
            let servers: Vec<_> = findings.iter().map(|finding| finding.object.clone()).collect();
            assert_eq!(servers, told);
            assert!(findings.iter().all(|finding| finding.class == UNREACHABLE));
        }
    }
}
