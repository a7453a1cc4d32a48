//! `/platform/v1/rollouts`: the published migrations, carried to the tenants that exist.

mod control;
mod events;
mod plan;
mod start;
mod undo;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::{
        rollout_tenants::{self, Counts, Member, MemberState},
        rollout_waves::Wave,
        rollouts as rows,
    },
    error::{Error, Result},
    http::{
        AppState,
        extract::{Json, List, Listing, Operator, Page, Path, right},
        problem::Problem,
    },
    rollouts::progress::{self, Snapshot},
    types::{RolloutId, Slug, TenantId},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, start::start))
        .routes(routes!(plan::plan))
        .routes(routes!(show))
        .routes(routes!(tenants))
        .routes(routes!(events::events))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::abort))
        .routes(routes!(control::retry))
        .routes(routes!(control::skip))
        .routes(routes!(undo::undo))
}

/// A rollout: the published migrations, carried to the tenants that exist.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollout)]
struct View {
    /// Its id.
    id: RolloutId,
    /// Where it is in its life.
    #[schema(value_type = RolloutState)]
    state: &'static str,
    /// The version of Freehold's own stream that tenants get.
    freehold_version: i32,
    /// The version of the product's stream that tenants get; of an undo, the oldest that one goes back to.
    schema_version: i32,
    /// The rollout that it undoes.
    undoes: Option<RolloutId>,
    /// How many tenants are where.
    counts: CountsView,
    /// Its waves, in order; null in lists. A rollout with nothing to do has none.
    waves: Option<Vec<WaveView>>,
    /// How many tenants a second are migrated at present; null while none are, and in lists.
    tenants_per_second: Option<f64>,
    /// How long it takes to the end at this rate.
    seconds_left: Option<u64>,
    /// At most so many tenants of one server at a time; null leaves that to the servers.
    concurrency: Option<i32>,
    /// With more failures than that it pauses.
    #[schema(example = "2%")]
    max_failures: String,
    /// Why it pauses, or was aborted: a code and a sentence.
    #[schema(example = "too_many_failures: 3 of 60 tenants failed, which is more than 2%")]
    reason: Option<String>,
    /// Who asked for it.
    requested_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When its first wave began.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// How many tenants are where.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutCounts)]
struct CountsView {
    /// They wait.
    pending: i64,
    /// They are being migrated.
    running: i64,
    /// Their schema is proven to be the target's.
    done: i64,
    /// They could not be migrated, and serve as before.
    failed: i64,
    /// They were left out.
    skipped: i64,
}

/// A wave.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutWave)]
struct WaveView {
    /// Its place; 0 are the canaries.
    position: i32,
    /// What it is made of: `"canary"`, a share of all tenants, or those of a plan, region or label.
    #[schema(value_type = Object, example = "25%")]
    tenants: Value,
    /// `pending`, `running` or `done`.
    state: &'static str,
    /// How many of its tenants are where.
    counts: CountsView,
    /// When it began.
    started_at: Option<DateTime<Utc>>,
    /// When none of its tenants was left.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        let Counts { pending, running, done, failed, skipped } = counts;
        Self { pending, running, done, failed, skipped }
    }
}

impl From<(Wave, Counts)> for WaveView {
    fn from((wave, counts): (Wave, Counts)) -> Self {
        Self {
            position: wave.position,
            tenants: wave.members,
            state: wave.state.as_str(),
            counts: counts.into(),
            started_at: wave.started_at,
            finished_at: wave.finished_at,
        }
    }
}

impl View {
    fn new(rollout: rows::Rollout, counts: Counts) -> Self {
        Self {
            id: rollout.id,
            state: rollout.state.as_str(),
            freehold_version: rollout.target.freehold,
            schema_version: rollout.target.product,
            undoes: rollout.undoes,
            counts: counts.into(),
            waves: None,
            tenants_per_second: None,
            seconds_left: None,
            concurrency: rollout.concurrency,
            max_failures: rollout.max_failures,
            reason: rollout.reason,
            requested_by: rollout.requested_by,
            created_at: rollout.created_at,
            started_at: rollout.started_at,
            finished_at: rollout.finished_at,
        }
    }
}

impl From<Snapshot> for View {
    fn from(snapshot: Snapshot) -> Self {
        let seconds_left = snapshot.left().map(|left| left.as_secs());
        Self {
            waves: Some(snapshot.waves.into_iter().map(WaveView::from).collect()),
            tenants_per_second: snapshot.rate,
            seconds_left,
            ..Self::new(snapshot.rollout, snapshot.counts)
        }
    }
}

/// Where a rollout is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RolloutState {
    Planned,
    Running,
    Paused,
    Succeeded,
    Failed,
    Aborted,
}

impl RolloutState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Only rollouts in this state.
    state: Option<RolloutState>,
}

