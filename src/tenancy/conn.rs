//! Connections to a tenant's database: the only way to a tenant's data.
//!
//! A [`TenantConn`] is created only here, for one tenant. Its pool logs in as the tenant's own role, and has checked
//! which database the session is on. Acquire a connection late and release it early. Never hold it across a password
//! hash, a request to somebody else or work on another database. A connection that is dropped within a transaction
//! rolls back. Session state that its statements left is reset before the next user gets the session
//! ([`super::session`]). A statement whose schema has changed is prepared anew ([`super::line`]).

use deadpool::managed::Object;
use deadpool_postgres::Transaction;
use tokio_postgres::{Row, types::ToSql};

use super::{
    line::{Affected, AllRows, Line, OneRow, Sent, StatementError},
    login::Login,
    prepared::Prepared,
    session::{Lent, Session, Traces},
};
use crate::{error::Result, types::TenantId};

/// The value of a parameter of a statement.
pub type Param<'a> = &'a (dyn ToSql + Sync);

/// A connection to one tenant's database. When it is dropped, it returns to the tenant's pool.
pub struct TenantConn {
    session: Lent,
    tenant: TenantId,
}

/// A transaction on one tenant's database. If it is dropped without [`TenantTxn::commit`], it is rolled back.
pub struct TenantTxn<'a> {
    client: Transaction<'a>,
    prepared: &'a Prepared,
    traces: &'a Traces,
    sent: Sent,
    tenant: TenantId,
}

impl TenantConn {
    pub(super) fn new(object: Object<Login>, tenant: TenantId) -> Self {
        Self { session: Lent::from(object), tenant }
    }

    /// The tenant that this connection belongs to.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Begins a transaction (READ COMMITTED).
    pub async fn begin(&mut self) -> Result<TenantTxn<'_>> {
        let Session { client, prepared, traces } = &mut *self.session;
        let client = client.transaction().await?;
        Ok(TenantTxn { client, prepared, traces, sent: Sent::default(), tenant: self.tenant })
    }

    fn line(&self) -> Line<'_> {
        Line::outside(&self.session)
    }
}

impl TenantTxn<'_> {
    /// The tenant that this transaction belongs to.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Commits.
    pub async fn commit(self) -> Result<()> {
        Ok(self.client.commit().await?)
    }

    fn line(&self) -> Line<'_> {
        Line::within(self.client.client(), self.prepared, self.traces, &self.sent)
    }
}

/// Runs statements on a tenant's database, within a transaction or without one.
///
/// A statement's text is `&'static str`: a text that is built at run time, with a value in it, does not compile. Each
/// text is prepared once for each connection, and is analyzed once for the session state that it may leave.
///
/// The methods return PostgreSQL's own errors, so that a caller can recognize a violated constraint
/// ([`crate::servers::constraint`]). The operator `?` converts them to [`Error`](crate::error::Error).
pub trait Statements: Send + Sync {
    /// The tenant whose database they run on.
    fn tenant(&self) -> TenantId;

    /// Runs a query and returns all rows.
    fn rows(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Row>, StatementError>> + Send;

    /// Runs a query and returns the row, if there is one. More than one row is an error.
    fn row(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>, StatementError>> + Send;

    /// Runs a statement and returns how many rows it affected.
    fn run(&self, sql: &'static str, params: &[Param<'_>]) -> impl Future<Output = Result<u64, StatementError>> + Send;
}

macro_rules! statements {
    ($name:ty) => {
        impl Statements for $name {
            fn tenant(&self) -> TenantId {
                self.tenant
            }

            async fn rows(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, StatementError> {
                self.line().send::<AllRows>(sql, params).await
            }

            async fn row(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Option<Row>, StatementError> {
                self.line().send::<OneRow>(sql, params).await
            }

            async fn run(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StatementError> {
                self.line().send::<Affected>(sql, params).await
            }
        }
    };
}

statements!(TenantConn);
statements!(TenantTxn<'_>);
