//! The domain's errors. They know no HTTP: `http::problem` is the one place that turns them into answers.
//!
//! Every error has two texts. The public one (`code` and `detail`) may be shown to anybody who caused it; the
//! internal one (a source chain) goes to the log and to Sentry and never into a body. Codes are stable and
//! listed in docs/API.md; a test keeps that list true.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::types::Invalid;

/// What the domain answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be understood (400).
    #[error("{detail}")]
    BadRequest {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// Well-formed, but one or more fields are wrong (422). Never empty.
    #[error("{} of the fields sent are not acceptable", .0.len())]
    Validation(Vec<FieldError>),
    /// Well-formed, but cannot be followed for a reason that belongs to no field (422).
    #[error("{detail}")]
    Unprocessable {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// Nobody known is asking (401).
    #[error("{detail}")]
    Unauthenticated {
        /// Stable code.
        code: &'static str,
        /// For people; the same for every cause that must not be told apart.
        detail: &'static str,
    },
    /// The one who asks is known, and has to prove again that they are there (401, RFC 9470).
    #[error("prove again that it is you: the last proof of this session is too old for this change")]
    StaleProof {
        /// How old a proof may be.
        max_age: Duration,
    },
    /// The one who asks is known and may not (403).
    #[error("{detail}")]
    Forbidden {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// There is no such thing, or none that the asker may know of (404).
    #[error("{detail}")]
    NotFound {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// It was there and is gone for good (410).
    #[error("{detail}")]
    Gone {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// The state of the world forbids it (409).
    #[error("{detail}")]
    Conflict {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: String,
        /// When trying again may help.
        retry_after: Option<Duration>,
    },
    /// `If-Match` names another version than the present one (412).
    #[error("the resource has changed since it was read")]
    PreconditionFailed,
    /// Too often (429).
    #[error("{}", too_many(code))]
    TooMany {
        /// Stable code: `too_many_attempts`, `deletion_limit` or `rate_limited`.
        code: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// Something that is needed is away or busy (503).
    #[error("{detail}")]
    Unavailable {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: &'static str,
        /// When to come back.
        retry_after: Duration,
        /// The cause, for the log.
        #[source]
        source: Option<anyhow::Error>,
    },
    /// Something of Freehold's own is gone, or others have changed it: an operator has to mend it (500).
    #[error("{detail}")]
    Damaged {
        /// Stable code.
        code: &'static str,
        /// For people.
        detail: &'static str,
        /// The cause, for the log.
        #[source]
        source: anyhow::Error,
    },
    /// A defect or a broken assumption (500). The cause is logged where it is handled.
    #[error("an internal error")]
    Internal(#[source] anyhow::Error),
}

fn too_many(code: &str) -> &'static str {
    match code {
        "too_many_attempts" => "too many attempts failed; wait before the next one",
        "deletion_limit" => "as many tenants as may be were deleted within the last hour",
        _ => "too many requests",
    }
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field: `admin.email`.
    pub field: String,
    /// Stable code: `required`, `unknown_field`, `invalid_format`, …
    pub code: Cow<'static, str>,
    /// For people; says what would be accepted.
    pub message: String,
}

impl FieldError {
    /// An error on `field` with its stable `code`.
    pub fn new(field: impl Into<String>, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }

    /// The field whose text is not the value it was meant to be.
    pub fn invalid(field: impl Into<String>, invalid: Invalid) -> Self {
        Self { field: field.into(), code: invalid.code.into(), message: invalid.message }
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::Validation(vec![error])
    }
}

/// How serious an error is to those who run Freehold: decides log level and whether Sentry hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The asker's doing; not logged above debug.
    Client,
    /// A dependency is away; logged as a warning.
    Dependency,
    /// Ours, or an operator's, to mend; logged as an error and sent to Sentry.
    Defect,
}

impl Error {
    /// A missing thing: `not_found`, the same text whether it never was or belongs to somebody else.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::NotFound { code: "not_found", detail: format!("there is no such {what}") }
    }

    /// A conflict that trying again does not mend.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), retry_after: None }
    }

    /// The error of a look-up that several callers waited for: it cannot be moved out, so each gets its like.
    #[must_use]
    pub fn shared(error: Arc<Self>) -> Self {
        match Arc::try_unwrap(error) {
            Ok(error) => error,
            Err(error) => match &*error {
                Self::Unauthenticated { code, detail } => Self::Unauthenticated { code, detail },
                Self::Forbidden { code, detail } => Self::Forbidden { code, detail: detail.clone() },
                Self::Unavailable { code, detail, retry_after, .. } => {
                    let source = Some(anyhow::Error::msg(error.chain()));
                    Self::Unavailable { code, detail, retry_after: *retry_after, source }
                }
                Self::Damaged { code, detail, .. } => {
                    Self::Damaged { code, detail, source: anyhow::Error::msg(error.chain()) }
                }
                other => Self::defect(other.chain()),
            },
        }
    }

    /// Something needed is away: its users should come back in a second.
    pub fn unavailable(code: &'static str, detail: &'static str, source: impl Into<Option<anyhow::Error>>) -> Self {
        Self::Unavailable { code, detail, retry_after: Duration::from_secs(1), source: source.into() }
    }

    /// A broken assumption.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// A broken assumption, in words for the log.
    pub fn defect(message: impl Into<String>) -> Self {
        Self::Internal(anyhow::Error::msg(message.into()))
    }

    /// The error that a reader of ours ended with (it crosses `io::Error` as its inner error), or what the system said.
    #[must_use]
    pub fn from_reader(error: std::io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::internal)
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { code, .. }
            | Self::Unprocessable { code, .. }
            | Self::Unauthenticated { code, .. }
            | Self::Forbidden { code, .. }
            | Self::NotFound { code, .. }
            | Self::Gone { code, .. }
            | Self::Conflict { code, .. }
            | Self::TooMany { code, .. }
            | Self::Unavailable { code, .. }
            | Self::Damaged { code, .. } => code,
            Self::Validation(_) => "validation_failed",
            Self::StaleProof { .. } => "insufficient_user_authentication",
            Self::PreconditionFailed => "precondition_failed",
            Self::Internal(_) => "internal",
        }
    }

    /// How serious it is to those who run Freehold.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Internal(_) | Self::Damaged { .. } => Severity::Defect,
            Self::Unavailable { .. } => Severity::Dependency,
            _ => Severity::Client,
        }
    }

    /// What operators are told of an operation's or a step's failure: the code, for programs, and the public text.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}: {self}", self.code())
    }

    /// Whether the same call may succeed later without anybody changing it: what an operation retries.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TooMany { .. } | Self::Conflict { retry_after: Some(_), .. })
    }

    /// The source chain in one line, for logs and the internal error column of operations.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

/// The first `most` of these names, and how many more there are: for sentences about many.
pub(crate) fn first_of(names: &[impl AsRef<str>], most: usize) -> String {
    let first = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_the_first_and_counts_the_rest() {
        let names: Vec<_> = (1..=22).map(|number| format!("r{number}")).collect();
        assert!(first_of(&names, 20).ends_with("r20 and 2 more"));
        assert_eq!(first_of(&names[..2], 20), "r1, r2");
    }
}
