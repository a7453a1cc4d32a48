//! Compares the databases and roles on the clusters with the tenants in the control database.

use std::collections::{BTreeMap, HashMap};

use super::{Finding, finding};
use crate::{
    control::{
        servers::Server,
        tenants::{Tenant, TenantState},
        warm_databases::{WarmDatabase, WarmState},
    },
    error::Result,
    operations::{
        Context,
        fleet::remains::{Leftover, LeftoverKind},
    },
    servers::{DatabaseInfo, OWNER_ROLE, RoleInfo, scratch_of},
    types::{DbName, ServerId, TenantId},
};

/// The prefix of templates' names: see [`crate::migrations::TenantSchema::template_name`].
const TEMPLATE_PREFIX: &str = "freehold_template_";

/// What one cluster holds. The platform server and one that takes tenants may be one cluster, whatever they are called.
pub(super) struct Cluster {
    pub(super) server: Server,
    /// PostgreSQL's own name for it.
    identifier: i64,
    /// All servers that are this cluster.
    pub(super) servers: Vec<ServerId>,
    databases: Vec<DatabaseInfo>,
    roles: Vec<RoleInfo>,
    prepared: i64,
    slots: i64,
    idle_in_transaction: Option<i64>,
}

/// Checks every cluster once. A cluster that cannot be read is a finding, and its tenants are not checked.
pub(super) async fn inspect_all(ctx: &Context, servers: &[Server]) -> (Vec<Cluster>, Vec<Finding>) {
    let (mut clusters, mut findings) = (Vec::<Cluster>::new(), Vec::new());
    for server in servers {
        match inspect(ctx, server).await {
            Ok(cluster) => match clusters.iter_mut().find(|known| known.identifier == cluster.identifier) {
                Some(known) => known.servers.push(server.id),
                None => clusters.push(cluster),
            },
            Err(error) => {
                tracing::warn!(server = server.name, error = error.chain(), "a server cannot be checked");
                let detail = "the server cannot be checked; the log has the reason";
                findings.push(finding("unreachable_server", &server.name, server.id.to_string(), detail));
            }
        }
    }
    (clusters, findings)
}

/// Looks at a server.
async fn inspect(ctx: &Context, server: &Server) -> Result<Cluster> {
    let (_, admin) = ctx.administer(server, "fsck").await?;
    Ok(Cluster {
        server: server.clone(),
        identifier: admin.system_identifier().await?,
        servers: vec![server.id],
        databases: admin.list_databases().await?,
        roles: admin.list_tenant_roles().await?,
        prepared: admin.prepared_transactions().await?,
        slots: admin.replication_slots().await?,
        idle_in_transaction: admin.idle_in_transaction().await?,
    })
}

/// The databases and roles that should exist, according to the control database.
pub(super) struct Expected {
    pub(super) tenants: Vec<Tenant>,
    pub(super) warm: Vec<WarmDatabase>,
}

/// What a database is for, and its role.
enum Resident<'a> {
    Tenant(&'a Tenant),
    Warm(&'a WarmDatabase),
}

impl Resident<'_> {
    const fn id(&self) -> TenantId {
        match self {
            Self::Tenant(tenant) => tenant.id,
            Self::Warm(database) => database.id,
        }
    }

    /// Whether it can be used at this moment: an open database and a role that may log in. A tenant that is being
    /// deleted still has what it had before.
    fn is_usable(&self) -> bool {
        match self {
            Self::Tenant(tenant) => tenant.state != TenantState::Provisioning,
            Self::Warm(database) => database.state == WarmState::Ready,
        }
    }
}

fn residents<'a>(cluster: &Cluster, expected: &'a Expected) -> HashMap<String, Resident<'a>> {
    let is_here = |server| cluster.servers.contains(&server);
    let warm = expected.warm.iter().filter(|warm| is_here(warm.server_id));
    let tenants = expected.tenants.iter();
    let tenants = tenants.filter(|tenant| is_here(tenant.server_id) && tenant.has_database());
    warm.map(|warm| (warm.id.db_name().to_string(), Resident::Warm(warm)))
        .chain(tenants.map(|tenant| (tenant.id.db_name().to_string(), Resident::Tenant(tenant))))
        .collect()
}

