//! When a wave is over, what comes next, and when there are too many failures.
//!
//! Any replica decides, in one transaction that holds the rollout's row: who finds nothing more to claim, and who has
//! recorded a failure. Deciding again with nothing changed decides nothing.

use serde_json::json;

use super::{
    change::Change,
    obstacles::{self, Obstacle},
    plan::{self, CANARIES},
    request::MaxFailures,
    start::NOBODY,
};
use crate::{
    control::{
        rollout_tenants::{self, Counts},
        rollout_waves::{self, Wave, WaveState},
        rollouts::{self, Rollout, RolloutState},
    },
    error::{Error, Result},
    faults::crash_point,
    operations::Context,
    types::RolloutId,
};

/// What follows from where the tenants are.
#[derive(Debug, PartialEq)]
enum Next {
    /// The wave goes on.
    Wait,
    /// Too many tenants failed: an operator decides.
    Pause(String),
    /// The wave is over; the one at this position begins.
    Begin(i32),
    /// The last wave is over.
    End,
}

/// Takes the rollout on as far as it can go now.
pub(super) async fn advance(ctx: &Context, id: RolloutId) -> Result<()> {
    let origin = ctx.origin();
    let mut change = Change::begin(ctx, id, &origin).await?;
    if !change.rollout.state.is_under_way() {
        return change.leave().await;
    }
    let waves = rollout_waves::list(change.txn(), id).await?;
    let counts = rollout_tenants::counts(change.txn(), id).await?;
    match next(&change.rollout, &waves, &counts)? {
        Next::Wait => change.leave().await,
        Next::Pause(reason) => pause(change, &reason).await,
        Next::Begin(position) => {
            let rollout = change.rollout.clone();
            match obstacles::of_a_wave(ctx, change.txn(), &rollout).await? {
                Some(Obstacle { code, detail }) => pause(change, &format!("{code}: {detail}")).await,
                None => begin(change, &waves, position).await,
            }
        }
        Next::End => end(ctx, change, &waves, counts.into_iter().map(|(_, counts)| counts).sum()).await,
    }
}

/// The tenants of the waves up to `position`.
fn up_to(counts: &[(i32, Counts)], position: i32) -> Counts {
    counts.iter().filter(|(wave, _)| *wave <= position).map(|(_, counts)| *counts).sum()
}

fn next(rollout: &Rollout, waves: &[Wave], counts: &[(i32, Counts)]) -> Result<Next> {
    let first = waves.first().ok_or_else(|| Error::defect("a rollout without waves"))?.position;
    let begun = waves.iter().rfind(|wave| wave.state != WaveState::Pending);
    let Some(Wave { position, .. }) = begun else { return Ok(Next::Begin(first)) };
    let reached = up_to(counts, *position);
    if let Some(reason) = too_many(rollout, *position, reached)? {
        return Ok(Next::Pause(reason));
    }
    if reached.left() > 0 {
        return Ok(Next::Wait);
    }
    let following = waves.iter().find(|wave| wave.state == WaveState::Pending);
    Ok(following.map_or(Next::End, |wave| Next::Begin(wave.position)))
}

/// Why the rollout may not go on as it is. A share is of all tenants in the waves that have begun, left out ones aside:
/// what is above it now will be above it when the wave is over.
fn too_many(rollout: &Rollout, position: i32, reached: Counts) -> Result<Option<String>> {
    let failed = reached.failed - i64::from(rollout.tolerated);
    if position == CANARIES && failed > 0 {
        return Ok(Some(format!("canary_failed: {} of the canaries failed", reached.failed)));
    }
    let limit: MaxFailures = rollout.max_failures.parse().map_err(Error::internal)?;
    let tenants = reached.total() - reached.skipped;
    let is_exceeded = failed > 0 && limit.is_exceeded(failed, tenants);
    Ok(is_exceeded.then(|| {
        let seen = if rollout.tolerated > 0 { " since it was resumed" } else { "" };
        format!("too_many_failures: {failed} of {tenants} tenants failed{seen}, which is more than {limit}")
    }))
}

async fn pause(mut change: Change<'_>, reason: &str) -> Result<()> {
    let (id, tolerated) = (change.rollout.id, change.rollout.tolerated);
    rollouts::set_state_in_txn(change.txn(), id, RolloutState::Paused, Some(reason), tolerated).await?;
    tracing::warn!(rollout.id = %id, reason, "a rollout pauses");
    change.record("rollout.pause", &json!({ "reason": reason })).await?.commit().await
}

async fn begin(mut change: Change<'_>, waves: &[Wave], position: i32) -> Result<()> {
    let Rollout { id, tolerated, state, .. } = change.rollout;
    for over in waves.iter().filter(|wave| wave.state == WaveState::Running) {
        rollout_waves::set_state_in_txn(change.txn(), id, over.position, WaveState::Done).await?;
    }
    rollout_waves::set_state_in_txn(change.txn(), id, position, WaveState::Running).await?;
    if state != RolloutState::Running {
        rollouts::set_state_in_txn(change.txn(), id, RolloutState::Running, None, tolerated).await?;
    }
    crash_point!("rollout.wave.before_commit", NOBODY);
    tracing::info!(rollout.id = %id, rollout.wave = position, "a wave of a rollout begins");
    change.record("rollout.wave", &json!({ "wave": position })).await?.commit().await?;
    crash_point!("rollout.wave.after_commit", NOBODY);
    Ok(())
}

