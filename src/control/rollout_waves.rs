//! Table `rollout_waves`: the parts of a rollout, one after another.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use super::rollout_states::WaveState;
use crate::{error::Result, types::RolloutId};

/// A wave.
#[derive(Clone, Debug, PartialEq)]
pub struct Wave {
    /// 0 are the canaries.
    pub position: i32,
    /// Which tenants it was made of, as it was asked for.
    pub members: serde_json::Value,
    /// Where it is.
    pub state: WaveState,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When none of its tenants was left.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Records the waves of a rollout: which one it is, and what it was made of.
pub async fn insert_in_txn(
    txn: &mut PgConnection,
    rollout: RolloutId,
    waves: &[(i32, serde_json::Value)],
) -> Result<()> {
    let (positions, members): (Vec<_>, Vec<_>) = waves.iter().cloned().unzip();
    sqlx::query!(
        "INSERT INTO rollout_waves (rollout_id, position, members)
         SELECT $1::uuid, position, members FROM unnest($2::integer[], $3::jsonb[]) AS wave (position, members)",
        rollout.uuid(),
        &positions,
        &members
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// The waves of a rollout, in order.
pub async fn list(connection: &mut PgConnection, rollout: RolloutId) -> Result<Vec<Wave>> {
    let rows = sqlx::query!(
        "SELECT position, members, state, started_at, finished_at FROM rollout_waves
         WHERE rollout_id = $1 ORDER BY position",
        rollout.uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Wave {
                position: row.position,
                members: row.members,
                state: WaveState::parse(&row.state)?,
                started_at: row.started_at,
                finished_at: row.finished_at,
            })
        })
        .collect()
}

/// Writes where a wave is. One that is running again has no end.
pub async fn set_state_in_txn(
    txn: &mut PgConnection,
    rollout: RolloutId,
    position: i32,
    state: WaveState,
) -> Result<()> {
    sqlx::query!(
        "UPDATE rollout_waves
         SET state = $3, started_at = CASE WHEN $3 = 'pending' THEN NULL ELSE coalesce(started_at, now()) END,
             finished_at = CASE WHEN $3 = 'done' THEN now() END
         WHERE rollout_id = $1 AND position = $2",
        rollout.uuid(),
        position,
        state.as_str()
    )
    .execute(txn)
    .await?;
    Ok(())
}
