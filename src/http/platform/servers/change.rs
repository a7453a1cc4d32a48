//! `PATCH /platform/v1/servers/{id}`, and its cordon.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Versioned, View, check_region, versioned, within};
use crate::{
    error::Result,
    http::{
        AppState,
        extract::{Change, ETag, IfMatch, Json, NoBody, Operator, Path, right},
        problem::Problem,
    },
    operations::fleet::update_server::{self, Patch},
    types::ServerId,
};

/// What shall change about a server; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerPatch {
    /// Where it stands; null is nowhere in particular.
    #[schema(value_type = Option<String>, required = false)]
    #[serde(default)]
    region: Change<Option<String>>,
    /// Labels to be set; null takes one away, and those that are not named stay.
    #[serde(default)]
    labels: BTreeMap<String, Option<String>>,
    /// The most sessions in its tenant databases: 1 to 10,000.
    #[schema(value_type = i32, required = false)]
    #[serde(default)]
    connection_budget: Change<i32>,
    /// How many databases are kept ready for new tenants: 0 to 1,000; null follows demand.
    #[schema(value_type = Option<i32>, required = false)]
    #[serde(default)]
    warm_target: Change<Option<i32>>,
    /// The most tenants that it takes; null is as many as come. Tenants that are there already stay.
    #[schema(value_type = Option<i32>, required = false)]
    #[serde(default)]
    capacity: Change<Option<i32>>,
    /// How many of its tenants a rollout migrates at a time, by all replicas together: 1 to 64.
    #[schema(value_type = i32, required = false)]
    #[serde(default)]
    rollout_concurrency: Change<i32>,
}

/// Changes what is said about a server and how much it takes.
#[utoipa::path(patch, path = "/platform/v1/servers/{id}", tag = "servers", operation_id = "update_server",
    request_body = ServerPatch,
    params(
        ("id" = ServerId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to change"),
    ),
    responses(
        (status = 200, description = "The server as it is now", body = View, headers(("ETag" = String))),
        (status = 409, description = "It is the platform server, which takes no tenants", body = Problem),
        (status = 412, description = "It is of another version", body = Problem),
    ),
)]
pub(super) async fn update(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
    expected: Option<IfMatch>,
    Json(body): Json<ServerPatch>,
) -> Result<Versioned, Problem> {
    let patch = parse(body)?;
    let expected = |revision| expected.map_or(Ok(()), |expected| expected.check(ETag(revision)));
    Ok(versioned(update_server::update(&state.operations, id, patch, expected, &caller.origin()).await?))
}

fn parse(body: ServerPatch) -> Result<Patch> {
    let region = body.region.sent();
    check_region(region.as_ref().and_then(Option::as_deref))?;
    let optional = |field, number: Option<Option<i32>>, most| {
        number.map(|number| number.map(|number| within(field, number, 0..=most)).transpose()).transpose()
    };
    Ok(Patch {
        region,
        labels: body.labels,
        connection_budget: body
            .connection_budget
            .sent()
            .map(|budget| within("connection_budget", budget, 1..=10_000))
            .transpose()?,
        capacity: optional("capacity", body.capacity.sent(), i32::MAX)?,
        warm_target: optional("warm_target", body.warm_target.sent(), 1_000)?,
        rollout_concurrency: body
            .rollout_concurrency
            .sent()
            .map(|places| within("rollout_concurrency", places, 1..=64))
            .transpose()?,
        cordoned: None,
    })
}

/// Keeps new tenants from a server; those that are there stay and are served.
#[utoipa::path(post, path = "/platform/v1/servers/{id}/cordon", tag = "servers", operation_id = "cordon_server",
    params(("id" = ServerId, Path)), responses(
    (status = 200, description = "The server takes no new tenants", body = View, headers(("ETag" = String))),
    (status = 409, description = "It is the platform server", body = Problem),
))]
pub(super) async fn cordon(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
    _: NoBody,
) -> Result<Versioned, Problem> {
    let origin = caller.origin();
    Ok(versioned(update_server::cordon(&state.operations, id, true, "server.cordon", &origin).await?))
}

/// Lets new tenants come to a server again.
#[utoipa::path(post, path = "/platform/v1/servers/{id}/uncordon", tag = "servers", operation_id = "uncordon_server",
    params(("id" = ServerId, Path)), responses(
    (status = 200, description = "The server takes new tenants", body = View, headers(("ETag" = String))),
    (status = 409, description = "It is the platform server", body = Problem),
))]
pub(super) async fn uncordon(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
    _: NoBody,
) -> Result<Versioned, Problem> {
    let origin = caller.origin();
    Ok(versioned(update_server::cordon(&state.operations, id, false, "server.uncordon", &origin).await?))
}
