//! `/platform/v1/operations`.

mod events;

use std::time::Duration;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::{
        operation_states::StepState,
        operation_steps::Step,
        operations::{self, Operation},
    },
    error::Result,
    http::{
        AppState,
        extract::{Json, List, Listing, NoBody, Operator, Page, Path, PreferWait, Right, right},
        platform::check_secrets,
        problem::Problem,
    },
    operations::{
        control,
        engine::wait::{self, Snapshot},
    },
    types::{OperationId, TenantId},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(events::events))
        .routes(routes!(retry))
        .routes(routes!(cancel))
}

/// A durable change to one tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
struct View {
    /// Its id.
    id: OperationId,
    /// What it does.
    #[schema(example = "tenant.provision")]
    kind: String,
    /// The tenant that it changes.
    tenant_id: TenantId,
    /// Where it is in its life.
    #[schema(value_type = OperationState)]
    state: &'static str,
    /// `forward`, or `undo` when what it did is undone.
    #[schema(example = "forward")]
    direction: &'static str,
    /// How much of it is done, from 0 to 1; null in lists.
    progress: Option<f64>,
    /// Its steps in order; null in lists.
    steps: Option<Vec<StepView>>,
    /// How often it was tried.
    attempts: i32,
    /// What went wrong last.
    error: Option<String>,
    /// Who asked for it.
    requested_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it began.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// One step of an operation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperationStep)]
struct StepView {
    /// Its name.
    name: String,
    /// `pending`, `running`, `succeeded` or `failed`; `undoing` or `undone` when the operation goes backwards.
    state: &'static str,
    /// How often it was begun.
    attempts: i32,
    /// When it was begun last.
    started_at: Option<DateTime<Utc>>,
    /// When it succeeded.
    finished_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    error: Option<String>,
}

impl View {
    fn new(operation: Operation, steps: Option<Vec<Step>>) -> Self {
        Self {
            id: operation.id,
            kind: operation.kind,
            tenant_id: operation.tenant_id,
            state: operation.state.as_str(),
            direction: operation.direction.as_str(),
            progress: steps.as_deref().map(progress),
            steps: steps.map(|steps| steps.into_iter().map(StepView::from).collect()),
            attempts: operation.attempts,
            error: operation.error,
            requested_by: operation.requested_by,
            created_at: operation.created_at,
            started_at: operation.started_at,
            finished_at: operation.finished_at,
        }
    }
}

impl From<Snapshot> for View {
    fn from(snapshot: Snapshot) -> Self {
        Self::new(snapshot.operation, Some(snapshot.steps))
    }
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self {
            name: step.name,
            state: step.state.as_str(),
            attempts: step.attempts,
            started_at: step.started_at,
            finished_at: step.finished_at,
            error: step.error,
        }
    }
}

fn progress(steps: &[Step]) -> f64 {
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let done = steps.iter().filter(|step| step.state == StepState::Succeeded).count();
    if steps.is_empty() { 1.0 } else { count(done) / count(steps.len()) }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Only operations in this state.
    state: Option<OperationState>,
    /// Only operations on this tenant.
    tenant_id: Option<TenantId>,
}

/// Where an operation is in its life.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OperationState {
    Queued,
    Running,
    Blocked,
    Succeeded,
    Failed,
    Cancelled,
}

impl OperationState {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// All operations, newest first.
#[utoipa::path(get, path = "/platform/v1/operations", tag = "operations", operation_id = "list_operations",
    params(Page, ListFilter), responses(
    (status = 200, description = "A page of operations, without their steps", body = Listing<View>),
))]
async fn list(
    _: Operator<right::OperationsRead>,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let after = page.after::<(DateTime<Utc>, OperationId)>()?;
    let wanted = filter.state.as_ref().map(OperationState::as_str);
    let mut connection = state.operations.db.acquire().await?;
    let rows = operations::page(&mut connection, wanted, filter.tenant_id, after, page.fetch()).await?;
    let views = rows.into_iter().map(|operation| View::new(operation, None)).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.created_at, last.id))?))
}

/// One operation with its steps. `Prefer: wait=N` waits up to N seconds for its end.
#[utoipa::path(get, path = "/platform/v1/operations/{id}", tag = "operations", operation_id = "get_operation",
    params(
        ("id" = OperationId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses((status = 200, description = "The operation", body = View)),
)]
async fn show(
    _: Operator<right::OperationsRead>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<OperationId>,
) -> Result<Json<View>, Problem> {
    Ok(Json(wait::finished(&state.operations, id, at_most).await?.into()))
}

/// Queues a blocked operation again, once what blocked it is mended. `Prefer: wait=N` waits up to N seconds for its
/// end.
#[utoipa::path(post, path = "/platform/v1/operations/{id}/retry", tag = "operations", operation_id = "retry_operation",
    params(
        ("id" = OperationId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 202, description = "It is queued; see Location", body = View),
        (status = 409, description = "It is not blocked", body = Problem),
    ),
)]
async fn retry(
    caller: Operator<right::OperationsWrite>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<OperationId>,
    _: NoBody,
) -> Result<Response, Problem> {
    check_secrets(&caller, wait::look(&state.operations, id).await?.operation.tenant_id)?;
    control::retry(&state.operations, id, &caller.origin()).await?;
    followed(&state, id, at_most).await
}

/// Has an operation undone: what it did so far is taken back, and it ends as `cancelled`.
///
/// `Prefer: wait=N` waits up to N seconds for that.
/// The erasure of a tenant is cancelled by those who may delete tenants, `tenants:delete`, and what rotates a secret of
/// the platform tenant by those who may do that, `keys:write`.
#[utoipa::path(post, path = "/platform/v1/operations/{id}/cancel", tag = "operations",
    operation_id = "cancel_operation",
    params(
        ("id" = OperationId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 202, description = "It will be undone; see Location", body = View),
        (status = 409, description = "It has ended, or has begun what cannot be undone", body = Problem),
    ),
)]
async fn cancel(
    caller: Operator<right::OperationsWrite>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<OperationId>,
    _: NoBody,
) -> Result<Response, Problem> {
    let operation = wait::look(&state.operations, id).await?.operation;
    check_secrets(&caller, operation.tenant_id)?;
    if control::is_deletion(&operation) {
        caller.principal.require(right::TenantsDelete::PERMISSION)?;
    }
    control::cancel(&state.operations, id, &caller.origin()).await?;
    followed(&state, id, at_most).await
}

/// 202 with the operation, once it has ended, is blocked, or `at_most` has passed.
async fn followed(state: &AppState, id: OperationId, at_most: Duration) -> Result<Response, Problem> {
    let operation = View::from(wait::finished(&state.operations, id, at_most).await?);
    let location = [(header::LOCATION, format!("/platform/v1/operations/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(operation)).into_response())
}
