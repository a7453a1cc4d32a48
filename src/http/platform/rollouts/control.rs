//! What an operator does with a rollout: `/pause /resume /abort /retry /skip`.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{View, accepted};
use crate::{
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{Json, JsonIfAny, NoBody, Operator, Path, right},
        problem::Problem,
    },
    rollouts::control,
    types::{Reason, RolloutId},
};

/// The most tenants that one request names.
const MOST: usize = 10_000;

/// Pauses a rollout: tenants that are under way are finished, and no other one is begun.
#[utoipa::path(post, path = "/platform/v1/rollouts/{id}/pause", tag = "rollouts", operation_id = "pause_rollout",
    params(("id" = RolloutId, Path)), responses(
    (status = 202, description = "It pauses", body = View),
    (status = 409, description = "It has ended", body = Problem),
))]
pub(super) async fn pause(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    _: NoBody,
) -> Result<Response, Problem> {
    control::pause(&state.operations, id, &caller.origin()).await?;
    accepted(&state, id).await
}

/// Goes on with a paused rollout. What has failed so far is not counted against it any more.
#[utoipa::path(post, path = "/platform/v1/rollouts/{id}/resume", tag = "rollouts", operation_id = "resume_rollout",
    params(("id" = RolloutId, Path)), responses(
    (status = 202, description = "It goes on", body = View),
    (status = 409, description = "It has ended, or replicas run that could not serve the tenants", body = Problem),
))]
pub(super) async fn resume(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    _: NoBody,
) -> Result<Response, Problem> {
    control::resume(&state.operations, id, &caller.origin()).await?;
    accepted(&state, id).await
}

/// Ends a rollout: tenants that are under way are finished, and all others stay on their versions.
#[utoipa::path(post, path = "/platform/v1/rollouts/{id}/abort", tag = "rollouts", operation_id = "abort_rollout",
    params(("id" = RolloutId, Path)), responses(
    (status = 202, description = "It is aborted", body = View),
    (status = 409, description = "It has ended", body = Problem),
))]
pub(super) async fn abort(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    _: NoBody,
) -> Result<Response, Problem> {
    control::abort(&state.operations, id, &caller.origin()).await?;
    accepted(&state, id).await
}

/// Which tenants are tried again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// `"failed"`, all that failed, or the ids or slugs of some of them; all unless said otherwise.
    #[schema(value_type = Option<Object>, example = "failed")]
    only: Option<Only>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Only {
    Word(String),
    Tenants(Vec<String>),
}

/// Has failed tenants of a rollout tried again.
///
/// A rollout that has ended with failures goes on, and so does one that paused because of them.
#[utoipa::path(post, path = "/platform/v1/rollouts/{id}/retry", tag = "rollouts", operation_id = "retry_rollout",
    params(("id" = RolloutId, Path)), request_body = Retry, responses(
    (status = 202, description = "They are tried again", body = View),
    (status = 409, body = Problem, description = "It was aborted, nothing failed, another rollout is not finished or came after \
        it, or replicas run that could not serve the tenants"),
))]
pub(super) async fn retry(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    JsonIfAny(body): JsonIfAny<Retry>,
) -> Result<Response, Problem> {
    let only = match body.only {
        None => None,
        Some(Only::Word(word)) if word == "failed" => None,
        Some(Only::Tenants(tenants)) if (1..=MOST).contains(&tenants.len()) => Some(tenants),
        Some(_) => {
            let message = "must be \"failed\", or a list of 1 to 10,000 ids or slugs of tenants";
            return Err(Error::from(FieldError::new("only", "invalid_value", message)).into());
        }
    };
    control::retry(&state.operations, id, only.as_deref(), &caller.origin()).await?;
    accepted(&state, id).await
}

/// Which tenants are left out, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Skip {
    /// Ids or slugs of tenants that are waiting or failed.
    tenants: Vec<String>,
    /// Why.
    reason: Reason,
}

/// Leaves tenants of a rollout out that are waiting, or have failed.
#[utoipa::path(post, path = "/platform/v1/rollouts/{id}/skip", tag = "rollouts",
    operation_id = "skip_rollout_tenants",
    params(("id" = RolloutId, Path)), request_body = Skip, responses(
    (status = 202, description = "They are left out", body = View),
    (status = 409, description = "It has ended", body = Problem),
))]
pub(super) async fn skip(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    Json(body): Json<Skip>,
) -> Result<Response, Problem> {
    if !(1..=MOST).contains(&body.tenants.len()) {
        let message = "must be a list of 1 to 10,000 ids or slugs of tenants";
        return Err(Error::from(FieldError::new("tenants", "invalid_length", message)).into());
    }
    control::skip(&state.operations, id, &body.tenants, &body.reason, &caller.origin()).await?;
    accepted(&state, id).await
}
