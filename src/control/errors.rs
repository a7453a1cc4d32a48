//! What goes wrong between Freehold and the control database, in the domain's words.

use super::pool;
use crate::error::Error;

impl From<sqlx::Error> for Error {
    /// A control database that is away, starting, full or slow is a 503; everything else is a defect.
    fn from(error: sqlx::Error) -> Self {
        if is_of_another_schema(&error) {
            pool::schema_has_changed();
            let detail = "the control database has just been migrated; the same request will be served";
            return Self::unavailable("control_database_unavailable", detail, anyhow::Error::from(error));
        }
        if is_unavailable(&error) {
            let detail = "the control database cannot be reached; try again shortly";
            return Self::unavailable("control_database_unavailable", detail, anyhow::Error::from(error));
        }
        // PostgreSQL's DETAIL quotes rows: only its message, code and constraint go on to the log.
        match error.as_database_error() {
            Some(cause) => Self::defect(format!(
                "control database: {} (SQLSTATE {}, constraint {})",
                cause.message(),
                cause.code().unwrap_or_default(),
                cause.constraint().unwrap_or("none"),
            )),
            None => Self::internal(error),
        }
    }
}

/// Connection trouble, and the SQLSTATE classes 08 (connection), 53 (resources) and 57 (operator intervention,
/// statement timeout included), 55P03 (lock timeout), 40P01 (the victim of a deadlock, whose next try gets through) and
/// 25P03 (a transaction whose holder was stopped for too long): PostgreSQL manual, appendix A.
fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| {
            ["55P03", "40P01", "25P03"].contains(&&*code)
                || ["08", "53", "57"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// A statement was prepared for another result, as before a migration of a later release, or is not prepared any more.
fn is_of_another_schema(error: &sqlx::Error) -> bool {
    let Some(cause) = error.as_database_error() else { return false };
    match cause.code().as_deref() {
        // The same code says that PostgreSQL lacks a feature. The name of its function is never translated.
        Some("0A000") => {
            let cause = cause.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
            cause.and_then(|cause| cause.routine()) == Some("RevalidateCachedQuery")
        }
        code => code == Some("26000"),
    }
}

/// The name of the constraint that a statement broke, if it broke one.
pub(super) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|cause| cause.constraint())
}
