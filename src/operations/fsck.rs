//! `freehold fsck`: compares what the control database says with what is really there. Read-only.
//!
//! A count per class of difference, all zero when Freehold is idle. While operations are under way a
//! difference may be work in progress: the state is then `busy`, and the findings are for looking at.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::Context;
use crate::{
    control::{
        operations, secrets,
        servers::{self, Server},
        tenants::{self, Tenant, TenantState},
    },
    error::Result,
    servers::{DatabaseInfo, RoleInfo, ServerAdmin},
    types::DbName,
};

/// What templates' names begin with: see [`crate::migrations::MigrationSet::template_name`].
const TEMPLATE_PREFIX: &str = "freehold_template_";

/// What fsck says.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Report {
    /// The verdict.
    pub state: Verdict,
    /// How many differences there are of each class.
    pub counts: BTreeMap<&'static str, usize>,
    /// Each of them.
    pub findings: Vec<Finding>,
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
pub struct Finding {
    /// Its class.
    pub class: &'static str,
    /// The server's name; empty for the control database.
    pub server: String,
    /// What differs: a database, a role, an id.
    pub object: String,
    /// In a sentence.
    pub detail: String,
}

/// The classes, in the order in which they are told.
const CLASSES: [&str; 12] = [
    "orphan_database",
    "ghost_tenant",
    "invalid_database",
    "double_home",
    "orphan_role",
    "orphan_secret",
    "stuck_operation",
    "undo_failed",
    "public_connect",
    "idle_in_transaction",
    "prepared_transaction",
    "memory_mismatch",
];

/// What one cluster holds. Two registered servers may be one cluster under one address.
struct Cluster {
    server: Server,
    databases: Vec<DatabaseInfo>,
    roles: Vec<RoleInfo>,
    prepared: i64,
    idle_in_transaction: Option<i64>,
}

/// Compares everything with everything.
pub async fn check(ctx: &Context) -> Result<Report> {
    let (servers, tenants, orphan_secrets) = {
        let mut connection = ctx.db.acquire().await?;
        let servers = servers::list(&mut connection).await?;
        let tenants = tenants::changed_since(&mut connection, -1).await?;
        (servers, tenants, secrets::orphans(&mut connection).await?)
    };
    let mut findings = Vec::new();
    let mut clusters: Vec<Cluster> = Vec::new();
    for server in &servers {
        let known = clusters.iter().any(|c| (&c.server.host, c.server.port) == (&server.host, server.port));
        if !known {
            clusters.push(inspect(ctx, server).await?);
        }
    }
    findings.extend(clusters.iter().flat_map(|cluster| judge_cluster(cluster, &servers, &tenants)));
    findings.extend(double_homes(&clusters));
    findings.extend(orphan_secrets.iter().map(|owner| {
        finding("orphan_secret", "", owner.to_string(), "a data key that belongs to no tenant and no server")
    }));
    findings.extend(memory_mismatches(ctx, &tenants).await?);
    // Asked last: an operation that began meanwhile explains what was seen.
    let unfinished = operations::unfinished(&mut *ctx.db.acquire().await?).await?;
    findings.extend(
        unfinished.stuck.iter().map(|id| {
            finding("stuck_operation", "", id.to_string(), "the operation is blocked, or nobody works on it")
        }),
    );
    findings.extend(
        unfinished
            .undo_failed
            .iter()
            .map(|id| finding("undo_failed", "", id.to_string(), "the operation can neither go on nor be undone")),
    );
    Ok(report(findings, unfinished.live > 0))
}

fn report(findings: Vec<Finding>, busy: bool) -> Report {
    let count = |class: &'static str| (class, findings.iter().filter(|finding| finding.class == class).count());
    let counts = CLASSES.into_iter().map(count).collect();
    let state = match (busy, findings.is_empty()) {
        (true, _) => Verdict::Busy,
        (false, true) => Verdict::Clean,
        (false, false) => Verdict::Dirty,
    };
    Report { state, counts, findings }
}

async fn inspect(ctx: &Context, server: &Server) -> Result<Cluster> {
    let access = ctx.access(server).await?;
    let admin: ServerAdmin = ctx.administer(&access, "fsck").await?;
    Ok(Cluster {
        server: server.clone(),
        databases: admin.list_databases().await?,
        roles: admin.list_tenant_roles().await?,
        prepared: admin.prepared_transactions().await?,
        idle_in_transaction: admin.idle_in_transaction().await?,
    })
}

