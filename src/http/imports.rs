//! What both routes share on which people are imported: a body of lines, read as it arrives, and a result for each line.
//!
//! Nothing of the body is read before its sender is known. Lines are gathered into batches, each of which is one
//! transaction, so that no more than one batch is in memory. Before each batch the sender is asked for again: an import may
//! take minutes, and whoever has lost the right meanwhile imports nobody more.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, Request},
    http::{StatusCode, header, request::Parts},
};
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    admission::{self, Scope},
    extract::{body_refusal, read_object},
    openapi::Asks,
    problem::Problem,
};
use crate::{
    error::{Error, FieldError, Result},
    identity::imports::{Imported, Line, Person, State},
};

/// The largest import, in bytes.
pub(super) const LIMIT: usize = 64 * 1024 * 1024;
/// How long an import may take.
pub(super) const TIME: Duration = Duration::from_mins(10);
/// The media type of lines of JSON.
const NDJSON: &str = "application/x-ndjson";
/// The most lines of an import.
const MOST_LINES: u32 = 100_000;
/// The longest line, in bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// How many lines are one transaction.
const BATCH: usize = 200;
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);

/// Whether a path is one of an import.
pub(super) fn is_path(path: &str) -> bool {
    let of_tenant = path.strip_prefix("/platform/v1/tenants/").and_then(|rest| rest.strip_suffix("/users/import"));
    path == "/v1/users/import" || of_tenant.is_some_and(|id| !id.contains('/'))
}

/// How an import is made.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// Whether nobody is imported: the answer says what would become of each line.
    #[serde(default)]
    #[param(required = false)]
    pub(super) dry_run: bool,
}

/// What has become of an import.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ImportSummary {
    /// How many lines there were, without empty ones.
    lines: u32,
    /// How many accounts were made, or would be.
    created: u32,
    /// How many lines have an address that somebody had already.
    existing: u32,
    /// How many lines were refused.
    refused: u32,
    /// Whether nobody was imported.
    dry_run: bool,
    /// What has become of each line, in their order.
    results: Vec<Imported>,
}

impl ImportSummary {
    fn add(&mut self, result: Imported) {
        self.lines += 1;
        *match result.state {
            State::Created => &mut self.created,
            State::Exists => &mut self.existing,
            State::Refused => &mut self.refused,
        } += 1;
        self.results.push(result);
    }
}

/// Asks again who sends the request, and whether they still may: `check` says that.
pub(super) async fn again(
    state: &AppState,
    parts: &Parts,
    check: impl Fn(&Scope) -> Result<()>,
) -> Result<Scope, Problem> {
    let scope = admission::examine(state, parts, Asks::WhoComes).await?;
    check(&scope)?;
    Ok(scope)
}

/// A request whose body is lines of JSON. Nothing of them has been read.
pub(super) struct Sent {
    parts: Parts,
    body: Body,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let essence = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
        if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(NDJSON)) {
            return Ok(Self { parts, body });
        }
        let detail = "send the lines as Content-Type: application/x-ndjson";
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    }
}

/// An import under way.
pub(super) struct Import {
    lines: Lines,
    summary: ImportSummary,
    stop: CancellationToken,
    _turn: OwnedSemaphorePermit,
}

impl Import {
    /// Begins, and gives back all but the body: for another look at who sends it.
    ///
    /// # Errors
    /// `too_many_streams`: a summary of a hundred thousand lines takes memory.
    pub(super) fn of(state: &AppState, sent: Sent, dry_run: bool) -> Result<(Self, Parts)> {
        let busy = |_| Error::unavailable("too_many_streams", "too many imports are under way here", None);
        let turn = state.streams.imports.clone().try_acquire_owned().map_err(busy)?;
        let summary = ImportSummary { dry_run, ..ImportSummary::default() };
        let stop = state.streams.stop.clone();
        Ok((Self { lines: Lines::of(sent.body), summary, stop, _turn: turn }, sent.parts))
    }

    /// The next batch of lines, until there are no more; none any more once this replica stops.
    pub(super) async fn batch(&mut self) -> Result<Option<Vec<Line>>, Problem> {
        let stopping = || Error::unavailable("shutting_down", "the server is shutting down", None);
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let next = self.stop.run_until_cancelled(self.lines.next()).await;
            let Some(line) = next.ok_or_else(stopping)?? else { break };
            batch.push(line);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Notes what has become of a batch.
    pub(super) fn add(&mut self, results: Vec<Imported>) {
        for result in results {
            self.summary.add(result);
        }
    }

    /// What has become of all.
    pub(super) fn summary(self) -> ImportSummary {
        self.summary
    }
}

/// The lines of a body, one after the other.
struct Lines {
    body: BodyDataStream,
    buffer: BytesMut,
    /// How much of the buffer has no end of a line.
    looked_at: usize,
    number: u32,
    has_ended: bool,
    /// Whether the line is being left out, up to its end, because it is too long.
    is_leaving_out: bool,
}

impl Lines {
    fn of(body: Body) -> Self {
        let body = body.into_data_stream();
        Self { body, buffer: BytesMut::new(), looked_at: 0, number: 0, has_ended: false, is_leaving_out: false }
    }