/// All rollouts, newest first.
#[utoipa::path(get, path = "/platform/v1/rollouts", tag = "rollouts", operation_id = "list_rollouts",
    params(Page, ListFilter), responses(
    (status = 200, description = "A page of rollouts, without their waves", body = Listing<View>),
))]
async fn list(
    _: Operator<right::RolloutsRead>,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let after = page.after::<(DateTime<Utc>, RolloutId)>()?;
    let mut connection = state.operations.db.acquire().await?;
    let wanted = filter.state.map(RolloutState::as_str);
    let found = rows::page(&mut connection, wanted, after, page.fetch()).await?;
    let mut views = Vec::with_capacity(found.len());
    for rollout in found {
        let counts = rollout_tenants::counts(&mut connection, rollout.id).await?;
        views.push(View::new(rollout, counts.into_iter().map(|(_, counts)| counts).sum()));
    }
    Ok(Json(Listing::new(views, &page, |last: &View| (last.created_at, last.id))?))
}

/// One rollout with its waves.
#[utoipa::path(get, path = "/platform/v1/rollouts/{id}", tag = "rollouts", operation_id = "get_rollout",
    params(("id" = RolloutId, Path)), responses((status = 200, description = "The rollout", body = View)),
)]
async fn show(
    _: Operator<right::RolloutsRead>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
) -> Result<Json<View>, Problem> {
    Ok(Json(progress::look(&state.operations, id).await?.into()))
}

/// 202 with the rollout as it is now.
async fn accepted(state: &AppState, id: RolloutId) -> Result<Response, Problem> {
    let view = View::from(progress::look(&state.operations, id).await?);
    let location = [(header::LOCATION, format!("/platform/v1/rollouts/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(view)).into_response())
}

/// A tenant of a rollout.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutTenant)]
struct MemberView {
    /// Its id.
    tenant_id: TenantId,
    /// Its public name.
    slug: Slug,
    /// The place of its wave.
    wave: i32,
    /// `pending`, `running`, `done`, `failed` or `skipped`.
    state: &'static str,
    /// The version of the product's stream that it had.
    from_version: i32,
    /// The one that it gets.
    to_version: i32,
    /// The version of Freehold's own stream that it had.
    from_freehold_version: i32,
    /// The one that it gets.
    to_freehold_version: i32,
    /// Whether its schema was right already, so that only its history was corrected.
    adopted: bool,
    /// How often it was tried.
    attempts: i32,
    /// Why it failed, was left out, or is tried again: a code and a sentence.
    #[schema(example = "tenant_locked: an operation on the tenant is under way")]
    error: Option<String>,
    /// How long the last attempt took.
    duration_ms: Option<i64>,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        Self {
            tenant_id: member.tenant_id,
            slug: member.slug,
            wave: member.wave,
            state: member.state.as_str(),
            from_version: member.from.product,
            to_version: member.to.product,
            from_freehold_version: member.from.freehold,
            to_freehold_version: member.to.freehold,
            adopted: member.adopted,
            attempts: member.attempts,
            error: member.error.map(|(code, detail)| format!("{code}: {detail}")),
            duration_ms: member.duration_ms,
        }
    }
}

/// Where a tenant of a rollout is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RolloutTenantState {
    Pending,
    Running,
    Done,
    Failed,
    Skipped,
}

impl From<RolloutTenantState> for MemberState {
    fn from(state: RolloutTenantState) -> Self {
        match state {
            RolloutTenantState::Pending => Self::Pending,
            RolloutTenantState::Running => Self::Running,
            RolloutTenantState::Done => Self::Done,
            RolloutTenantState::Failed => Self::Failed,
            RolloutTenantState::Skipped => Self::Skipped,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantFilter {
    /// Only tenants in this state.
    #[param(inline)]
    state: Option<RolloutTenantState>,
}

/// The tenants of a rollout, by id.
#[utoipa::path(get, path = "/platform/v1/rollouts/{id}/tenants", tag = "rollouts", operation_id = "list_rollout_tenants",
    params(("id" = RolloutId, Path), Page, TenantFilter), responses(
    (status = 200, description = "A page of its tenants", body = Listing<MemberView>),
))]
async fn tenants(
    _: Operator<right::RolloutsRead>,
    State(state): State<AppState>,
    Path(id): Path<RolloutId>,
    List { page, filter }: List<TenantFilter>,
) -> Result<Json<Listing<MemberView>>, Problem> {
    let after = page.after::<TenantId>()?;
    let mut connection = state.operations.db.acquire().await?;
    rows::get(&mut connection, id).await?.ok_or_else(|| Error::not_found("rollout"))?;
    let wanted = filter.state.map(MemberState::from);
    let found = rollout_tenants::page(&mut connection, id, wanted, after, page.fetch()).await?;
    let views = found.into_iter().map(MemberView::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &MemberView| last.tenant_id)?))
}