fn judge_cluster(cluster: &Cluster, servers: &[Server], tenants: &[Tenant]) -> Vec<Finding> {
    let name = &cluster.server.name;
    let here: Vec<_> = servers
        .iter()
        .filter(|server| (&server.host, server.port) == (&cluster.server.host, cluster.server.port))
        .map(|server| server.id)
        .collect();
    let residents: HashMap<String, &Tenant> = tenants
        .iter()
        // A tombstone has nothing on a server any more.
        .filter(|tenant| here.contains(&tenant.server_id) && tenant.state != TenantState::Deleted)
        .map(|tenant| (tenant.id.db_name().to_string(), tenant))
        .collect();
    let mut findings = Vec::new();
    findings.extend(cluster.databases.iter().filter_map(|database| judge_database(name, database, &residents)));
    findings.extend(cluster.databases.iter().filter_map(|database| judge_openness(name, database)));
    findings.extend(ghosts(cluster, &residents));
    findings.extend(
        cluster
            .roles
            .iter()
            .filter(|role| !residents.contains_key(&role.name))
            .map(|role| finding("orphan_role", name, role.name.clone(), "a tenant's role without a tenant")),
    );
    if cluster.prepared > 0 {
        let detail = format!("{} prepared transactions hold back vacuum and locks", cluster.prepared);
        findings.push(finding("prepared_transaction", name, String::new(), &detail));
    }
    if let Some(count) = cluster.idle_in_transaction.filter(|count| *count > 0) {
        let detail = format!("{count} sessions sit idle in a transaction");
        findings.push(finding("idle_in_transaction", name, String::new(), &detail));
    }
    findings
}

fn judge_database(server: &str, database: &DatabaseInfo, residents: &HashMap<String, &Tenant>) -> Option<Finding> {
    if database.name.parse::<DbName>().is_err() {
        return None;
    }
    if database.is_interrupted_drop() {
        let detail = "an interrupted DROP DATABASE: nobody can connect";
        return Some(finding("invalid_database", server, database.name.clone(), detail));
    }
    let orphan = !residents.contains_key(&database.name);
    orphan.then(|| finding("orphan_database", server, database.name.clone(), "a tenant's database without a tenant"))
}

/// Tenants' databases and templates that PUBLIC may enter.
fn judge_openness(server: &str, database: &DatabaseInfo) -> Option<Finding> {
    let ours = database.name.parse::<DbName>().is_ok() || database.name.starts_with(TEMPLATE_PREFIX);
    let open = ours && database.allow_connections && (database.public_connect || database.public_temp);
    open.then(|| finding("public_connect", server, database.name.clone(), "PUBLIC may connect to the database"))
}

/// Tenants that should have a database and a role and lack one.
fn ghosts(cluster: &Cluster, residents: &HashMap<String, &Tenant>) -> Vec<Finding> {
    let expected =
        |tenant: &Tenant| matches!(tenant.state, TenantState::Active | TenantState::Suspended | TenantState::Deleting);
    let lacks = |name: &String| {
        let database = cluster.databases.iter().any(|database| database.name == *name && database.allow_connections);
        let role = cluster.roles.iter().any(|role| role.name == *name && role.can_login);
        match (database, role) {
            (true, true) => None,
            (false, _) => Some("the tenant has no open database"),
            (true, false) => Some("the tenant's role is missing or may not log in"),
        }
    };
    residents
        .iter()
        .filter(|(_, tenant)| expected(tenant))
        .filter_map(|(name, tenant)| {
            lacks(name).map(|detail| finding("ghost_tenant", &cluster.server.name, tenant.id.to_string(), detail))
        })
        .collect()
}

/// Tenant databases that are on more than one cluster.
fn double_homes(clusters: &[Cluster]) -> Vec<Finding> {
    let mut homes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for cluster in clusters {
        for database in cluster.databases.iter().filter(|database| database.name.parse::<DbName>().is_ok()) {
            homes.entry(&database.name).or_default().push(&cluster.server.name);
        }
    }
    homes
        .into_iter()
        .filter(|(_, servers)| servers.len() > 1)
        .map(|(name, servers)| {
            let detail = format!("the database is on {}", servers.join(" and "));
            finding("double_home", "", name.to_owned(), &detail)
        })
        .collect()
}

/// Tenants that this replica remembers otherwise than the control database has them.
async fn memory_mismatches(ctx: &Context, tenants: &[Tenant]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for tenant in tenants {
        let held = ctx.tenancy.by_id(tenant.id).await?;
        // A newer revision in memory is a change that came after the rows were read.
        if held.is_none_or(|held| held.revision < tenant.revision) {
            let detail = "this replica remembers an older state of the tenant";
            findings.push(finding("memory_mismatch", "", tenant.id.to_string(), detail));
        }
    }
    Ok(findings)
}

fn finding(class: &'static str, server: &str, object: String, detail: &str) -> Finding {
    Finding { class, server: server.to_owned(), object, detail: detail.to_owned() }
}