    /// The next line that is not empty.
    async fn next(&mut self) -> Result<Option<Line>, Problem> {
        while let Some(text) = self.take().await? {
            self.number += 1;
            if matches!(&text, Some(text) if text.trim_ascii().is_empty()) {
                continue;
            }
            if self.number > MOST_LINES {
                let detail = "an import has at most 100,000 lines; those before this one have been imported";
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail));
            }
            return Ok(Some(self.judged(text)));
        }
        Ok(None)
    }

    /// `None` stands for a line that is too long.
    fn judged(&self, text: Option<BytesMut>) -> Line {
        let too_long = || FieldError::new(".", "too_long", "a line has at most 16 KiB");
        let person = text.ok_or_else(too_long).and_then(|text| read_object::<Person>(&text).map_err(as_field));
        Line { number: self.number, person }
    }

    /// The next line, or that there is one which is too long; `None` at the end.
    async fn take(&mut self) -> Result<Option<Option<BytesMut>>, Problem> {
        loop {
            if let Some(at) = self.buffer[self.looked_at..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.looked_at + at + 1);
                line.truncate(line.len() - 1);
                return Ok(Some(self.unless_too_long(line)));
            }
            self.looked_at = self.buffer.len();
            if self.has_ended {
                let rest = std::mem::take(&mut self.buffer);
                self.looked_at = 0;
                let is_line = !rest.is_empty() || self.is_leaving_out;
                return Ok(is_line.then(|| self.unless_too_long(rest)));
            }
            if self.buffer.len() > LONGEST_LINE {
                self.is_leaving_out = true;
                self.buffer.clear();
                self.looked_at = 0;
            }
            self.read().await?;
        }
    }

    fn unless_too_long(&mut self, line: BytesMut) -> Option<BytesMut> {
        self.looked_at = 0;
        let is_too_long = std::mem::take(&mut self.is_leaving_out) || line.len() > LONGEST_LINE;
        (!is_too_long).then_some(line)
    }

    async fn read(&mut self) -> Result<(), Problem> {
        let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long to arrive");
        match timeout(SILENCE, self.body.next()).await.map_err(late)? {
            None => self.has_ended = true,
            Some(Ok(piece)) => self.buffer.extend_from_slice(piece.chunk()),
            Some(Err(error)) => return Err(body_refusal(&error)),
        }
        Ok(())
    }
}

/// The first thing that is wrong with a line.
fn as_field(error: Error) -> FieldError {
    match error {
        Error::Validation(mut errors) if !errors.is_empty() => errors.swap_remove(0),
        Error::BadRequest { code, .. } => FieldError::new(".", code, "is not well-formed JSON"),
        other => FieldError::new(".", other.code(), "cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    /// What is told of each line, where the body arrives in pieces of this size.
    async fn read(text: &str, piece: usize) -> Vec<(u32, String)> {
        let pieces: Vec<_> = text.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect();
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)));
        let (mut lines, mut found) = (Lines::of(body), Vec::new());
        while let Ok(Some(Line { number, person })) = lines.next().await {
            found.push((
                number,
                match person {
                    Ok(person) => person.email.to_string(),
                    Err(error) => format!("{} {}", error.field, error.code),
                },
            ));
        }
        found
    }

    #[tokio::test]
    async fn lines_are_the_same_however_they_arrive() {
        let long = format!(r#"{{"email":"long@example.com","name":"{}"}}"#, "x".repeat(LONGEST_LINE));
        let text = format!(
            "{{\"email\":\"ada@example.com\"}}\r\n\n{long}\n{{\"email\":1}}\n{{\n[]\n{{\"email\":\"b@example.com\",\"id\":1}}\n\
             {{\"email\":\"last@example.com\"}}"
        );
        let expected = [
            (1, "ada@example.com"),
            (3, ". too_long"),
            (4, "email invalid_type"),
            (5, ". malformed_json"),
            (6, ". invalid_type"),
            (7, "id unknown_field"),
            (8, "last@example.com"),
        ];
        for piece in [1, 2, 7, 1_000, LONGEST_LINE, LONGEST_LINE + 1, 1 << 20] {
            let found = read(&text, piece).await;
            let found: Vec<_> = found.iter().map(|(number, told)| (*number, told.as_str())).collect();
            assert_eq!(found, expected, "{piece}");
            let ended = read(&format!("{text}\n"), piece).await;
            assert_eq!(ended.len(), expected.len(), "{piece}");
        }
        assert!(read("", 1).await.is_empty() && read("\n \n", 1).await.is_empty());
        assert_eq!(read(&"x".repeat(LONGEST_LINE * 3), 1_000).await, [(1, ". too_long".to_owned())]);
        assert_eq!(read(&long, 1_000).await, [(1, ". too_long".to_owned())]);
    }

    #[test]
    fn only_imports_may_be_large() {
        for (path, expected) in [
            ("/v1/users/import", true),
            ("/platform/v1/tenants/ten_1/users/import", true),
            ("/platform/v1/tenants/a/b/users/import", false),
            ("/v1/users", false),
            ("/v1/users/import/", false),
        ] {
            assert_eq!(is_path(path), expected, "{path}");
        }
    }
}
