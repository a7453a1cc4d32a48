//! Why a file was not applied, as a sentence that names it.
//!
//! PostgreSQL's own message is quoted. Its DETAIL and CONTEXT hold a tenant's data and are left out, and so is what a
//! message quotes of a value that did not fit.

use std::{fmt::Display, time::Duration};

use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use super::transaction::Change;
use crate::error::Error;

/// PostgreSQL 17 and newer: the transaction was open for too long. The session ends with it.
const TRANSACTION_TIMEOUT: &str = "25P04";

/// A file does what no file may.
pub(super) fn refused(label: &str, reason: impl Display) -> Error {
    Error::Unprocessable { code: "migration_refused", detail: format!("{label}: {reason}") }
}

/// A file did not get a lock within its budget.
pub(super) fn locked_out(label: &str, tries: u32, budget: Duration) -> Error {
    let detail = format!(
        "{label}: another session holds a lock that the file needs; it was tried {tries} times within {} s",
        budget.as_secs()
    );
    Error::Conflict { code: "migration_lock_timeout", detail, retry_after: Some(Duration::from_mins(1)) }
}

/// PostgreSQL refused the file, or could not answer. `elapsed` of `bound` had passed.
pub(super) fn failed(change: &Change<'_>, error: &tokio_postgres::Error, elapsed: Duration, bound: Duration) -> Error {
    let label = &change.label;
    let Some(answer) = error.as_db_error() else { return with_context(error, label) };
    if let Some(reason) = misplaced(answer) {
        return refused(label, reason);
    }
    let state = answer.code().code();
    let is_timeout = *answer.code() == SqlState::QUERY_CANCELED || state == TRANSACTION_TIMEOUT;
    if is_timeout && elapsed >= bound {
        let detail = format!("{label}: it was stopped after {} s", bound.as_secs_f32());
        return Error::Unprocessable { code: "migration_timeout", detail };
    }
    match with_context(error, label) {
        Error::Internal(_) => {
            let line = line(answer, change.sql).map(|line| format!(", line {line}")).unwrap_or_default();
            let detail = format!("{label}{line}: {} (PostgreSQL {state})", message(answer));
            Error::Unprocessable { code: "migration_failed", detail }
        }
        other => other,
    }
}

/// What PostgreSQL does not execute within a file's transaction, and what to do about it.
fn misplaced(answer: &DbError) -> Option<&'static str> {
    let refuses_text = *answer.code() == SqlState::FEATURE_NOT_SUPPORTED
        && answer.routine().is_some_and(|routine| routine == "exec_stmt_dynexecute");
    if refuses_text && answer.message().contains("COPY") {
        return Some("a file cannot COPY from or to its client: write INSERT");
    }
    if refuses_text || *answer.code() == SqlState::INVALID_TRANSACTION_TERMINATION {
        return Some(
            "a file may not begin or end a transaction (BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like): Freehold \
             runs it and records it in one",
        );
    }
    None
}

/// The line of the file that PostgreSQL means, if it means one.
fn line(answer: &DbError, sql: &str) -> Option<usize> {
    let position = match answer.position()? {
        // One character stands before the file.
        ErrorPosition::Internal { position, query } if query.get(1..)?.starts_with(sql) => position.checked_sub(1)?,
        ErrorPosition::Internal { .. } => return None,
        ErrorPosition::Original(position) => *position,
    };
    let before = usize::try_from(position).ok()?.checked_sub(1)?;
    Some(sql.chars().take(before).filter(|c| *c == '\n').count() + 1)
}

/// What PostgreSQL says of a statement.
pub(super) fn sentence(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => match misplaced(answer) {
            Some(reason) => reason.to_owned(),
            None => format!("{} (PostgreSQL {})", message(answer), answer.code().code()),
        },
        None => error.to_string(),
    }
}

/// PostgreSQL's message. Those about data quote the value between double quotes.
fn message(answer: &DbError) -> String {
    let is_about_data = answer.code().code().starts_with("22");
    if is_about_data { without_quoted(answer.message()) } else { answer.message().to_owned() }
}

fn without_quoted(message: &str) -> String {
    let mut parts = message.split('"');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    // The last quote may be of the value itself.
    if let Some(last) = parts.next_back() {
        kept.push_str("\"…\"");
        kept.push_str(last);
    }
    kept
}

/// PostgreSQL's answer judged as everywhere else (`servers::errors`), with the file's name: busy is not broken.
fn with_context(error: &tokio_postgres::Error, label: &str) -> Error {
    let label = label.to_owned();
    match Error::from(error) {
        Error::Internal(cause) => Error::Internal(cause.context(label)),
        Error::Unavailable { code, detail, retry_after, source } => {
            Error::Unavailable { code, detail, retry_after, source: source.map(|cause| cause.context(label)) }
        }
        Error::Damaged { code, detail, source } => Error::Damaged { code, detail, source: source.context(label) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_left_out_of_messages() {
        for (message, told) in [
            ("division by zero", "division by zero"),
            (
                "invalid input syntax for type integer: \"7 rue \"du Lac\"\"",
                "invalid input syntax for type integer: \"…\"",
            ),
            ("value \"99\" is out of range for type integer", "value \"…\" is out of range for type integer"),
        ] {
            assert_eq!(without_quoted(message), told);
        }
    }
}
