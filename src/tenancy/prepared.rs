//! The statements that a session has prepared, and those whose texts are known to be right.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use tokio_postgres::Client;

use super::statement::Statement;

/// The statements that PostgreSQL has prepared in any tenant's database: their texts are right. One that is refused
/// nevertheless does not fit the schema of its database.
#[derive(Default)]
pub(super) struct Texts(RwLock<HashSet<Statement>>);

impl Texts {
    fn are_right(&self, statement: Statement) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&statement)
    }

    fn add(&self, statement: Statement) {
        if !self.are_right(statement) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(statement);
        }
    }
}

/// What one session has prepared.
pub(super) struct Prepared {
    statements: RwLock<HashMap<Statement, tokio_postgres::Statement>>,
    texts: Arc<Texts>,
}

impl Prepared {
    pub(super) fn new(texts: Arc<Texts>) -> Self {
        Self { statements: RwLock::default(), texts }
    }

    pub(super) async fn get(
        &self,
        client: &Client,
        sql: &'static str,
    ) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        let held = self.statements.read().unwrap_or_else(PoisonError::into_inner).get(&sql.into()).cloned();
        if let Some(held) = held {
            return Ok(held);
        }
        let prepared = client.prepare(sql).await?;
        self.texts.add(sql.into());
        self.statements.write().unwrap_or_else(PoisonError::into_inner).insert(sql.into(), prepared.clone());
        Ok(prepared)
    }

    /// Whether PostgreSQL has prepared this text before, in whichever tenant's database.
    pub(super) fn is_right(&self, sql: &'static str) -> bool {
        self.texts.are_right(sql.into())
    }

    /// Forgets all statements, and what is known about the types in them.
    pub(super) fn forget(&self, client: &Client) {
        self.statements.write().unwrap_or_else(PoisonError::into_inner).clear();
        client.clear_type_cache();
    }
}
