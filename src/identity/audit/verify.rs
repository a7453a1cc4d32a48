//! Verifies the chain of an audit log, some batches at a time.

use std::{collections::BTreeMap, fmt::Write};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    chain::{self, BEGINNING, Digest, LATE},
    source::Source,
    store::{self, Batch},
};
use crate::{
    control::audit::{self as platform, Event, Place},
    error::{FieldError, Result},
    identity::{Identity, require_people_schema},
    tenancy::TenantConn,
    types::AuditEventId,
};

/// How many batches one call looks at: within the time of a request.
const BATCHES: i64 = 40;
/// How many events of the platform's own log are read at once.
const PIECE: i64 = 5_000;
/// How many findings one call tells.
const MOST_FINDINGS: usize = 100;

/// What a look at the chain has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AuditChainState)]
pub enum Verdict {
    /// All is as it was written.
    Intact,
    /// Something was changed, removed or slipped in.
    Broken,
}

/// One thing that is not as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditChainFinding)]
pub struct Finding {
    /// `event_changed`, `event_removed`, `event_slipped_in`, `batch_changed`, `batch_removed`, `head_differs`.
    pub code: &'static str,
    /// The batch.
    pub batch: Option<i64>,
    /// The event.
    pub event: Option<AuditEventId>,
}

/// The newest batch. Note it elsewhere: a later look can tell whether the chain still goes through it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditChainHead)]
pub struct Head {
    /// Its number.
    pub number: i64,
    /// Its digest, in hexadecimal digits.
    pub digest: String,
}

/// What is known of the chain of an audit log after these batches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditChain)]
pub struct Chain {
    /// Whether all that was looked at is as it was written.
    pub state: Verdict,
    /// How many batches were looked at.
    pub batches: i64,
    /// How many events were looked at.
    pub events: i64,
    /// Events of the log that no batch has yet. Told with the last batches.
    pub unchained: Option<i64>,
    /// Up to this batch events were taken away because of their age.
    pub aged_through: Option<i64>,
    /// The newest batch.
    #[schema(inline)]
    pub head: Option<Head>,
    /// What is wrong: the first hundred.
    #[schema(inline)]
    pub findings: Vec<Finding>,
    /// Where to go on (`after`); null when these were the last batches.
    pub next: Option<i64>,
}

/// A batch that somebody has noted: `12:…`, its number and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    number: i64,
    digest: String,
}

impl Expected {
    /// Reads it.
    ///
    /// # Errors
    /// `invalid_value` on `head`.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once(':').and_then(|(number, digest)| {
            let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            let number = number.parse().ok().filter(|number| *number > 0)?;
            is_digest.then(|| Self { number, digest: digest.to_ascii_lowercase() })
        });
        let message = "must be the number and the digest of a batch, with a colon between";
        parsed.ok_or_else(|| FieldError::new("head", "invalid_value", message).into())
    }
}

struct Look<'a> {
    source: Source<'a>,
    findings: Vec<Finding>,
    events: i64,
}

impl Look<'_> {
    fn find(&mut self, code: &'static str, batch: Option<i64>, event: Option<Uuid>) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding { code, batch, event: event.map(AuditEventId::from_uuid) });
        }
    }
}

/// Looks at the batches after `after`, and whether the chain goes through `expected`.
///
/// # Errors
/// The database cannot be reached.
pub async fn verify(
    ctx: &Identity,
    source: Source<'_>,
    after: Option<i64>,
    expected: Option<&Expected>,
) -> Result<Chain> {
    require_people_schema(source.tenant())?;
    let after = after.unwrap_or_default();
    let mut look = Look { source, findings: Vec::new(), events: 0 };
    let (aged, batches, mut previous) = begin(ctx, &mut look, after, expected).await?;
    let mut number = after;
    for batch in &batches {
        number += 1;
        if batch.number != number {
            look.find("batch_removed", Some(number), None);
            (previous, number) = (None, batch.number);
        }
        if previous.is_some_and(|previous| previous != batch.previous) {
            look.find("batch_changed", Some(number), None);
        }
        if aged.is_none_or(|aged| number > aged) {
            look_at_batch(ctx, &mut look, batch).await?;
        }
        previous = Some(batch.digest);
    }
    let is_last = i64::try_from(batches.len()).is_ok_and(|count| count < BATCHES);
    let unchained = if is_last { Some(look_at_rest(ctx, &mut look).await?) } else { None };
    let last = store::last(&connect(ctx, source).await?, source.log()).await?;
    ctx.unchained.note(source.tenant().id);
    let state = if look.findings.is_empty() { Verdict::Intact } else { Verdict::Broken };
    Ok(Chain {
        state,
        batches: i64::try_from(batches.len()).unwrap_or(i64::MAX),
        events: look.events,
        unchained,
        aged_through: aged,
        head: last.map(|last| Head { number: last.number, digest: hex(&last.digest) }),
        findings: look.findings,
        next: (!is_last).then_some(number),
    })
}

