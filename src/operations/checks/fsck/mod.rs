//! `freehold fsck` compares what the control database says with what is really there. It changes nothing.
//!
//! It counts differences by class; all counts are zero when Freehold is idle. While operations are under way a difference may
//! be work in progress: the state is then `busy`, and the findings are for looking at.

mod cache;
mod clusters;
mod drift;
mod objects;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use clusters::Expected;

use crate::{
    control::{
        operations, replicas, rollouts, secrets,
        servers::{self, Server},
        slugs,
        tenants::{self, Tenant},
        warm_databases,
    },
    error::Result,
    migrations,
    operations::{Context, fleet::remains::Leftover},
    tenancy::RegistryDigest,
    types::TenantId,
};

/// How long a change may be on its way to this replica: all that are, together.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What fsck says.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = FsckReport)]
pub struct Report {
    /// The verdict.
    pub state: Verdict,
    /// How many differences there are of each class.
    pub counts: BTreeMap<&'static str, usize>,
    /// Each of them.
    pub findings: Vec<Finding>,
    /// What the janitor may clear of it.
    #[serde(skip)]
    pub(in crate::operations) leftovers: Vec<Leftover>,
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything agrees.
    Clean,
    /// Something differs and nothing is under way that would explain it.
    Dirty,
    /// Operations are under way: ask again when they have ended.
    Busy,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FsckFinding)]
pub struct Finding {
    /// Its class.
    pub class: &'static str,
    /// The server's name; empty for the control database.
    pub server: String,
    /// What differs: a database, a role, an id.
    pub object: String,
    /// In a sentence.
    pub detail: String,
    /// The objects of a tenant's schema that differ; up to twenty of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub differences: Vec<Difference>,
}

/// An object of a tenant's schema that is not what the tenant's versions say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SchemaDifference)]
pub struct Difference {
    /// Its kind and its name: `column public.projects.name`.
    pub object: String,
    /// What it should be, in PostgreSQL's words; null if it should not be there.
    pub expected: Option<String>,
    /// What it is; null if it is not there.
    pub actual: Option<String>,
}

impl From<migrations::Difference> for Difference {
    fn from(difference: migrations::Difference) -> Self {
        let migrations::Difference { object, expected, actual } = difference;
        Self { object, expected, actual }
    }
}

/// The classes, in the order in which they are told.
const CLASSES: [&str; 20] = [
    "unreachable_server",
    "orphan_database",
    "ghost_tenant",
    "invalid_database",
    "double_home",
    "orphan_role",
    "orphan_secret",
    "orphan_archive",
    "unreachable_store",
    "leaked_reservation",
    "stale_redis_key",
    "unreachable_redis",
    "stuck_operation",
    "undo_failed",
    "public_connect",
    "idle_in_transaction",
    "prepared_transaction",
    "replication_slot",
    "schema_drift",
    "memory_mismatch",
];

/// Compares everything with everything.
pub async fn check(ctx: &Context) -> Result<Report> {
    let began = operations::now(&mut *ctx.db.acquire().await?).await?;
    let cached = cache::owners(ctx).await;
    let (servers, expected) = {
        let mut connection = ctx.db.acquire().await?;
        let servers = servers::list(&mut connection).await?;
        // In this order: one that is claimed in between is in both lists, not in neither.
        let warm = warm_databases::list(&mut connection).await?;
        let tenants = tenants::changed_since(&mut connection, -1).await?;
        (servers, Expected { tenants, warm })
    };
    let (clusters, mut findings) = clusters::inspect_all(ctx, &servers).await;
    findings.extend(clusters.iter().flat_map(|cluster| clusters::judge(cluster, &expected)));
    findings.extend(clusters::double_homes(&clusters));
    let is_reachable = |server: &&Server| clusters.iter().any(|cluster| cluster.servers.contains(&server.id));
    let reachable: Vec<_> = servers.iter().filter(is_reachable).collect();
    findings.extend(drift::findings(ctx, &reachable, &expected.tenants).await?);
    findings.extend(cache::findings(cached, &expected.tenants));
    findings.extend(memory_mismatches(ctx, &expected.tenants).await?);
    findings.extend(replica_mismatches(ctx, &expected.tenants).await?);
    findings.extend(control_findings(ctx).await?);
    findings.extend(objects::findings(ctx).await?);
    // Asked last: an operation that was under way at any moment of the check may explain what was seen.
    let (unfinished, rollout) = {
        let mut connection = ctx.db.acquire().await?;
        (operations::unfinished(&mut connection, began).await?, rollouts::unfinished(&mut connection).await?)
    };
    let is_rolling = rollout.is_some_and(|rollout| rollout.state.is_under_way());
    let stuck = unfinished.stuck.iter().map(|id| ("stuck_operation", id, "it is blocked, or nobody works on it"));
    let failed = unfinished.undo_failed.iter().map(|id| ("undo_failed", id, "it can neither go on nor be undone"));
    findings.extend(stuck.chain(failed).map(|(class, id, detail)| finding(class, "", id.to_string(), detail)));
    let leftovers = clusters.iter().flat_map(clusters::leftovers).collect();
    Ok(Report { leftovers, ..report(findings, unfinished.is_busy || is_rolling) })
}

