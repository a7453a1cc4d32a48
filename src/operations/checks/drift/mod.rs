//! The drift sweep: whether every tenant's schema is what its versions say, and what differs, object by object.
//!
//! The schedule goes through all tenants, a page at a time, so that a round is spread over time. Somebody may ask for a
//! round that is not. What a look finds replaces what the one before found (`control::drifts`). Nothing is mended.
//!
//! The reference of a pair of versions is the template of the same versions on the same major release, which is built
//! where there is none yet. A tenant that is being migrated differs for a moment: so one that differs is looked at again,
//! with its versions as they are then.

mod look;
mod reference;

use std::{collections::HashMap, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use look::{Looked, Reference, look};
use reference::References;

use crate::{
    control::{
        audit::{self, Origin},
        checks::{self, Counts},
        drifts::{self, Found},
        schedules,
        servers::{self, Server},
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, Result},
    operations::Context,
    types::{AuditEventId, TenantId},
};

/// The check's name.
pub const NAME: &str = "drift";
/// The name of its schedule.
pub(super) const SCHEDULE: &str = "check.drift";
/// How many tenants a piece of a round looks at.
const PAGE: i64 = 20;
/// How many sessions it has on a server.
const AT_ONCE: usize = 2;
/// How long a tenant that differs is left alone until it is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// How many objects of a tenant are recorded, and how much of each definition, in characters.
const RECORDED: usize = 100;
const LONGEST: usize = 10_000;

/// What a round, or a part of it, has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DriftCounts)]
pub struct Tally {
    /// Tenants that were looked at.
    pub tenants: i64,
    /// Tenants whose schema is another one.
    pub drifted: i64,
    /// Tenants whose schema could not be read, or whose reference is not to be had.
    pub unreadable: i64,
}

impl Tally {
    /// What the counts of a check say.
    #[must_use]
    pub fn of(counts: &Counts) -> Self {
        let count = |what: &str| counts.get(what).copied().unwrap_or_default();
        Self { tenants: count("tenants"), drifted: count("drifted"), unreadable: count("unreadable") }
    }

    pub(super) fn add_to(self, counts: &mut Counts) {
        for (what, count) in [("tenants", self.tenants), ("drifted", self.drifted), ("unreadable", self.unreadable)] {
            *counts.entry(what.to_owned()).or_default() += count;
        }
    }
}

/// Asks for a round that begins now, on whichever replica comes first.
///
/// # Errors
/// The control database is unavailable.
pub async fn ask(ctx: &Context, origin: &Origin) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    checks::ask_in_txn(&mut txn, NAME).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    audit::record_in_txn(&mut txn, event, origin, ("drift.sweep", NAME), &serde_json::json!({})).await?;
    schedules::wake_in_txn(&mut txn, SCHEDULE).await?;
    Ok(txn.commit().await?)
}

/// Looks at the next page of tenants after `after`, and records what it finds. The last tenant looked at, when there are
/// more.
pub(super) async fn sweep(ctx: &Context, after: Option<TenantId>) -> Result<(Tally, Option<TenantId>)> {
    let (mut open, servers) = {
        let mut connection = ctx.db.acquire().await?;
        // One more tells whether there are more.
        (tenants::open_after(&mut connection, after, PAGE + 1).await?, servers::list(&mut connection).await?)
    };
    let page = usize::try_from(PAGE).map_err(Error::internal)?;
    let more = open.len() > page;
    open.truncate(page);
    let next = open.last().map(|tenant| tenant.id).filter(|_| more);
    let (mut tally, mut found) = (Tally::default(), Vec::new());
    for server in &servers {
        let residents: Vec<_> = open.iter().filter(|tenant| tenant.server_id == server.id).cloned().collect();
        let looks = look_at(ctx, server, residents).await;
        tally.tenants += i64::try_from(looks.len()).unwrap_or(i64::MAX);
        for (tenant, looked) in looks {
            match looked {
                Looked::Same => found.push((tenant, Vec::new())),
                Looked::Drifted(differences) => {
                    tally.drifted += 1;
                    found.push(recorded(tenant, differences));
                }
                Looked::Unreadable => tally.unreadable += 1,
            }
        }
    }
    let mut txn = ctx.db.begin().await?;
    drifts::replace_in_txn(&mut txn, &found).await?;
    txn.commit().await?;
    Ok((tally, next))
}

fn recorded(tenant: TenantId, differences: Vec<crate::migrations::Difference>) -> Found {
    let short = |text: String| if text.len() > LONGEST { text.chars().take(LONGEST).collect() } else { text };
    let differences = differences.into_iter().take(RECORDED);
    let differences = differences.map(|found| (found.object, found.expected.map(short), found.actual.map(short)));
    (tenant, differences.collect())
}

async fn look_at(ctx: &Context, server: &Server, residents: Vec<Tenant>) -> HashMap<TenantId, Looked> {
    let references = References::new(ctx, server);
    let looks = residents.into_iter().map(|tenant| look_twice(ctx, server, &references, tenant).boxed());
    let looks: Vec<_> = looks.collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
}

async fn look_twice(ctx: &Context, server: &Server, references: &References<'_>, tenant: Tenant) -> (TenantId, Looked) {
    let id = tenant.id;
    let outcome = async {
        let looked = look(ctx, server, id, &*references.of(tenant.versions).await?).await?;
        let Looked::Drifted(differences) = looked else { return Ok(looked) };
        tokio::time::sleep(SECOND_LOOK).await;
        let now = tenants::get(&mut *ctx.db.acquire().await?, id).await?;
        let is_open = |tenant: &Tenant| matches!(tenant.state, TenantState::Active | TenantState::Suspended);
        let Some(now) = now.filter(|now| is_open(now) && now.server_id == server.id) else { return Ok(Looked::Same) };
        let again = look(ctx, server, id, &*references.of(now.versions).await?).await?;
        if let Looked::Drifted(again) = &again {
            let objects: Vec<_> = again.iter().map(|difference| difference.object.as_str()).take(10).collect();
            let (count, objects) = (differences.len(), objects.join(", "));
            tracing::warn!(tenant.id = %id, drift.objects = count, drift.first = objects, "a tenant's schema has drifted");
        }
        Ok::<_, Error>(again)
    };
    let looked = outcome.await.unwrap_or_else(|error| {
        tracing::warn!(tenant.id = %id, error = error.chain(), "a tenant's schema cannot be compared");
        Looked::Unreadable
    });
    (id, looked)
}