/// Objects on the cluster that should not exist, and missing ones.
pub(super) fn judge(cluster: &Cluster, expected: &Expected) -> Vec<Finding> {
    let name = &cluster.server.name;
    let residents = residents(cluster, expected);
    let mut findings = Vec::new();
    findings.extend(cluster.databases.iter().filter_map(|database| judge_database(name, database, &residents)));
    findings.extend(cluster.databases.iter().filter_map(|database| judge_openness(name, database)));
    findings.extend(ghosts(cluster, &residents));
    findings.extend(
        cluster
            .roles
            .iter()
            .filter(|role| !residents.contains_key(&role.name))
            .map(|role| finding("orphan_role", name, role.name.clone(), "a role that is there for nobody any more")),
    );
    if cluster.prepared > 0 {
        let detail = format!("{} prepared transactions hold back vacuum and locks", cluster.prepared);
        findings.push(finding("prepared_transaction", name, String::new(), &detail));
    }
    if cluster.slots > 0 {
        let detail =
            format!("{} replication slots in tenants' databases hold back vacuum and log files", cluster.slots);
        findings.push(finding("replication_slot", name, String::new(), &detail));
    }
    if let Some(count) = cluster.idle_in_transaction.filter(|count| *count > 0) {
        let detail = format!("{count} sessions sit idle in a transaction");
        findings.push(finding("idle_in_transaction", name, String::new(), &detail));
    }
    findings
}

fn judge_database(server: &str, database: &DatabaseInfo, residents: &HashMap<String, Resident<'_>>) -> Option<Finding> {
    if scratch_of(&database.name).is_some() {
        let detail = "a scratch database, in which no archive and no migration is tried any more";
        return Some(finding("orphan_database", server, database.name.clone(), detail));
    }
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

/// Tenants' databases and templates to which PUBLIC may connect.
fn judge_openness(server: &str, database: &DatabaseInfo) -> Option<Finding> {
    let name = &database.name;
    let ours = name.parse::<DbName>().is_ok() || name.starts_with(TEMPLATE_PREFIX) || scratch_of(name).is_some();
    let open = ours && database.allow_connections && (database.public_connect || database.public_temp);
    open.then(|| finding("public_connect", server, database.name.clone(), "PUBLIC may connect to the database"))
}

/// Tenants, and warm databases, that should have a database and a role and lack one.
fn ghosts(cluster: &Cluster, residents: &HashMap<String, Resident<'_>>) -> Vec<Finding> {
    let lacks = |name: &String| {
        let database = cluster.databases.iter().any(|database| database.name == *name && database.allow_connections);
        let role = cluster.roles.iter().any(|role| role.name == *name && role.can_login);
        match (database, role) {
            (true, true) => None,
            (false, _) => Some("there is no open database"),
            (true, false) => Some("the role is missing or may not log in"),
        }
    };
    residents
        .iter()
        .filter(|(_, resident)| resident.is_usable())
        .filter_map(|(name, resident)| {
            lacks(name).map(|detail| finding("ghost_tenant", &cluster.server.name, resident.id().to_string(), detail))
        })
        .collect()
}

/// What the janitor may clear: what interrupted drops have left, and scratch databases, that are Freehold's by owner
/// and mark.
pub(super) fn leftovers(cluster: &Cluster) -> Vec<Leftover> {
    let is_ours = |database: &&DatabaseInfo| database.owner == OWNER_ROLE && database.marked;
    let leftover = |database: &DatabaseInfo| {
        let (of, kind) = match scratch_of(&database.name) {
            Some(of) => (of, LeftoverKind::Scratch),
            None if database.is_interrupted_drop() => (database.name.parse().ok()?, LeftoverKind::InterruptedDrop),
            None => return None,
        };
        Some(Leftover { tenant: of.tenant(), server: cluster.server.id, kind })
    };
    cluster.databases.iter().filter(is_ours).filter_map(leftover).collect()
}

/// Tenant databases that are on more than one cluster.
pub(super) fn double_homes(clusters: &[Cluster]) -> Vec<Finding> {
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
