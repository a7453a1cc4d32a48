//! Audit logs as answers: lines of a list, and whole logs as CSV or as NDJSON.
//!
//! An export is read page by page while its client takes it: memory holds a page, no connection is held between two, and a
//! client that takes nothing is given up. The answer ends as HTTP says only if it is whole.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Caller,
        audit::{self, AuditEvent, Chain, Expected, Filter, Place, Source},
    },
    types::AuditEventId,
};

/// How many events are read at once.
const PIECE: i64 = 500;
/// How long a client may take for a piece, and for the whole.
const SLOWEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(30);

/// A line of an audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(super) struct View {
    /// Its id.
    pub(super) id: AuditEventId,
    /// When.
    pub(super) at: DateTime<Utc>,
    /// Who.
    actor: String,
    /// What.
    #[schema(example = "user.role_changed")]
    action: String,
    /// To what.
    target: Option<String>,
    /// From where.
    ip: Option<String>,
    /// With what.
    user_agent: Option<String>,
    /// Ties the event to log lines.
    request_id: Option<String>,
    /// More, by action.
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

impl From<AuditEvent> for View {
    fn from(event: AuditEvent) -> Self {
        let AuditEvent { id, at, actor, action, target, ip, user_agent, request_id, details } = event;
        Self { id, at, actor, action, target, ip, user_agent, request_id, details }
    }
}

/// Which events are looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventFilter {
    /// Only what this one did: `usr_…`, `key_…`, `anonymous`, `system`.
    actor: Option<String>,
    /// Only this action, or all of one kind: `user` finds `user.deleted`.
    action: Option<String>,
    /// Only what was done to this: an id.
    target: Option<String>,
    /// Only from then on.
    since: Option<DateTime<Utc>>,
    /// Only before then.
    until: Option<DateTime<Utc>>,
}

impl From<EventFilter> for Filter {
    fn from(asked: EventFilter) -> Self {
        let EventFilter { actor, action, target, since, until } = asked;
        Self { actor, action, target, since, until }
    }
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values (RFC 4180) with a line of names.
    Csv,
}

/// Which events are exported, and as what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `ndjson` or `csv`.
    #[param(inline)]
    format: Format,
    /// As for the list.
    actor: Option<String>,
    /// As for the list.
    action: Option<String>,
    /// As for the list.
    target: Option<String>,
    /// As for the list.
    since: Option<DateTime<Utc>>,
    /// As for the list.
    until: Option<DateTime<Utc>>,
}

/// Which part of a chain is looked at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChainQuery {
    /// `next` of the look before; absent: from the beginning.
    #[param(minimum = 0)]
    after: Option<u32>,
    /// A batch that was noted before, its number and its digest: `12:5f0c…`. The chain has to go through it.
    head: Option<String>,
}

/// Looks at a part of the chain.
pub(super) async fn verify(state: &AppState, source: Source<'_>, query: ChainQuery) -> Result<Chain> {
    let expected = query.head.as_deref().map(Expected::parse).transpose()?;
    audit::verify(&state.identity, source, query.after.map(i64::from), expected.as_ref()).await
}

/// Which log an export is of.
#[derive(Clone, Debug)]
pub(super) enum Log {
    /// That of a tenant's people.
    Tenant(Arc<Tenant>),
    /// The platform's own, with the platform tenant.
    Platform(Arc<Tenant>),
}

impl Log {
    pub(super) fn source(&self) -> Source<'_> {
        match self {
            Self::Tenant(tenant) => Source::Tenant(tenant),
            Self::Platform(tenant) => Source::Platform(tenant),
        }
    }
}

/// What the reading task hands over. Without the end, the export is not whole.
enum Part {
    Bytes(Bytes),
    End,
}

