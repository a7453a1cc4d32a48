//! The way of a statement to the server, and what happens when the schema changes beneath what is prepared.
//!
//! PostgreSQL refuses a prepared statement once its result would have other types, or once it cannot be analyzed any
//! more. Then the session forgets all that it has prepared, the other sessions of the tenant forget theirs before their
//! next use, and the statement is prepared anew and sent once more. That happens only where nothing has been done that
//! PostgreSQL has not undone with the error: outside of a transaction, and for its first statement. Otherwise, or when
//! the repetition fails as well, whoever asked gets a [`StatementError`] that says that the schema is to blame.

use std::{
    fmt,
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use tokio_postgres::{Client, Row, error::SqlState};

use super::{
    Param,
    prepared::Prepared,
    session::{Session, Traces},
};
use crate::{
    error::Error,
    servers::{SchemaFault, schema_changed, schema_fault},
};

/// Why a statement was not run to its end.
#[derive(Debug)]
pub struct StatementError {
    cause: tokio_postgres::Error,
    /// Whether the statement was right, and the schema has changed.
    is_of_schema: bool,
}

impl Deref for StatementError {
    type Target = tokio_postgres::Error;

    fn deref(&self) -> &tokio_postgres::Error {
        &self.cause
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for StatementError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<StatementError> for Error {
    fn from(error: StatementError) -> Self {
        if error.is_of_schema { schema_changed(&error.cause) } else { error.cause.into() }
    }
}

/// What a transaction has sent so far.
#[derive(Default)]
pub(super) struct Sent {
    statements: AtomicU32,
    /// Whether the schema ended it: then all its later statements are refused because of that.
    is_ended_by_schema: AtomicBool,
}

/// What a statement is to answer with.
pub(super) trait Ask {
    type Answer: Send;

    fn ask(
        client: &Client,
        statement: &tokio_postgres::Statement,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Self::Answer, tokio_postgres::Error>> + Send;
}

/// With all its rows.
pub(super) struct AllRows;

/// With its one row, if there is one.
pub(super) struct OneRow;

/// With how many rows it affected.
pub(super) struct Affected;

macro_rules! ask {
    ($name:ident, $answer:ty, $method:ident) => {
        impl Ask for $name {
            type Answer = $answer;

            async fn ask(
                client: &Client,
                statement: &tokio_postgres::Statement,
                params: &[Param<'_>],
            ) -> Result<$answer, tokio_postgres::Error> {
                client.$method(statement, params).await
            }
        }
    };
}

ask!(AllRows, Vec<Row>, query);
ask!(OneRow, Option<Row>, query_opt);
ask!(Affected, u64, execute);

/// The way of one statement to the server.
pub(super) struct Line<'a> {
    client: &'a Client,
    prepared: &'a Prepared,
    traces: &'a Traces,
    /// `None` outside of a transaction.
    sent: Option<&'a Sent>,
}

/// Why one attempt at a statement failed.
struct Failure {
    cause: tokio_postgres::Error,
    /// Whether it was prepared, so that running it failed.
    was_prepared: bool,
}

impl<'a> Line<'a> {
    pub(super) fn outside(session: &'a Session) -> Self {
        Self { client: &session.client, prepared: &session.prepared, traces: &session.traces, sent: None }
    }

    pub(super) fn within(client: &'a Client, prepared: &'a Prepared, traces: &'a Traces, sent: &'a Sent) -> Self {
        Self { client, prepared, traces, sent: Some(sent) }
    }

    /// Prepares the statement, unless it is prepared, and runs it; once more where the schema has changed and nothing
    /// was done.
    pub(super) async fn send<A: Ask>(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<A::Answer, StatementError> {
        let is_first = self.sent.is_none_or(|sent| sent.statements.fetch_add(1, Relaxed) == 0);
        let failure = match self.attempt::<A>(sql, params).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let fault = schema_fault(&failure.cause);
        if !failure.was_prepared && fault == Some(SchemaFault::Remembered) {
            self.traces.wear_out();
        }
        if !failure.was_prepared || fault.is_none() {
            return Err(self.judge(sql, failure));
        }
        self.prepared.forget(self.client);
        if !(is_first && self.begin_anew().await) {
            self.traces.schema_has_changed();
            return Err(self.judge(sql, failure));
        }
        let again = self.attempt::<A>(sql, params).await;
        if let Err(Failure { cause, .. }) = &again
            && let Some(fault) = schema_fault(cause)
        {
            // What is wrong may be in the session, where only its end helps.
            if fault == SchemaFault::Remembered {
                self.traces.wear_out();
            }
        } else {
            self.traces.schema_has_changed();
        }
        again.map_err(|failure| self.judge(sql, failure))
    }

    async fn attempt<A: Ask>(&self, sql: &'static str, params: &[Param<'_>]) -> Result<A::Answer, Failure> {
        self.traces.expect(sql);
        let prepared = self.prepared.get(self.client, sql).await;
        let prepared = prepared.map_err(|cause| Failure { cause, was_prepared: false })?;
        let answer = A::ask(self.client, &prepared, params).await;
        let answer = answer.map_err(|cause| Failure { cause, was_prepared: true })?;
        self.traces.answered();
        Ok(answer)
    }

    /// Whether the statement can be sent once more: its transaction, which the error has ended, has done nothing else,
    /// and has begun anew.
    async fn begin_anew(&self) -> bool {
        let Some(sent) = self.sent else { return true };
        sent.statements.load(Relaxed) == 1 && self.client.batch_execute("ROLLBACK; BEGIN").await.is_ok()
    }

    fn judge(&self, sql: &'static str, Failure { cause, was_prepared }: Failure) -> StatementError {
        let is_of_schema = match schema_fault(&cause) {
            Some(SchemaFault::Remembered) => true,
            Some(SchemaFault::Misfit) => was_prepared || self.prepared.is_right(sql),
            None => {
                let is_ended = cause.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
                is_ended && self.sent.is_some_and(|sent| sent.is_ended_by_schema.load(Relaxed))
            }
        };
        if let (true, Some(sent)) = (is_of_schema, self.sent) {
            sent.is_ended_by_schema.store(true, Relaxed);
        }
        StatementError { cause, is_of_schema }
    }
}
