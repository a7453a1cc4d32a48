//! The lock under which one janitor at a time sweeps, whichever replica it belongs to.

use sqlx::PgConnection;

use crate::error::Result;

/// `janitor` in ASCII. Replicas of all releases must agree.
const LOCK: i64 = 0x6a_616e_6974_6f72;

/// Keeps other janitors away until the transaction ends; false when one is at work.
pub async fn lock_in_txn(txn: &mut PgConnection) -> Result<bool> {
    let query = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1) AS "locked!""#, LOCK);
    Ok(query.fetch_one(txn).await?)
}
