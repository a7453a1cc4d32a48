//! Changes the settings of a server: its region, labels, limits, and whether it takes new tenants. Each change is one
//! transaction of the control database. The server itself is not contacted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    control::{
        audit::{self, Origin},
        servers::{self, Server},
    },
    error::{Error, Result},
    operations::{Context, labels},
    types::{AuditEventId, ServerId},
};

/// The fields to change. An absent field keeps its value.
#[derive(Debug, Default)]
pub struct Patch {
    /// Its region; `None` within removes it.
    pub region: Option<Option<String>>,
    /// Labels to set, or to remove (`None`). All other labels stay.
    pub labels: BTreeMap<String, Option<String>>,
    /// The most sessions that all replicas together may have in its tenant databases.
    pub connection_budget: Option<i32>,
    /// The most tenants that it takes; `None` within is no limit.
    pub capacity: Option<Option<i32>>,
    /// How many warm databases are kept ready; `None` within follows demand.
    pub warm_target: Option<Option<i32>>,
    /// How many of its tenants a rollout migrates at a time.
    pub rollout_concurrency: Option<i32>,
    /// Whether it is cordoned: whether it takes no new tenants.
    pub cordoned: Option<bool>,
}

/// Changes the server if `expected` accepts its revision.
///
/// # Errors
/// `not_found`; `validation_failed` on `labels`; `precondition_failed` (412), from `expected`; `platform_server` (409)
/// when the change concerns tenants, and the server is the platform's.
pub async fn update(
    ctx: &Context,
    id: ServerId,
    patch: Patch,
    expected: impl FnOnce(i64) -> Result<()>,
    origin: &Origin,
) -> Result<Server> {
    change(ctx, id, (patch, "server.update"), expected, origin).await
}

/// Cordons the server, or uncordons it. `action` is the action in the audit log: `server.cordon`.
///
/// # Errors
/// `not_found`; `platform_server` (409).
pub async fn cordon(ctx: &Context, id: ServerId, cordoned: bool, action: &str, origin: &Origin) -> Result<Server> {
    let patch = Patch { cordoned: Some(cordoned), ..Patch::default() };
    change(ctx, id, (patch, action), |_| Ok(()), origin).await
}

async fn change(
    ctx: &Context,
    id: ServerId,
    (patch, action): (Patch, &str),
    expected: impl FnOnce(i64) -> Result<()>,
    origin: &Origin,
) -> Result<Server> {
    let mut txn = ctx.db.begin().await?;
    let before = servers::lock_in_txn(&mut txn, id).await?.ok_or_else(|| Error::not_found("server"))?;
    if before.is_platform && patch.is_about_tenants() {
        return Err(Error::conflict("platform_server", "the platform server takes no tenants"));
    }
    expected(before.revision)?;
    let mut after = patch.applied(before.clone())?;
    let differences = differences(&before, &after);
    if differences.is_empty() {
        txn.rollback().await?;
        return Ok(before);
    }
    after.revision = servers::update_in_txn(&mut txn, &after).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    audit::record_in_txn(&mut txn, event, origin, (action, &id.to_string()), &differences.into()).await?;
    txn.commit().await?;
    Ok(after)
}

impl Patch {
    const fn is_about_tenants(&self) -> bool {
        self.capacity.is_some() || self.warm_target.is_some() || self.cordoned.is_some()
    }

    fn applied(self, mut server: Server) -> Result<Server> {
        server.labels = labels::merged(&server.labels, self.labels)?;
        server.region = self.region.unwrap_or(server.region);
        server.connection_budget = self.connection_budget.unwrap_or(server.connection_budget);
        server.capacity = self.capacity.unwrap_or(server.capacity);
        server.warm_target = self.warm_target.unwrap_or(server.warm_target);
        server.rollout_concurrency = self.rollout_concurrency.unwrap_or(server.rollout_concurrency);
        server.cordoned = self.cordoned.unwrap_or(server.cordoned);
        Ok(server)
    }
}

/// The changed fields, for the audit log.
fn differences(before: &Server, after: &Server) -> Map<String, Value> {
    let fields = |server: &Server| {
        [
            ("region", json!(server.region)),
            ("labels", json!(server.labels)),
            ("connection_budget", json!(server.connection_budget)),
            ("capacity", json!(server.capacity)),
            ("warm_target", json!(server.warm_target)),
            ("rollout_concurrency", json!(server.rollout_concurrency)),
            ("cordoned", json!(server.cordoned)),
        ]
    };
    let pairs = fields(before).into_iter().zip(fields(after));
    pairs.filter(|(before, after)| before != after).map(|(_, (name, value))| (name.to_owned(), value)).collect()
}
