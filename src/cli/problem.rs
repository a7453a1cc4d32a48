//! Why a call to the API did not succeed, in words that say what to do.

use std::{fmt, time::Duration};

use reqwest::StatusCode;
use serde::Deserialize;

use super::output::printable;

/// Why a call to the API did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens there: nothing was sent.
    #[error("cannot reach Freehold at {url}: start it, or set FREEHOLD_URL to the address of its admin listener")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// It may have been followed or not.
    #[error("the connection to Freehold at {url} was lost: try again")]
    Lost {
        /// Where it was.
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// Freehold's own words.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Not Freehold, or not the listener that was meant.
    #[error("{url} answered with status {status}, but not as Freehold does: set FREEHOLD_URL to its admin listener")]
    Foreign {
        /// What was asked.
        url: String,
        /// What it said.
        status: StatusCode,
    },
}

impl ClientError {
    /// What Freehold said, if it said anything.
    pub(super) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// How long to wait before the same call may succeed; nothing when it will not.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => Some(Duration::from_millis(500)),
            Self::Refused(problem) => problem.retry_after,
            Self::Foreign { status, .. } => status.is_server_error().then_some(Duration::from_secs(1)),
        }
    }
}

/// An `application/problem+json` body (RFC 9457).
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    /// Stable, for programs.
    pub(super) code: String,
    detail: String,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    errors: Vec<FieldProblem>,
    #[serde(default)]
    status: u16,
    /// From the header of the same name.
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
}

/// What is wrong with one field.
#[derive(Debug, Deserialize)]
struct FieldProblem {
    field: String,
    message: String,
}

impl Problem {
    fn advice(&self) -> &'static str {
        match (self.status, self.code.as_str()) {
            (401, _) => "; set FREEHOLD_API_KEY to an operator's API key",
            (403, "forbidden") => "; use the key of an operator who has this right",
            (_, "route_not_found") => "; set FREEHOLD_URL to the address of the admin listener",
            (503, _) => "; try again in a moment",
            _ => "",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ({})", printable(&self.detail), self.advice(), printable(&self.code))?;
        for FieldProblem { field, message } in &self.errors {
            write!(f, "\n  {}: {}", printable(field), printable(message))?;
        }
        match &self.request_id {
            Some(id) => write!(f, "\n  request: {}", printable(id)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_with_its_fields_and_its_request() {
        let problem: Problem = serde_json::from_value(json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "validation_failed",
            "detail": "1 of the fields sent are not acceptable", "request_id": "req-1",
            "errors": [{ "field": "plan", "code": "unknown_plan", "message": "there is no such plan" }],
        }))
        .unwrap();
        assert_eq!(
            ClientError::Refused(Box::new(problem)).to_string(),
            "1 of the fields sent are not acceptable (validation_failed)\n  plan: there is no such plan\n  request: req-1"
        );
    }
}
