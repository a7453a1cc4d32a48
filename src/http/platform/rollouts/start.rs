//! `POST /platform/v1/rollouts`.

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{View, accepted};
use crate::{
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{IdempotencyKey, Json, Operator, right},
        problem::Problem,
    },
    rollouts::{
        request::{self, Request},
        start,
    },
};

const ROUTE: &str = "POST /platform/v1/rollouts";

/// A rollout to be started. Freehold's own stream always goes to the newest version.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRollout {
    /// The version of the product's stream that tenants get; the newest unless said otherwise.
    pub(super) target_version: Option<i32>,
    /// Ids or slugs of the tenants that go first. If one of them fails, the rollout pauses.
    #[serde(default)]
    pub(super) canary: Vec<String>,
    /// The waves after the canaries: a share of all tenants with those of the waves before, such as `"25%"`, or
    /// `{"plan": …}`, `{"region": …}` or `{"label": "name=value"}`. The last one is `"100%"`; `["5%", "25%", "100%"]`
    /// unless said otherwise.
    #[schema(value_type = Option<Vec<Object>>, example = json!(["5%", "25%", "100%"]))]
    pub(super) waves: Option<Vec<Value>>,
    /// At most so many tenants of one server at a time, and no more than its `rollout_concurrency`.
    pub(super) concurrency: Option<i32>,
    /// With more failures than that it pauses: a share of the tenants in the waves that have begun, or a number; `2%`
    /// unless said otherwise.
    #[schema(example = "2%")]
    pub(super) max_failures: Option<String>,
}

impl NewRollout {
    pub(super) fn parse(self) -> Result<Request> {
        let usual = Request::default();
        let mut errors = Vec::new();
        let waves = match self.waves.as_deref().map(request::waves) {
            None => usual.waves,
            Some(Ok(waves)) => waves,
            Some(Err(Error::Validation(wrong))) => {
                errors.extend(wrong);
                usual.waves
            }
            Some(Err(error)) => return Err(error),
        };
        let max_failures = match self.max_failures.map(|text| text.parse()) {
            None => usual.max_failures,
            Some(Ok(limit)) => limit,
            Some(Err(invalid)) => {
                errors.push(FieldError::invalid("max_failures", invalid));
                usual.max_failures
            }
        };
        if !errors.is_empty() {
            return Err(Error::Validation(errors));
        }
        let Self { target_version: target, canary: canaries, concurrency, .. } = self;
        Ok(Request { target, canaries, waves, concurrency, max_failures })
    }
}

/// Starts a rollout of the published migrations to the tenants that are behind.
///
/// One with nothing to do has succeeded at once. At most one is unfinished.
#[utoipa::path(post, path = "/platform/v1/rollouts", tag = "rollouts", operation_id = "start_rollout",
    request_body = NewRollout,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses(
        (status = 202, description = "It is started; see Location", body = View),
        (status = 409, description = "Another rollout is not finished", body = Problem),
    ),
)]
pub(super) async fn start(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(body): Json<NewRollout>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, ROUTE, &body)?;
    let request = body.parse()?;
    let started = start::start(&state.operations, &request, &caller.origin(), idempotency.as_ref()).await?;
    accepted(&state, started.id).await
}
