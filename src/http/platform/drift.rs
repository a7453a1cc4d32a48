//! `/platform/v1/drift`: objects of tenants' schemas that are not what the tenants' versions say.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::{
        checks::{self, Standing},
        drifts::{self, Drift},
    },
    error::Result,
    http::{
        AppState,
        extract::{Json, List, Listing, NoBody, Operator, Page, right},
        problem::Problem,
    },
    operations::checks::drift::{self, Tally},
    types::TenantId,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, sweep)).routes(routes!(standing))
}

/// An object of a tenant's schema that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drift)]
struct View {
    /// Whose schema it is in.
    tenant_id: TenantId,
    /// Its kind and its name.
    #[schema(example = "column public.projects.name")]
    object: String,
    /// What it should be, in PostgreSQL's words; null if it should not be there.
    expected: Option<String>,
    /// What it is; null if it is not there.
    actual: Option<String>,
    /// When that was seen.
    found_at: DateTime<Utc>,
    /// Its place among those of the tenant.
    #[serde(skip)]
    position: i32,
}

impl From<Drift> for View {
    fn from(drift: Drift) -> Self {
        let Drift { tenant, position, object, expected, actual, found_at } = drift;
        Self { tenant_id: tenant, object, expected, actual, found_at, position }
    }
}

/// How the sweep stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DriftSweep)]
struct Sweep {
    /// When a round was asked for that has not come to its end yet.
    asked_at: Option<DateTime<Utc>>,
    /// When the round under way, or the last one, began.
    began_at: Option<DateTime<Utc>>,
    /// When the last round ended.
    ended_at: Option<DateTime<Utc>>,
    /// What the last round counted.
    last: Tally,
}

impl From<Standing> for Sweep {
    fn from(standing: Standing) -> Self {
        let Standing { asked_at, began_at, ended_at, counts } = standing;
        Self { asked_at, began_at, ended_at, last: Tally::of(&counts) }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only those of this tenant.
    tenant_id: Option<TenantId>,
}

/// What the last look at each tenant found, by tenant and object.
#[utoipa::path(get, path = "/platform/v1/drift", tag = "checks", operation_id = "list_drift",
    params(Page, Filter), responses(
    (status = 200, description = "A page of differences", body = Listing<View>),
))]
async fn list(
    _: Operator<right::FleetVerify>,
    State(state): State<AppState>,
    List { page, filter }: List<Filter>,
) -> Result<Json<Listing<View>>, Problem> {
    let after = page.after::<(TenantId, i32)>()?;
    let mut connection = state.operations.db.acquire().await?;
    let drifts = drifts::page(&mut connection, filter.tenant_id, after, page.fetch()).await?;
    let views = drifts.into_iter().map(View::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.tenant_id, last.position))?))
}

/// Asks for a sweep over all tenants. It begins at once, and reads each tenant's schema. Changes nothing.
#[utoipa::path(post, path = "/platform/v1/drift", tag = "checks", operation_id = "sweep_drift", responses(
    (status = 202, description = "It is asked for: `asked_at` is null again once it has ended", body = Sweep),
))]
async fn sweep(
    caller: Operator<right::FleetVerify>,
    State(state): State<AppState>,
    _: NoBody,
) -> Result<(StatusCode, Json<Sweep>), Problem> {
    drift::ask(&state.operations, &caller.origin()).await?;
    Ok((StatusCode::ACCEPTED, Json(read(&state).await?)))
}

/// How the sweep stands.
#[utoipa::path(get, path = "/platform/v1/drift/sweep", tag = "checks", operation_id = "show_drift_sweep", responses(
    (status = 200, description = "How the sweep stands", body = Sweep),
))]
async fn standing(_: Operator<right::FleetVerify>, State(state): State<AppState>) -> Result<Json<Sweep>, Problem> {
    Ok(Json(read(&state).await?))
}

async fn read(state: &AppState) -> Result<Sweep> {
    let mut connection = state.operations.db.acquire().await?;
    Ok(checks::standing(&mut connection, drift::NAME).await?.into())
}