/// The chain's database. Let go of before the events of the platform's own log are read from another one.
async fn connect(ctx: &Identity, source: Source<'_>) -> Result<TenantConn> {
    ctx.tenancy.connect(source.tenant().id).await
}

/// The batch up to which events went because of their age, the batches to look at, and the digest that they follow.
async fn begin(
    ctx: &Identity,
    look: &mut Look<'_>,
    after: i64,
    expected: Option<&Expected>,
) -> Result<(Option<i64>, Vec<Batch>, Option<Digest>)> {
    let (connection, log) = (connect(ctx, look.source).await?, look.source.log());
    if let Some(expected) = expected {
        let batch = store::batch(&connection, log, expected.number).await?;
        if batch.is_none_or(|batch| hex(&batch.digest) != expected.digest) {
            look.find("head_differs", Some(expected.number), None);
        }
    }
    let previous = match after {
        0 => Some(BEGINNING),
        number => store::batch(&connection, log, number).await?.map(|batch| batch.digest),
    };
    let aged = store::horizon(&connection, log).await?;
    Ok((aged, store::batches(&connection, log, after, BATCHES).await?, previous))
}

async fn look_at_batch(ctx: &Identity, look: &mut Look<'_>, batch: &Batch) -> Result<()> {
    let source = look.source;
    let digests = store::digests(&connect(ctx, source).await?, source.log(), batch.number).await?;
    if chain::of_batch(source, batch.number, &batch.previous, &digests)? != batch.digest {
        look.find("batch_changed", Some(batch.number), None);
    }
    let ids: Vec<Uuid> = digests.iter().map(|(id, _)| *id).collect();
    let found = match source {
        Source::Tenant(_) => store::these(&connect(ctx, source).await?, &ids).await?,
        Source::Platform(_) => platform::these(&mut *ctx.db.acquire().await?, &ids).await?,
    };
    let present: BTreeMap<Uuid, Event> = found.into_iter().map(|event| (event.id.uuid(), event)).collect();
    for (id, digest) in &digests {
        look.events += 1;
        match present.get(id) {
            None => look.find("event_removed", Some(batch.number), Some(*id)),
            Some(event) if chain::of_event(event)? != *digest => {
                look.find("event_changed", Some(batch.number), Some(*id));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Counts the events that are in no batch: new ones are to be expected, others were slipped in with the time of older
/// ones.
async fn look_at_rest(ctx: &Identity, look: &mut Look<'_>) -> Result<i64> {
    let source = look.source;
    let last = store::last(&connect(ctx, source).await?, source.log()).await?;
    let late = last.map(|last| last.through - LATE);
    match source {
        Source::Tenant(_) => {
            let connection = connect(ctx, source).await?;
            if let Some(late) = late {
                let limit = i64::try_from(MOST_FINDINGS).unwrap_or(i64::MAX);
                for id in store::slipped_in(&connection, late, limit).await? {
                    look.find("event_slipped_in", None, Some(id));
                }
            }
            store::count_unchained(&connection).await
        }
        Source::Platform(_) => rest_of_platform(ctx, look, late).await,
    }
}

async fn rest_of_platform(ctx: &Identity, look: &mut Look<'_>, late: Option<DateTime<Utc>>) -> Result<i64> {
    let (mut unchained, mut after): (i64, Option<Place>) = (0, None);
    loop {
        let page = platform::oldest(&mut *ctx.db.acquire().await?, None, after, PIECE).await?;
        let Some(newest) = page.last() else { return Ok(unchained) };
        after = Some((newest.at, newest.id));
        let ids: Vec<Uuid> = page.iter().map(|event| event.id.uuid()).collect();
        let chained = store::chained_among(&connect(ctx, look.source).await?, &ids).await?;
        for event in page.iter().filter(|event| !chained.contains(&event.id.uuid())) {
            unchained += 1;
            if late.is_some_and(|late| event.at < late) {
                look.find("event_slipped_in", None, Some(event.id.uuid()));
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_batch_is_a_number_and_a_digest() {
        let digest = "0A".repeat(32);
        let parsed = Expected::parse(&format!("12:{digest}")).unwrap();
        assert_eq!((parsed.number, parsed.digest.as_str()), (12, "0a".repeat(32).as_str()));
        for bad in ["", "12", "0:", &format!("0:{digest}"), &format!("-1:{digest}"), "1:0a", &digest] {
            assert!(Expected::parse(bad).is_err(), "{bad}");
        }
    }
}