/// What the control database says that cannot all be true.
async fn control_findings(ctx: &Context) -> Result<Vec<Finding>> {
    let mut connection = ctx.db.acquire().await?;
    let secrets = secrets::orphans(&mut connection).await?;
    let slugs = slugs::leaks(&mut connection).await?;
    let warm = warm_databases::leaked(&mut connection).await?;
    let orphan = |owner: Uuid| {
        finding("orphan_secret", "", owner.to_string(), "a data key of no tenant, warm database or server")
    };
    let leak = |slug: String| {
        finding("leaked_reservation", "", slug, "the slug is held for a tenant that does not have it, or not any more")
    };
    let stray = |id: TenantId| {
        let detail = "a warm database is being made or taken away, and no operation does it";
        finding("leaked_reservation", "", id.db_name().to_string(), detail)
    };
    let reservations = slugs.into_iter().map(leak).chain(warm.into_iter().map(stray));
    Ok(secrets.into_iter().map(orphan).chain(reservations).collect())
}

fn report(findings: Vec<Finding>, busy: bool) -> Report {
    let count = |class: &'static str| (class, findings.iter().filter(|finding| finding.class == class).count());
    let counts = CLASSES.into_iter().map(count).collect();
    let state = match (busy, findings.is_empty()) {
        (true, _) => Verdict::Busy,
        (false, true) => Verdict::Clean,
        (false, false) => Verdict::Dirty,
    };
    Report { state, counts, findings, leftovers: Vec::new() }
}

/// Tenants that this replica remembers otherwise than the control database has them, for longer than a change may take
/// to reach it.
async fn memory_mismatches(ctx: &Context, tenants: &[Tenant]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let deadline = Instant::now() + ON_ITS_WAY;
    for tenant in tenants {
        let at_most = deadline.saturating_duration_since(Instant::now());
        if !ctx.tenancy.reaches(tenant.id, tenant.revision, at_most).await? {
            let detail = "this replica remembers an older state of the tenant";
            findings.push(finding("memory_mismatch", "", tenant.id.to_string(), detail));
        }
    }
    Ok(findings)
}

/// Replicas that remember other tenants than the control database has, or other revisions of them.
async fn replica_mismatches(ctx: &Context, tenants: &[Tenant]) -> Result<Vec<Finding>> {
    let expected = RegistryDigest::of(tenants).to_string();
    let settled = replicas::settled(&mut *ctx.db.acquire().await?).await?;
    let wrong = settled.into_iter().filter(|(_, digest)| *digest != expected);
    let detail = "this replica remembers another state of the tenants";
    Ok(wrong.map(|(name, _)| finding("memory_mismatch", "", name, detail)).collect())
}

fn finding(class: &'static str, server: &str, object: String, detail: &str) -> Finding {
    let differences = Vec::new();
    Finding { class, server: server.to_owned(), object, detail: detail.to_owned(), differences }
}
