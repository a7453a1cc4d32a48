//! What PostgreSQL's errors mean to the domain.
//!
//! A server that is away, full, busy or restarting is `Unavailable`: the same call may succeed later. A database that
//! is not there, and a password that is refused, are damage that others have done. All else is a broken assumption.
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
            Some(state) if is_transient(state) => unavailable(cause),
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