/// Answers with all events that match, the newest first. The log names each export.
pub(super) async fn export(state: &AppState, caller: Caller<'_>, log: Log, query: ExportQuery) -> Result<Response> {
    let busy = |_| Error::unavailable("too_many_streams", "too many logs are being exported here", None);
    let slot = state.streams.logs.clone().try_acquire_owned().map_err(busy)?;
    let ExportQuery { format, actor, action, target, since, until } = query;
    let (name, media_type) = match format {
        Format::Ndjson => ("ndjson", "application/x-ndjson"),
        Format::Csv => ("csv", CSV),
    };
    audit::export_began(&state.identity, caller, log.source(), name).await?;
    let filter = Filter { actor, action, target, since, until };
    let (sender, receiver) = mpsc::channel(1);
    let (state, stop) = (state.clone(), state.streams.stop.clone());
    state.tasks.clone().spawn(async move {
        let _slot = slot;
        let sending = timeout(LONGEST, send(&state, &log, (&filter, format), &sender));
        match stop.run_until_cancelled(sending).await {
            Some(Ok(Ok(events))) => tracing::info!(events, "an audit log was exported"),
            Some(Ok(Err(error))) => tracing::warn!(error = error.chain(), "an export of an audit log ended early"),
            Some(Err(_)) | None => tracing::warn!("an export of an audit log was given up"),
        }
    });
    let file = format!("attachment; filename=\"audit-events.{name}\"");
    let headers = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-store"), (CONTENT_DISPOSITION, file.as_str())];
    Ok((headers, Body::from_stream(received(receiver))).into_response())
}

async fn send(
    state: &AppState,
    log: &Log,
    (filter, format): (&Filter, Format),
    sender: &Sender<Part>,
) -> Result<usize> {
    let hand = async |part| {
        let gone = |_| Error::defect("the client has not taken the whole log");
        sender.send_timeout(part, SLOWEST).await.map_err(gone)
    };
    if format == Format::Csv {
        hand(Part::Bytes(Bytes::from_static(NAMES.as_bytes()))).await?;
    }
    let (mut events, mut before): (usize, Option<Place>) = (0, None);
    loop {
        let page = audit::page(&state.identity, log.source(), filter, before, PIECE).await?;
        let Some(last) = page.last() else { break };
        before = Some((last.at, last.id));
        events += page.len();
        let is_last = i64::try_from(page.len()).is_ok_and(|count| count < PIECE);
        hand(Part::Bytes(piece(page, format)?)).await?;
        if is_last {
            break;
        }
    }
    hand(Part::End).await?;
    Ok(events)
}

fn received(receiver: Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(receiver, async |mut receiver| match receiver.recv().await {
        Some(Part::Bytes(bytes)) => Ok(Some((bytes, receiver))),
        Some(Part::End) => Ok(None),
        None => Err(io::Error::other("the export has ended early")),
    })
}

/// The media type of comma-separated values.
const CSV: &str = "text/csv; charset=utf-8";

const NAMES: &str = "id,at,actor,action,target,ip,user_agent,request_id,details\r\n";

fn piece(events: Vec<AuditEvent>, format: Format) -> Result<Bytes> {
    let mut text = Vec::new();
    for event in events {
        match format {
            Format::Ndjson => {
                serde_json::to_writer(&mut text, &View::from(event)).map_err(Error::internal)?;
                text.push(b'\n');
            }
            Format::Csv => text.extend_from_slice(row(&event).as_bytes()),
        }
    }
    Ok(text.into())
}

fn row(event: &AuditEvent) -> String {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let cells = [
        event.id.to_string(),
        event.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        event.actor.clone(),
        event.action.clone(),
        text(event.target.as_deref()),
        text(event.ip.as_deref()),
        text(event.user_agent.as_deref()),
        text(event.request_id.as_deref()),
        event.details.to_string(),
    ];
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell in quotes. What a spreadsheet would take for a formula begins with an apostrophe: a client chooses its own
/// `User-Agent`.
fn cell(text: &str) -> String {
    let is_formula =
        text.trim_start().starts_with(['=', '+', '-', '@', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
            || text.starts_with(['\t', '\r', '\n']);
    let apostrophe = if is_formula { "'" } else { "" };
    format!("\"{apostrophe}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_ends_early() {
        for (text, written) in [
            ("", "\"\""),
            ("Mozilla/5.0", "\"Mozilla/5.0\""),
            ("a\",\"b", "\"a\"\",\"\"b\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            (" =1", "\"' =1\""),
            ("\t=1", "\"'\t=1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
        ] {
            assert_eq!(cell(text), written);
        }
    }

    #[tokio::test]
    async fn an_export_that_breaks_off_never_ends_as_a_whole_one() {
        let (sender, receiver) = mpsc::channel(4);
        sender.send(Part::Bytes(Bytes::from_static(b"half"))).await.unwrap_or_else(|_| panic!("nobody listens"));
        drop(sender);
        assert!(received(receiver).try_collect::<Vec<_>>().await.is_err());
    }
}
