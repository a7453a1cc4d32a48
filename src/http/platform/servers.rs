//! `/platform/v1/servers`.

mod change;
mod drain;
mod preflight;
mod register;
mod rotate;

use std::ops::RangeInclusive;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::servers::{self, Server},
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{ETag, Json, Listing, Operator, Path, right},
        problem::Problem,
    },
    servers::ServerVersion,
    types::ServerId,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, register::register))
        .routes(routes!(show, change::update))
        .routes(routes!(change::cordon))
        .routes(routes!(change::uncordon))
        .routes(routes!(drain::drain))
        .routes(routes!(preflight::preflight))
        .routes(routes!(rotate::credentials))
}

/// A PostgreSQL server that holds tenant databases. Its credential is never shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Server)]
struct View {
    /// Its id.
    id: ServerId,
    /// Its name.
    #[schema(example = "eu-1")]
    name: String,
    /// `tenants`, or `platform` for the one that holds the operators' own tenant.
    #[schema(example = "tenants")]
    purpose: &'static str,
    /// Host name or address.
    host: String,
    /// Port.
    port: u16,
    /// `verify-full` or `disable`.
    tls: String,
    /// The administrative role.
    admin_role: String,
    /// Where it stands.
    region: Option<String>,
    /// Free labels.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: serde_json::Value,
    /// The most sessions in its tenant databases.
    connection_budget: i32,
    /// Whether it takes no new tenants.
    cordoned: bool,
    /// The most tenants that it takes; null is as many as come.
    capacity: Option<i32>,
    /// How many databases are kept ready for new tenants; null follows demand.
    warm_target: Option<i32>,
    /// How many of its tenants a rollout migrates at a time.
    rollout_concurrency: i32,
    /// How many tenants have a database on it.
    tenants: i32,
    /// PostgreSQL's version.
    #[schema(example = "15.18")]
    version: String,
    /// When it was registered.
    created_at: DateTime<Utc>,
}

/// A server with its version.
type Versioned = (ETag, Json<View>);

fn versioned(server: Server) -> Versioned {
    (ETag(server.revision), Json(server.into()))
}

impl From<Server> for View {
    fn from(server: Server) -> Self {
        Self {
            id: server.id,
            name: server.name,
            purpose: if server.is_platform { "platform" } else { "tenants" },
            host: server.host,
            port: server.port,
            tls: server.tls,
            admin_role: server.admin_role,
            region: server.region,
            labels: server.labels,
            connection_budget: server.connection_budget,
            cordoned: server.cordoned,
            capacity: server.capacity,
            warm_target: server.warm_target,
            rollout_concurrency: server.rollout_concurrency,
            tenants: server.tenants,
            version: ServerVersion(server.version_num).to_string(),
            created_at: server.created_at,
        }
    }
}

/// All servers.
#[utoipa::path(get, path = "/platform/v1/servers", tag = "servers", operation_id = "list_servers", responses(
    (status = 200, description = "All servers", body = Listing<View>),
))]
async fn list(_: Operator<right::ServersRead>, State(state): State<AppState>) -> Result<Json<Listing<View>>, Problem> {
    let servers = servers::list(&mut *state.operations.db.acquire().await?).await?;
    Ok(Json(Listing::all(servers.into_iter().map(View::from).collect())))
}

/// One server.
#[utoipa::path(get, path = "/platform/v1/servers/{id}", tag = "servers", operation_id = "get_server",
    params(("id" = ServerId, Path)), responses(
    (status = 200, description = "The server", body = View, headers(("ETag" = String))),
))]
async fn show(
    _: Operator<right::ServersRead>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
) -> Result<Versioned, Problem> {
    let found = servers::get(&mut *state.operations.db.acquire().await?, id).await?;
    Ok(versioned(found.ok_or_else(|| Error::not_found("server"))?))
}

/// The number, if it is in its range.
fn within(field: &'static str, number: i32, range: RangeInclusive<i32>) -> Result<i32> {
    if range.contains(&number) {
        return Ok(number);
    }
    let message = format!("must be {} to {}", range.start(), range.end());
    Err(FieldError::new(field, "invalid_range", message).into())
}

fn check_region(region: Option<&str>) -> Result<()> {
    if region.is_some_and(|region| !(1..=63).contains(&region.len())) {
        return Err(FieldError::new("region", "invalid_length", "must be 1 to 63 characters long").into());
    }
    Ok(())
}
