//! The chain of an audit log: digests that tell whether events are what they were.
//!
//! Events are written by many transactions at once, so none of them can count the one before. Some seconds later a
//! replica gathers what is not chained yet into a batch. An event's digest is of all that the event says. A batch's digest
//! is of the batch before, the events' ids and their digests. Whoever changes or removes an event, or a batch, changes all
//! later digests; whoever computes them anew is found by those who have noted one of them elsewhere.
//!
//! Digests are not keyed: what keeps a tenant's own role from changing them is PostgreSQL's rights.

use aws_lc_rs::digest::{Context, SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{source::Source, store};
use crate::{
    control::audit::{self as platform, Event, Place},
    error::{Error, Result},
    identity::Identity,
    tenancy::TenantTxn,
    types::TenantId,
};

/// How many events a batch has at most.
const BATCH: usize = 500;
/// A transaction that began so long before the newest chained event may still commit: nothing runs that long.
pub(super) const LATE: TimeDelta = TimeDelta::hours(1);
/// What the first batch follows.
pub(super) const BEGINNING: [u8; 32] = [0; 32];

pub(super) type Digest = [u8; 32];

/// The digest of all that an event says.
pub(super) fn of_event(event: &Event) -> Result<Digest> {
    let Event { id, at, actor, action, target, ip, user_agent, request_id, details } = event;
    let said = (id, at.timestamp_micros(), actor, action, target, (ip, user_agent, request_id), details);
    let text = serde_json::to_vec(&said).map_err(Error::internal)?;
    fixed(digest(&SHA256, &text).as_ref())
}

/// The digest of a batch: of its place in the chain, and of its events in the order of their ids.
pub(super) fn of_batch(source: Source<'_>, number: i64, previous: &[u8], events: &[(Uuid, Digest)]) -> Result<Digest> {
    let mut context = Context::new(&SHA256);
    context.update(b"freehold audit chain 1\0");
    context.update(source.log().as_bytes());
    context.update(b"\0");
    context.update(source.tenant().id.uuid().as_bytes());
    context.update(&number.to_be_bytes());
    context.update(previous);
    for (id, digest) in events {
        context.update(id.as_bytes());
        context.update(digest);
    }
    fixed(context.finish().as_ref())
}

pub(super) fn fixed(bytes: &[u8]) -> Result<Digest> {
    bytes.try_into().map_err(|_| Error::defect("a digest is not of 32 bytes"))
}

/// A batch to be added.
pub(super) struct New {
    pub(super) number: i64,
    pub(super) through: DateTime<Utc>,
    pub(super) previous: Digest,
    pub(super) digest: Digest,
    pub(super) events: Vec<(Uuid, Digest)>,
}

/// Chains what is not chained yet, up to one batch; how many events. Of several replicas that do so at once, one does.
pub(super) async fn extend(ctx: &Identity, source: Source<'_>) -> Result<usize> {
    let tenant = source.tenant().id;
    let last = store::last(&ctx.tenancy.connect(tenant).await?, source.log()).await?;
    let since = last.map(|last| last.through - LATE);
    // The platform's events come from another database: nothing is held meanwhile.
    let found = match source {
        Source::Tenant(_) => store::unchained(&ctx.tenancy.connect(tenant).await?, since, BATCH).await?,
        Source::Platform(_) => unchained_of_platform(ctx, tenant, since).await?,
    };
    if found.is_empty() {
        return Ok(0);
    }
    let mut connection = ctx.tenancy.connect(tenant).await?;
    let txn = connection.begin().await?;
    let Some(new) = next_in_txn(&txn, source, &found).await? else { return Ok(0) };
    if !store::add_batch(&txn, source.log(), &new).await? {
        // Another replica was first.
        return Ok(0);
    }
    txn.commit().await?;
    Ok(found.len())
}

/// The batch that these events make.
async fn next_in_txn(txn: &TenantTxn<'_>, source: Source<'_>, found: &[Event]) -> Result<Option<New>> {
    let last = store::last(txn, source.log()).await?;
    let (number, previous) = last.as_ref().map_or((1, BEGINNING), |last| (last.number + 1, last.digest));
    let newest = found.iter().map(|event| event.at).max();
    let through = newest.max(last.map(|last| last.through));
    let mut events = Vec::with_capacity(found.len());
    for event in found {
        events.push((event.id.uuid(), of_event(event)?));
    }
    events.sort_unstable();
    let digest = of_batch(source, number, &previous, &events)?;
    Ok(through.map(|through| New { number, through, previous, digest, events }))
}

async fn unchained_of_platform(
    ctx: &Identity,
    platform_tenant: TenantId,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<Event>> {
    let (mut found, mut after): (Vec<Event>, Option<Place>) = (Vec::new(), None);
    let limit = i64::try_from(BATCH).map_err(Error::internal)?;
    while found.len() < BATCH {
        let events = platform::oldest(&mut *ctx.db.acquire().await?, since, after, limit).await?;
        let Some(last) = events.last() else { break };
        after = Some((last.at, last.id));
        let ids: Vec<Uuid> = events.iter().map(|event| event.id.uuid()).collect();
        let chained = store::chained_among(&ctx.tenancy.connect(platform_tenant).await?, &ids).await?;
        found.extend(events.into_iter().filter(|event| !chained.contains(&event.id.uuid())));
    }
    found.truncate(BATCH);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::{AuditEventId, Clock, Random};

    fn event() -> Event {
        Event {
            id: AuditEventId::generate(&Clock::default(), Random),
            at: DateTime::UNIX_EPOCH,
            actor: "usr_1".into(),
            action: "login.succeeded".into(),
            target: Some("ses_1".into()),
            ip: Some("192.0.2.1".into()),
            user_agent: None,
            request_id: Some("r".into()),
            details: json!({ "b": 1, "a": [true] }),
        }
    }

    #[test]
    fn whatever_an_event_says_changes_its_digest() {
        let one = event();
        let same = of_event(&one).unwrap();
        let changes: [fn(&mut Event); 9] = [
            |event| event.id = AuditEventId::generate(&Clock::default(), Random),
            |event| event.at += TimeDelta::microseconds(1),
            |event| event.actor.push('0'),
            |event| event.action = "login".into(),
            |event| event.target = None,
            |event| event.ip = None,
            // The same text in another place.
            |event| (event.user_agent, event.request_id) = (event.request_id.take(), None),
            |event| event.request_id = Some(String::new()),
            |event| event.details = json!({ "b": 1, "a": [false] }),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = one.clone();
            change(&mut other);
            assert_ne!(of_event(&other).unwrap(), same, "change {at}");
        }
        assert_eq!(of_event(&one).unwrap(), same);
    }
}
