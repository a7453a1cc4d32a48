//! Advisory locks on a server: who may change a tenant or build a template right now.
//!
//! A lock belongs to the session that took it, which is the session that runs the DDL: a replica that lost it
//! lost its connection too, so a stale one is refused by the server and not by a clock. Advisory locks are
//! scoped to a database: all administrative sessions of a server use its one maintenance database.
//!
//! Waiting is a loop of tries: `pg_advisory_lock()` would hold a snapshot while it waits, and deadlock with
//! CREATE INDEX CONCURRENTLY. Where many wait, for moments each ([`ServerAdmin::line_up`]), PostgreSQL's own queue is
//! worth that.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{
    error::SqlState,
    types::{ToSql, Type},
};

use super::{ServerAdmin, is_sqlstate};
use crate::{error::Result, types::TenantId};

/// Between two tries for a lock.
const PAUSE: Duration = Duration::from_millis(100);

/// What a lock guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockKey {
    /// One tenant's database and role.
    Tenant(TenantId),
    /// The building of the template database of this name.
    Template(String),
    /// The trial of migrations that an operator publishes: one at a time.
    Publication,
    /// The server's shared roles.
    Roles,
    /// The copying of templates: one copy at a time.
    Copies,
    /// The password of the administrative role.
    Credentials,
    /// One of the places in which tenants of the server are migrated in a rollout.
    RolloutSlot(u16),
}

impl LockKey {
    /// The first 64 bits of SHA-256 over `freehold:<kind>:<name>`. Two keys that collided would only wait for
    /// each other.
    fn number(&self) -> i64 {
        let text = match self {
            Self::Tenant(id) => format!("freehold:tenant:{id}"),
            Self::Template(name) => format!("freehold:template:{name}"),
            Self::Publication => "freehold:publication:".to_owned(),
            Self::Roles => "freehold:roles:".to_owned(),
            Self::Copies => "freehold:copies:".to_owned(),
            Self::Credentials => "freehold:credentials:".to_owned(),
            Self::RolloutSlot(place) => format!("freehold:rollout_slot:{place}"),
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest.as_ref().iter().take(8).fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
    }
}

impl ServerAdmin {
    /// Takes the tenant's lock for as long as this session lives, or answers `false` after `wait`.
    pub async fn lock_tenant(&self, tenant: TenantId, wait: Duration) -> Result<bool> {
        self.lock(&LockKey::Tenant(tenant), wait).await
    }

    /// Takes a lock until [`unlock`](Self::unlock) or the end of this session, or answers `false` after `wait`.
    pub async fn lock(&self, key: &LockKey, wait: Duration) -> Result<bool> {
        let (deadline, number) = (Instant::now() + wait, key.number());
        let number: [(&(dyn ToSql + Sync), Type); 1] = [(&number, Type::INT8)];
        loop {
            if self.query_typed_one("SELECT pg_try_advisory_lock($1)", &number).await?.try_get(0)? {
                return Ok(true);
            }
            if Instant::now() + PAUSE > deadline {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The same, in the order of those who ask; the server passes the lock on as soon as it is free.
    pub async fn line_up(&self, key: &LockKey, wait: Duration) -> Result<bool> {
        let (number, wait) = (key.number(), format!("{}ms", wait.as_millis().max(1)));
        let sql = "WITH bound AS MATERIALIZED (SELECT set_config('lock_timeout', $2, true))
                   SELECT pg_advisory_lock($1) FROM bound";
        match self.query_typed(sql, &[(&number, Type::INT8), (&wait, Type::TEXT)]).await {
            Err(error) if is_sqlstate(&error, &SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            locked => Ok(locked.map(|_| true)?),
        }
    }

    /// Ends this role's idle sessions whose `application_name` holds `name` and is not this session's own: those of a
    /// replica that was stopped and would otherwise keep its locks for as long as its machine keeps the connection. A
    /// session that is executing something is left to finish. Answers how many were ended.
    pub async fn end_idle_sessions(&self, name: &str) -> Result<i64> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE usename = current_user AND application_name <> current_setting('application_name') AND state = 'idle'
              AND position($1 IN application_name) > 0";
        Ok(self.query_one(sql, &[&name]).await?.try_get(0)?)
    }

    /// Ends other idle sessions of this role that hold the lock and whose `application_name` holds `name`: that of a
    /// replica that was stopped. Answers how many were ended.
    pub async fn end_idle_holder(&self, key: &LockKey, name: &str) -> Result<i64> {
        // PostgreSQL shows the number of a lock as its upper and its lower half (manual, pg_locks).
        let sql = "SELECT count(pg_terminate_backend(a.pid))
              FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND l.classid::int8 = (($1::int8 >> 32) & 4294967295) AND l.objid::int8 = ($1::int8 & 4294967295)
               AND a.usename = current_user AND a.pid <> pg_backend_pid() AND a.state = 'idle'
               AND position($2 IN a.application_name) > 0";
        Ok(self.query_one(sql, &[&key.number(), &name]).await?.try_get(0)?)
    }

    /// Gives a lock back.
    pub async fn unlock(&self, key: &LockKey) -> Result<()> {
        self.query_typed("SELECT pg_advisory_unlock($1)", &[(&key.number(), Type::INT8)]).await?;
        Ok(())
    }

    /// Gives a lock back once what it was for is done, which stays done: a lock that is not given back ends with this
    /// session, and is only logged.
    pub(crate) async fn give_back(&self, key: &LockKey) {
        if let Err(error) = self.unlock(key).await {
            tracing::warn!(lock = ?key, error = error.chain(), "a lock is given back with its session");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable_and_apart() {
        // Replicas of different releases must agree: this number may never change.
        assert_eq!(LockKey::Roles.number(), 8_533_114_485_873_483_253);
        let id: TenantId = "ten_0190b6a4c1e87d3f8a2b5c6d7e8f9012".parse().unwrap();
        assert_ne!(LockKey::Tenant(id).number(), LockKey::Template(id.to_string()).number());
        assert_ne!(LockKey::Roles.number(), LockKey::Template(String::new()).number());
        assert_ne!(LockKey::Roles.number(), LockKey::Copies.number());
    }
}
