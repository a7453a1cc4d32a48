//! The one door to a tenant's data.
//!
//! A [`TenantConn`] is made here and nowhere else, for one tenant, from a pool that logs in as the tenant's own
//! role and has checked which database it is on. Acquire it late, release it early, and never hold it across a
//! password hash, another request or another database. Dropped inside a transaction it rolls back; what its statements
//! left on the session is taken away before anybody else gets it ([`super::session`]).

use deadpool::managed::Object;
use deadpool_postgres::Transaction;
use tokio_postgres::{Row, types::ToSql};

use super::{
    login::Login,
    session::{Lent, Session, Traces},
};
use crate::{error::Result, types::TenantId};

/// A value of a statement's parameter.
pub type Param<'a> = &'a (dyn ToSql + Sync);

/// A connection to one tenant's database. Goes back to the tenant's pool when dropped.
pub struct TenantConn {
    session: Lent,
    tenant: TenantId,
}

/// A transaction on one tenant's database; dropped without [`TenantTxn::commit`] it is rolled back.
pub struct TenantTxn<'a> {
    client: Transaction<'a>,
    traces: &'a Traces,
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
        let Session { client, traces } = &mut *self.session;
        Ok(TenantTxn { client: client.transaction().await?, traces, tenant: self.tenant })
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
}

/// Statements on a tenant's database, in a transaction or out of one. Each text is prepared once a connection, and what
/// it may leave on the session is found out once. So a text is a constant by its type: one that is put together at run
/// time, with a value in it, does not compile.
///
/// Errors are PostgreSQL's own, so that a caller can tell a broken constraint
/// ([`crate::servers::constraint`]); `?` turns them into the domain's.
pub trait Statements: Send + Sync {
    /// All rows.
    fn rows(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send;

    /// The row, if there is one. More than one is an error.
    fn row(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>, tokio_postgres::Error>> + Send;

    /// How many rows were touched.
    fn run(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64, tokio_postgres::Error>> + Send;
}

macro_rules! statements {
    ($name:ty, $($session:ident)?) => {
        impl Statements for $name {
            async fn rows(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
                let (client, traces) = (&self.$($session.)?client, &self.$($session.)?traces);
                traces.expect(sql);
                let rows = client.query(&client.prepare_cached(sql).await?, params).await?;
                traces.answered();
                Ok(rows)
            }

            async fn row(
                &self,
                sql: &'static str,
                params: &[Param<'_>],
            ) -> Result<Option<Row>, tokio_postgres::Error> {
                let (client, traces) = (&self.$($session.)?client, &self.$($session.)?traces);
                traces.expect(sql);
                let row = client.query_opt(&client.prepare_cached(sql).await?, params).await?;
                traces.answered();
                Ok(row)
            }

            async fn run(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, tokio_postgres::Error> {
                let (client, traces) = (&self.$($session.)?client, &self.$($session.)?traces);
                traces.expect(sql);
                let touched = client.execute(&client.prepare_cached(sql).await?, params).await?;
                traces.answered();
                Ok(touched)
            }
        }
    };
}

statements!(TenantConn, session);
statements!(TenantTxn<'_>,);
