//! The one door to a tenant's data.
//!
//! A [`TenantConn`] is made here and nowhere else, for one tenant, from a pool that logs in as the tenant's own
//! role and has checked which database it is on. Acquire it late, release it early, and never hold it across a
//! password hash, another request or another database. Dropped inside a transaction it rolls back.

use deadpool::managed::Object;
use deadpool_postgres::Transaction;
use tokio_postgres::{Row, types::ToSql};

use super::login::Login;
use crate::{error::Result, types::TenantId};

/// A value of a statement's parameter.
pub type Param<'a> = &'a (dyn ToSql + Sync);

/// A connection to one tenant's database. Goes back to the tenant's pool when dropped.
pub struct TenantConn {
    object: Object<Login>,
    tenant: TenantId,
}

/// A transaction on one tenant's database; dropped without [`TenantTxn::commit`] it is rolled back.
pub struct TenantTxn<'a> {
    inner: Transaction<'a>,
    tenant: TenantId,
}

impl TenantConn {
    pub(super) fn new(object: Object<Login>, tenant: TenantId) -> Self {
        Self { object, tenant }
    }

    /// The tenant that this connection belongs to.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Begins a transaction (READ COMMITTED).
    pub async fn begin(&mut self) -> Result<TenantTxn<'_>> {
        Ok(TenantTxn { inner: self.object.transaction().await?, tenant: self.tenant })
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
        Ok(self.inner.commit().await?)
    }
}

/// Statements on a tenant's database, in a transaction or out of one. Each text is prepared once a connection,
/// so a text is a constant by its type: one that is put together at run time, with a value in it, does not compile.
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
    ($name:ty, $field:ident) => {
        impl Statements for $name {
            async fn rows(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
                let statement = self.$field.prepare_cached(sql).await?;
                self.$field.query(&statement, params).await
            }

            async fn row(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Option<Row>, tokio_postgres::Error> {
                let statement = self.$field.prepare_cached(sql).await?;
                self.$field.query_opt(&statement, params).await
            }

            async fn run(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, tokio_postgres::Error> {
                let statement = self.$field.prepare_cached(sql).await?;
                self.$field.execute(&statement, params).await
            }
        }
    };
}

statements!(TenantConn, object);
statements!(TenantTxn<'_>, inner);
