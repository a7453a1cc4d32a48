//! `POST /platform/v1/servers`.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{View, check_region, within};
use crate::{
    error::Result,
    http::{
        AppState,
        extract::{ETag, IdempotencyKey, Json, Operator, right},
        problem::Problem,
    },
    operations::{
        fleet::register_server::{self, Request},
        labels,
    },
    servers::Finding,
};

/// Leaves room for administration and for people under PostgreSQL's own default of 100.
const DEFAULT_BUDGET: i32 = 80;
const ROUTE: &str = "POST /platform/v1/servers";

/// A server to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewServer {
    /// Unique name: 1 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    #[schema(example = "eu-1")]
    name: String,
    /// `postgres://ROLE:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`; the role has CREATEDB and CREATEROLE
    /// and is no superuser.
    #[schema(value_type = String, format = Password)]
    admin_url: SecretString,
    /// Where it stands.
    region: Option<String>,
    /// Free labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The most sessions in its tenant databases: 1 to 10,000; 80 unless said otherwise.
    connection_budget: Option<i32>,
    /// How many databases are kept ready for new tenants: 0 to 1,000; null follows demand.
    warm_target: Option<i32>,
    /// The most tenants that it takes; null is as many as come.
    capacity: Option<i32>,
}

/// A registered server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    /// The server.
    #[serde(flatten)]
    server: View,
    /// What an operator should know about it.
    warnings: Vec<Finding>,
}

/// Registers a server.
///
/// Its version and the role's rights are checked before anything is changed on it.
#[utoipa::path(post, path = "/platform/v1/servers", tag = "servers", operation_id = "register_server",
    request_body = NewServer,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses(
    (status = 201, description = "The server takes tenants", body = Registered, headers(("ETag" = String))),
    (status = 409, description = "The name is taken, or the server is registered already", body = Problem),
))]
pub(super) async fn register(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(body): Json<NewServer>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, ROUTE, &fingerprint(&body))?;
    let request = parse(body)?;
    let registered =
        register_server::register(&state.operations, &request, &caller.origin(), idempotency.as_ref()).await?;
    let location = [(header::LOCATION, format!("/platform/v1/servers/{}", registered.server.id))];
    let etag = ETag(registered.server.revision);
    let body = Registered { server: registered.server.into(), warnings: registered.warnings };
    Ok((StatusCode::CREATED, location, etag, Json(body)).into_response())
}

/// What makes two requests the same: every field, the credential included. Only a keyed digest of it is stored.
fn fingerprint(body: &NewServer) -> impl Serialize {
    let numbers = (body.connection_budget, body.warm_target, body.capacity);
    (&body.name, body.admin_url.expose_secret(), &body.region, &body.labels, numbers)
}

fn parse(body: NewServer) -> Result<Request> {
    let connection_budget = body.connection_budget.unwrap_or(DEFAULT_BUDGET);
    check_region(body.region.as_deref())?;
    let labels = body.labels.into_iter().map(|(name, value)| (name, Some(value))).collect();
    Ok(Request {
        name: body.name,
        admin_url: body.admin_url,
        region: body.region,
        labels: labels::merged(&serde_json::Value::Null, labels)?,
        connection_budget: within("connection_budget", connection_budget, 1..=10_000)?,
        capacity: body.capacity.map(|capacity| within("capacity", capacity, 0..=i32::MAX)).transpose()?,
        warm_target: body.warm_target.map(|target| within("warm_target", target, 0..=1_000)).transpose()?,
        is_platform: false,
    })
}
