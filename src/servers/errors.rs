//! What PostgreSQL's errors mean to the domain.
//!
//! A server that is away, full, busy or restarting is `Unavailable`: the same call may succeed later. A database that
//! is not there, and a password that is refused, are damage that others have done. A schema that changes beneath a
//! statement is `Unavailable` too. All else is a broken assumption.
//! The server's DETAIL and CONTEXT hold customer data and are left out of every text.

use tokio_postgres::error::SqlState;

use crate::error::Error;

/// The name of the constraint that refused a write.
#[must_use]
pub fn constraint(error: &tokio_postgres::Error) -> Option<&str> {
    error.as_db_error().and_then(tokio_postgres::error::DbError::constraint)
}

/// Whether PostgreSQL answered with this SQLSTATE.
#[must_use]
pub fn is_sqlstate(error: &tokio_postgres::Error, state: &SqlState) -> bool {
    error.code() == Some(state)
}

/// Somebody else made it between the look and the statement (the index answers when both were under way).
pub(super) fn is_taken(error: &tokio_postgres::Error) -> bool {
    [SqlState::DUPLICATE_OBJECT, SqlState::DUPLICATE_DATABASE, SqlState::UNIQUE_VIOLATION]
        .iter()
        .any(|state| is_sqlstate(error, state))
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&tokio_postgres::Error> for Error {
    fn from(error: &tokio_postgres::Error) -> Self {
        let cause = anyhow::Error::msg(describe(error));
        match error.code() {
            Some(&SqlState::QUERY_CANCELED) => {
                Self::unavailable("statement_timeout", "the database took too long to answer", cause)
            }
            Some(&SqlState::UNDEFINED_DATABASE) => {
                let detail = "a database of Freehold's is not on its server";
                Self::Damaged { code: "database_missing", detail, source: cause }
            }
            Some(_) if is_of_another_schema(error) => schema_changed(error),
            Some(state) if is_transient(state) => unavailable(cause),
            None if is_of_another_type(error) => schema_changed(error),
            None if is_connection_failure(error) => unavailable(cause),
            _ => Self::Internal(cause),
        }
    }
}

/// The server is away or busy.
pub(super) fn unavailable(cause: anyhow::Error) -> Error {
    Error::unavailable("tenant_database_unavailable", "the database cannot be reached at the moment", cause)
}

/// PostgreSQL refuses every password that `whose` role may have: the role is gone, or others have changed it.
#[must_use]
pub fn login_refused(whose: impl std::fmt::Display) -> Error {
    let source = anyhow::anyhow!("postgresql refuses the password of {whose}");
    Error::Damaged { code: "database_login_refused", detail: "postgresql refuses a login of Freehold's", source }
}

/// The error code and detail when a tenant's schema is not what a statement was written or prepared for.
pub(crate) const SCHEMA_CHANGED: (&str, &str) =
    ("tenant_schema_changed", "the tenant's schema has changed, or is changing; the same request may be served now");

/// The schema has changed beneath a statement, or it is not the one that this release works with.
pub(crate) fn schema_changed(error: &tokio_postgres::Error) -> Error {
    Error::unavailable(SCHEMA_CHANGED.0, SCHEMA_CHANGED.1, anyhow::Error::msg(describe(error)))
}

/// What a statement that is right is refused for when the schema has changed beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaFault {
    /// The session remembers what is no more: the statement would succeed on another session.
    Remembered,
    /// The schema lacks what the statement names, or has it otherwise.
    Misfit,
}

/// What the error may say about the schema. Only a statement that is known to be right may be judged by it, since a
/// wrong one is refused with the same codes.
pub(crate) fn schema_fault(error: &tokio_postgres::Error) -> Option<SchemaFault> {
    let answer = error.as_db_error()?;
    if is_of_another_schema(error) || answer.code() == &SqlState::DATATYPE_MISMATCH {
        return Some(SchemaFault::Remembered);
    }
    // Messages of internal errors are never translated.
    let internal = ["cache lookup failed for ", "could not open relation with OID ", "could not find "];
    if answer.code() == &SqlState::INTERNAL_ERROR {
        let is_lost = internal.iter().any(|text| answer.message().starts_with(text));
        return is_lost.then_some(SchemaFault::Remembered);
    }
    let misfits = [
        &SqlState::UNDEFINED_TABLE,
        &SqlState::UNDEFINED_COLUMN,
        &SqlState::UNDEFINED_FUNCTION,
        &SqlState::UNDEFINED_OBJECT,
        &SqlState::INVALID_SCHEMA_NAME,
        &SqlState::AMBIGUOUS_COLUMN,
        &SqlState::AMBIGUOUS_FUNCTION,
        &SqlState::CANNOT_COERCE,
        &SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    misfits.contains(&answer.code()).then_some(SchemaFault::Misfit)
}

/// Whether a statement was prepared for another result, or is not prepared any more.
fn is_of_another_schema(error: &tokio_postgres::Error) -> bool {
    let Some(answer) = error.as_db_error() else { return false };
    match answer.code() {
        // The same code says that PostgreSQL lacks a feature. The name of its function is never translated.
        &SqlState::FEATURE_NOT_SUPPORTED => answer.routine() == Some("RevalidateCachedQuery"),
        code => code == &SqlState::INVALID_SQL_STATEMENT_NAME,
    }
}

/// Whether a column, or a parameter, is of another type than the program reads, or sends.
fn is_of_another_type(error: &tokio_postgres::Error) -> bool {
    let is_wrong_type = |cause: &(dyn std::error::Error + 'static)| cause.is::<tokio_postgres::types::WrongType>();
    std::error::Error::source(error).is_some_and(is_wrong_type)
}

/// Classes and codes that heal by themselves (PostgreSQL manual, appendix A).
fn is_transient(state: &SqlState) -> bool {
    let code = state.code();
    // 08 connection exception, 53 insufficient resources (full disk, memory, connections), 57P operator intervention.
    ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
        || [
            &SqlState::LOCK_NOT_AVAILABLE,
            &SqlState::OBJECT_IN_USE,
            // Whoever held the transaction was stopped meanwhile.
            &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(&state)
}

fn is_connection_failure(error: &tokio_postgres::Error) -> bool {
    let is_io = |cause: &(dyn std::error::Error + 'static)| cause.is::<std::io::Error>();
    error.is_closed() || std::error::Error::source(error).is_some_and(is_io)
}

/// The error in one line for the log, without what may hold customer data.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        let constraint = answer.constraint().map(|name| format!(" (constraint {name})")).unwrap_or_default();
        return format!("postgresql {}: {}{constraint}", answer.code().code(), answer.message());
    }
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_heals_by_itself_is_transient() {
        for code in ["08006", "25P03", "53100", "53300", "57P01", "57P03", "55P03", "55006", "40001", "40P01"] {
            assert!(is_transient(&SqlState::from_code(code)), "{code}");
        }
        for code in ["23505", "28P01", "3D000", "42501", "42P01", "55000", "XX000"] {
            assert!(!is_transient(&SqlState::from_code(code)), "{code}");
        }
    }
}