/// Ends the rollout, unless tenants have fallen behind meanwhile: they join the last wave.
async fn end(ctx: &Context, mut change: Change<'_>, waves: &[Wave], counts: Counts) -> Result<()> {
    let Rollout { id, target, tolerated, undoes, .. } = change.rollout;
    let last = waves.last().ok_or_else(|| Error::defect("a rollout without waves"))?.position;
    let stragglers = match undoes {
        None => plan::stragglers(ctx, change.txn(), (id, target), last).await?,
        // Who is at the newer version and no part of the undo stays there.
        Some(_) => Vec::new(),
    };
    if !stragglers.is_empty() {
        rollout_tenants::insert_in_txn(change.txn(), id, &stragglers).await?;
        rollout_waves::set_state_in_txn(change.txn(), id, last, WaveState::Running).await?;
        let details = json!({ "tenants": stragglers.iter().map(|member| member.tenant_id).collect::<Vec<_>>() });
        return change.record("rollout.extend", &details).await?.commit().await;
    }
    for over in waves.iter().filter(|wave| wave.state == WaveState::Running) {
        rollout_waves::set_state_in_txn(change.txn(), id, over.position, WaveState::Done).await?;
    }
    let state = if counts.failed > 0 { RolloutState::Failed } else { RolloutState::Succeeded };
    rollouts::set_state_in_txn(change.txn(), id, state, None, tolerated).await?;
    crash_point!("rollout.end.before_commit", NOBODY);
    tracing::info!(rollout.id = %id, rollout.state = %state, rollout.done = counts.done, "a rollout has ended");
    let details =
        json!({ "state": state.as_str(), "done": counts.done, "failed": counts.failed, "skipped": counts.skipped });
    change.record("rollout.end", &details).await?.commit().await?;
    crash_point!("rollout.end.after_commit", NOBODY);
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::types::SchemaVersions;

    fn rollout(max_failures: &str, tolerated: i32) -> Rollout {
        Rollout {
            id: RolloutId::from_uuid(uuid::Uuid::nil()),
            state: RolloutState::Running,
            target: SchemaVersions::default(),
            undoes: None,
            concurrency: None,
            max_failures: max_failures.into(),
            tolerated,
            reason: None,
            requested_by: String::new(),
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        }
    }

    fn waves(states: &[WaveState]) -> Vec<Wave> {
        let wave = |(position, state): (i32, &WaveState)| Wave {
            position,
            members: json!("5%"),
            state: *state,
            started_at: None,
            finished_at: None,
        };
        (0..).zip(states).map(wave).collect()
    }

    fn counts(pending: i64, done: i64, failed: i64) -> Counts {
        Counts { pending, done, failed, ..Counts::default() }
    }

    #[test]
    fn a_wave_is_over_when_nobody_of_it_is_left() {
        use WaveState::{Done, Pending, Running};
        let next =
            |states: &[WaveState], counts: &[(i32, Counts)]| next(&rollout("2%", 0), &waves(states), counts).unwrap();
        let all = [(0, counts(2, 0, 0)), (1, counts(8, 0, 0))];
        assert_eq!(next(&[Pending, Pending], &all), Next::Begin(0));
        assert_eq!(next(&[Running, Pending], &all), Next::Wait);
        assert_eq!(next(&[Running, Pending], &[(0, counts(0, 2, 0)), (1, counts(8, 0, 0))]), Next::Begin(1));
        assert_eq!(next(&[Done, Running], &[(0, counts(0, 2, 0)), (1, counts(0, 8, 0))]), Next::End);
        assert_eq!(next(&[Done, Done], &[(0, counts(1, 1, 0)), (1, counts(0, 8, 0))]), Next::Wait, "tried again");
        assert_eq!(next(&[Running, Pending], &[(1, counts(8, 0, 0))]), Next::Begin(1), "a wave without tenants");
    }

    #[test]
    fn too_many_failures_are_told_as_soon_as_they_are_certain() {
        use WaveState::{Done, Pending, Running};
        let is_paused = |max: &str, tolerated, states: &[WaveState], counts: &[(i32, Counts)]| {
            matches!(next(&rollout(max, tolerated), &waves(states), counts).unwrap(), Next::Pause(_))
        };
        let canary = [(0, counts(1, 0, 1)), (1, counts(98, 0, 0))];
        assert!(is_paused("50%", 0, &[Running, Pending], &canary), "any canary");
        assert!(!is_paused("50%", 1, &[Running, Pending], &canary), "seen and gone on with");
        let one = [(0, counts(0, 2, 0)), (1, counts(60, 37, 1))];
        assert!(!is_paused("2%", 0, &[Done, Running], &one) && is_paused("0", 0, &[Done, Running], &one));
        let three = [(0, counts(0, 2, 0)), (1, counts(94, 1, 3))];
        assert!(is_paused("2%", 0, &[Done, Running], &three), "3 of 100 while 94 are to come");
        assert!(!is_paused("2%", 1, &[Done, Running], &three) && !is_paused("3", 0, &[Done, Running], &three));
    }
}
