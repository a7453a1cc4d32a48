//! `POST /platform/v1/rollouts/{id}/undo`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    View, accepted,
    plan::{PlanView, undo_view},
    start::NewRollout,
};
use crate::{
    error::Result,
    http::{
        AppState,
        extract::{IdempotencyKey, Json, JsonIfAny, Operator, Path, right},
        problem::Problem,
    },
    rollouts::{request::Request, undo},
    types::RolloutId,
};

const ROUTE: &str = "POST /platform/v1/rollouts/{id}/undo";

/// The way back to be started.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUndo {
    /// Ids or slugs of the tenants that go first. If one of them fails, the undo pauses.
    #[serde(default)]
    canary: Vec<String>,
    /// The waves after the canaries, as of a rollout.
    #[schema(value_type = Option<Vec<Object>>, example = json!(["5%", "25%", "100%"]))]
    waves: Option<Vec<Value>>,
    /// At most so many tenants of one server at a time, and no more than its `rollout_concurrency`.
    concurrency: Option<i32>,
    /// With more failures than that it pauses; `2%` unless said otherwise.
    #[schema(example = "2%")]
    max_failures: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

impl NewUndo {
    fn parse(self) -> Result<Request> {
        let Self { canary, waves, concurrency, max_failures, .. } = self;
        NewRollout { target_version: None, canary, waves, concurrency, max_failures }.parse()
    }
}

/// Takes the tenants of a rollout back to the versions of the product's stream that each had before, by undo files.
///
/// It is a rollout of its own. Refused before anything is done when an undo file is missing, or when replicas run that
/// could not serve the tenants there. What was written since into columns and tables that an undo file drops is lost.
#[utoipa::path(post, path = "/platform/v1/rollouts/{id}/undo", tag = "rollouts", operation_id = "undo_rollout",
    params(
        ("id" = RolloutId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt"),
    ),
    request_body = NewUndo, responses(
    (status = 200, description = "What it would do", body = PlanView),
    (status = 202, description = "It is started; see Location", body = View),
    (status = 409, description = "It cannot be undone, or a rollout is not finished", body = Problem),
))]
pub(super) async fn undo(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    key: Option<IdempotencyKey>,
    JsonIfAny(body): JsonIfAny<NewUndo>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, ROUTE, &(id, &body))?;
    let (is_dry, request) = (body.dry_run, body.parse()?);
    if is_dry {
        return Ok(Json(undo_view(undo::make(&state.operations, id, &request).await?)).into_response());
    }
    let started = undo::start(&state.operations, id, &request, &caller.origin(), idempotency.as_ref()).await?;
    accepted(&state, started.id).await
}
