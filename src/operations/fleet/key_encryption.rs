//! Key-encryption keys: lists them, records which replica has which, and re-wraps data keys with another one.
//!
//! Re-wrapping changes how a data key is stored, and never the data key itself, so secrets need not be encrypted again.
//! A replica that has read the old form can unwrap it as long as its key ring has the old key. The work is split into
//! small transactions. Each skips the rows that another one has locked, so several may run at once. If one dies, the
//! finished transactions stay.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    control::{
        audit::{self, Origin},
        data_keys,
        key_rings::{self, Ring},
    },
    error::{Error, FieldError, Result},
    operations::Context,
    types::AuditEventId,
};

/// How often a replica records which keys it has.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);
/// How many data keys one transaction re-wraps, and how many transactions one call makes.
const BATCH: i64 = 250;
const BATCHES: usize = 8;

/// The key-encryption keys of the fleet.
#[derive(Debug)]
pub struct Status {
    /// The key with which this replica wraps new data keys.
    pub active: String,
    /// All keys that are configured on this replica, or that wrap a data key.
    pub keys: Vec<Kek>,
    /// Which replica has which keys.
    pub rings: Vec<Ring>,
}

/// One key-encryption key.
#[derive(Debug)]
pub struct Kek {
    /// Its name.
    pub id: String,
    /// Whether this replica has it. If a key wraps data keys and no replica has it, those data keys are lost.
    pub configured: bool,
    /// How many data keys it wraps.
    pub data_keys: i64,
}

/// The result of one call of [`rotate`].
#[derive(Clone, Copy, Debug)]
pub struct Rewrapped {
    /// How many data keys were re-wrapped.
    pub rewrapped: usize,
    /// How many data keys are still wrapped with other keys.
    pub remaining: i64,
}

/// The key-encryption keys of the fleet.
pub async fn status(ctx: &Context) -> Result<Status> {
    let ids = ctx.keys.ids();
    let mut connection = ctx.db.acquire().await?;
    let counts = data_keys::count_by_key(&mut connection).await?;
    let count = |id: &String| counts.iter().find(|(counted, _)| counted == id).map_or(0, |(_, count)| *count);
    let configured = ids.iter().map(|id| Kek { id: id.clone(), configured: true, data_keys: count(id) });
    let unknown = counts.iter().filter(|(id, _)| !ids.contains(id));
    let unknown = unknown.map(|(id, count)| Kek { id: id.clone(), configured: false, data_keys: *count });
    Ok(Status {
        active: ids.first().cloned().unwrap_or_default(),
        keys: configured.chain(unknown).collect(),
        rings: key_rings::alive(&mut connection).await?,
    })
}

/// Re-wraps some data keys with the key `to`, by default the active one. Callers repeat it until nothing remains.
///
/// # Errors
/// `unknown_key` on `to`; `key_not_everywhere` (409) while a replica does not have the key.
pub async fn rotate(ctx: &Context, to: Option<&str>, origin: &Origin) -> Result<Rewrapped> {
    let ids = ctx.keys.ids();
    let to = to.or(ids.first().map(String::as_str)).unwrap_or_default();
    if !ids.iter().any(|id| id == to) {
        return Err(FieldError::new("to", "unknown_key", "must name a key of FREEHOLD_KEY_ENCRYPTION_KEYS").into());
    }
    refuse_missing(&key_rings::alive(&mut *ctx.db.acquire().await?).await?, to)?;
    let mut rewrapped = 0;
    for _ in 0..BATCHES {
        let mut txn = ctx.db.begin().await?;
        let batch = data_keys::rewrap_in_txn(&mut txn, &ctx.keys, to, BATCH).await?;
        if batch > 0 {
            record(ctx, &mut txn, to, batch, origin).await?;
        }
        txn.commit().await?;
        rewrapped += batch;
        if batch == 0 {
            break;
        }
    }
    let counts = data_keys::count_by_key(&mut *ctx.db.acquire().await?).await?;
    let remaining = counts.iter().filter(|(id, _)| id != to).map(|(_, count)| count).sum();
    Ok(Rewrapped { rewrapped, remaining })
}

fn refuse_missing(rings: &[Ring], to: &str) -> Result<()> {
    let lacks = |ring: &&Ring| !ring.key_ids.iter().any(|id| id == to);
    let lacking: Vec<_> = rings.iter().filter(lacks).map(|ring| ring.replica.as_str()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let detail = format!("these replicas do not have the key {to}: {}; give it to them first", lacking.join(", "));
    Err(Error::conflict("key_not_everywhere", detail))
}

async fn record(ctx: &Context, txn: &mut sqlx::PgConnection, to: &str, count: usize, origin: &Origin) -> Result<()> {
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    audit::record_in_txn(txn, event, origin, ("keys.rotate", to), &serde_json::json!({ "data_keys": count })).await
}

/// Records which keys this replica has until `stop`, and then that it is gone. Logs an error when data keys are wrapped
/// with a key that this replica lacks: it cannot open the secrets of their owners.
pub async fn announce(ctx: Context, stop: CancellationToken) {
    if let Ok(status) = status(&ctx).await {
        for key in status.keys.iter().filter(|key| !key.configured) {
            let kek = key.id.as_str();
            tracing::error!(
                kek.id = kek,
                data_keys = key.data_keys,
                "data keys are wrapped by a key that is not configured"
            );
        }
    }
    let ids = ctx.keys.ids();
    let mut ticks = tokio::time::interval(ANNOUNCE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let said = async { key_rings::announce(&mut *ctx.db.acquire().await?, &ctx.replica, &ids).await };
        if let Err(error) = Result::<_, Error>::from(said.await) {
            tracing::debug!(error = error.chain(), "the other replicas could not be told which keys this one has");
        }
    }
    let withdrawn = async { key_rings::withdraw(&mut *ctx.db.acquire().await?, &ctx.replica).await };
    if let Err(error) = Result::<_, Error>::from(withdrawn.await) {
        tracing::debug!(error = error.chain(), "this replica counts as alive for another minute");
    }
}
