//! `GET /platform/v1/rollouts/{id}/events`: a rollout's progress as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, stream};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::View;
use crate::{
    error::{Error, Result},
    http::{
        AppState,
        extract::{Path, Watched, right},
        problem::Problem,
    },
    rollouts::progress::{Follower, Snapshot},
    types::RolloutId,
};

/// Between two signs of life while nothing changes.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// After this a stream ends; who still listens connects again.
const LONGEST: Duration = Duration::from_mins(15);

/// One rollout's progress as server-sent events.
///
/// Each event is named `rollout` and holds the rollout with its waves as it is then; the first comes at once, the
/// last when it has ended or pauses. Whoever may not follow rollouts any more gets no further event.
#[utoipa::path(get, path = "/platform/v1/rollouts/{id}/events", tag = "rollouts",
    operation_id = "follow_rollout", params(("id" = RolloutId, Path)),
    responses((status = 200, description = "Events, until the rollout ends or pauses", content_type = "text/event-stream",
        body = View)),
)]
pub(super) async fn events(
    caller: Watched<right::RolloutsRead>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let busy = |_| Error::unavailable("too_many_streams", "too much is being followed here", None);
    let slot = state.streams.slots.clone().try_acquire_owned().map_err(busy)?;
    let mut follower = Follower::new(&state.operations, id);
    // The first look decides between an answer and a problem.
    let first = follower.next().await?;
    let until = Instant::now() + LONGEST;
    let stream = Events { caller, state, follower, pending: Some(first), ended: false, until, _slot: slot };
    let events = stream::unfold(stream, async |mut stream| Some((Ok(stream.next().await?), stream)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Events {
    caller: Watched<right::RolloutsRead>,
    state: AppState,
    follower: Follower,
    pending: Option<Snapshot>,
    ended: bool,
    until: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Events {
    /// The next event, or the end of the stream: the rollout's, this replica's, that of the caller's right, or that
    /// of the longest time.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let snapshot = if let Some(first) = self.pending.take() {
            first
        } else {
            let next = tokio::time::timeout_at(self.until, self.follower.next());
            let outcome = self.state.streams.stop.run_until_cancelled(next).await?.ok()?;
            let failed = |error: &Error| tracing::warn!(error = error.chain(), "a stream of events ends early");
            let next = outcome.inspect_err(failed).ok()?;
            self.caller.check(&self.state).await.ok()?;
            next
        };
        self.ended = snapshot.is_settled();
        Event::default().event("rollout").json_data(View::from(snapshot)).ok()
    }
}
