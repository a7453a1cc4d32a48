//! `/platform/v1/jobs`: work that nobody waits for, such as mails.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::jobs::{self, Job},
    error::{Error, Result},
    http::{
        AppState,
        extract::{Json, List, Listing, NoBody, Operator, Page, Path, right},
        problem::Problem,
    },
    types::{JobId, TenantId},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(retry))
}

/// A job. What it carries is sealed, and shown to nobody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
struct View {
    /// Its id.
    id: JobId,
    /// What it does.
    #[schema(example = "mail.invitation")]
    kind: String,
    /// For which tenant.
    tenant_id: TenantId,
    /// Where it is in its life.
    #[schema(value_type = JobState)]
    state: &'static str,
    /// How often it was tried.
    attempts: i32,
    /// What went wrong last, what it waits for, or why there was nothing to do.
    note: Option<String>,
    /// When it is tried next; null unless it is queued.
    due_at: Option<DateTime<Utc>>,
    /// When it was queued.
    created_at: DateTime<Utc>,
    /// When it was done, or given up.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Job> for View {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            kind: job.kind,
            tenant_id: job.tenant_id,
            state: job.state.as_str(),
            attempts: job.attempts,
            note: job.note,
            due_at: (job.state == jobs::JobState::Queued).then_some(job.run_after),
            created_at: job.created_at,
            finished_at: job.finished_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only jobs in this state.
    state: Option<JobState>,
    /// Only jobs for this tenant.
    tenant_id: Option<TenantId>,
}

/// Where a job is in its life. A dead one has failed too often, or cannot succeed, and waits for an operator.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum JobState {
    Queued,
    Running,
    Done,
    Dead,
}

impl From<JobState> for jobs::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Done => Self::Done,
            JobState::Dead => Self::Dead,
        }
    }
}

/// All jobs, newest first. Those that are done are forgotten after a week, dead ones after 90 days.
#[utoipa::path(get, path = "/platform/v1/jobs", tag = "jobs", operation_id = "list_jobs",
    params(Page, Filter), responses(
    (status = 200, description = "A page of jobs", body = Listing<View>),
))]
async fn list(
    _: Operator<right::JobsRead>,
    State(state): State<AppState>,
    List { page, filter }: List<Filter>,
) -> Result<Json<Listing<View>>, Problem> {
    let after = page.after::<(DateTime<Utc>, JobId)>()?;
    let wanted = filter.state.map(jobs::JobState::from);
    let mut connection = state.operations.db.acquire().await?;
    let rows = jobs::page(&mut connection, wanted, filter.tenant_id, after, page.fetch()).await?;
    let views = rows.into_iter().map(View::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.created_at, last.id))?))
}

/// One job.
#[utoipa::path(get, path = "/platform/v1/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = JobId, Path)), responses((status = 200, description = "The job", body = View)),
)]
async fn show(
    _: Operator<right::JobsRead>,
    State(state): State<AppState>,
    Path(id): Path<JobId>,
) -> Result<Json<View>, Problem> {
    let found = jobs::get(&mut *state.operations.db.acquire().await?, id).await?;
    Ok(Json(found.ok_or_else(|| Error::not_found("job"))?.into()))
}

/// Has a dead job tried again, once what it died of is mended.
#[utoipa::path(post, path = "/platform/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retry_job",
    params(("id" = JobId, Path)), responses(
        (status = 200, description = "It is queued again", body = View),
        (status = 409, description = "It is not dead", body = Problem),
    ),
)]
async fn retry(
    caller: Operator<right::JobsWrite>,
    State(state): State<AppState>,
    Path(id): Path<JobId>,
    _: NoBody,
) -> Result<Json<View>, Problem> {
    Ok(Json(crate::jobs::retry(&state.operations.db, (&state.clock, state.random), id, &caller.origin()).await?.into()))
}
