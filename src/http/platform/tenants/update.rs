//! `PATCH /platform/v1/tenants/{id}`.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Versioned, View};
use crate::{
    http::{
        AppState,
        extract::{Change, ETag, IfMatch, Json, Operator, Path, right},
        problem::Problem,
    },
    operations::tenants::update::{self, Patch},
    types::{DisplayName, Slug, TenantId},
};

/// What shall change about a tenant; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantPatch {
    /// Its public name. Its host changes with it; the former one leads to the new one for a time.
    #[schema(value_type = Slug, required = false)]
    #[serde(default)]
    slug: Change<Slug>,
    /// Its name for people.
    #[schema(value_type = DisplayName, required = false)]
    #[serde(default)]
    name: Change<DisplayName>,
    /// The name of its plan.
    #[schema(value_type = String, required = false)]
    #[serde(default)]
    plan: Change<String>,
    /// The version of the product's stream beyond which rollouts do not take it; null lets it go with the others.
    #[schema(value_type = Option<i32>, required = false)]
    #[serde(default)]
    pinned_version: Change<Option<i32>>,
    /// Labels to be set; null takes one away, and those that are not named stay.
    #[serde(default)]
    labels: BTreeMap<String, Option<String>>,
}

/// Renames a tenant, changes its plan or labels, or pins its schema.
#[utoipa::path(patch, path = "/platform/v1/tenants/{id}", tag = "tenants", operation_id = "update_tenant",
    request_body = TenantPatch,
    params(
        ("id" = TenantId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to change"),
    ),
    responses(
        (status = 200, description = "The tenant as it is now", body = View, headers(("ETag" = String))),
        (status = 409, description = "The slug is taken, or the tenant is being made", body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
        (status = 412, description = "It is of another version", body = Problem),
    ),
)]
pub(super) async fn update(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    expected: Option<IfMatch>,
    Json(body): Json<TenantPatch>,
) -> Result<Versioned, Problem> {
    let patch = Patch {
        slug: body.slug.sent(),
        name: body.name.sent(),
        plan: body.plan.sent(),
        pinned: body.pinned_version.sent(),
        labels: body.labels,
    };
    let expected = |revision| expected.map_or(Ok(()), |expected| expected.check(ETag(revision)));
    let tenant = update::update(&state.operations, id, patch, expected, &caller.origin()).await?;
    Ok(Versioned::new(tenant, &state).await?)
}
