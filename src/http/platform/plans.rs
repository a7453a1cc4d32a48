//! `/platform/v1/plans`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::plans,
    http::{
        AppState,
        extract::{Json, Listing, Operator, right},
        problem::Problem,
    },
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A plan. In `limits` and `quotas` an absent or null entry means unlimited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
struct View {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// Rates.
    #[schema(value_type = Object)]
    limits: plans::Limits,
    /// Amounts.
    #[schema(value_type = Object)]
    quotas: plans::Quotas,
    /// Switches.
    features: Vec<String>,
}

/// All plans.
#[utoipa::path(get, path = "/platform/v1/plans", tag = "plans", operation_id = "list_plans", responses(
    (status = 200, description = "All plans", body = Listing<View>),
))]
async fn list(_: Operator<right::PlansRead>, State(state): State<AppState>) -> Result<Json<Listing<View>>, Problem> {
    let plans = plans::list(&mut *state.operations.db.acquire().await?).await?;
    let view =
        |plan: plans::Plan| View { name: plan.name, limits: plan.limits, quotas: plan.quotas, features: plan.features };
    Ok(Json(Listing::all(plans.into_iter().map(view).collect())))
}
