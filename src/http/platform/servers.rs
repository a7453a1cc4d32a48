//! `/platform/v1/servers`.

mod rotate;

use std::{collections::BTreeMap, ops::RangeInclusive};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::{
        idempotency,
        servers::{self, Server},
    },
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{IdempotencyKey, Json, Listing, Operator, Path, right},
        problem::Problem,
    },
    operations::register_server::{self, Request},
    servers::ServerVersion,
    types::ServerId,
};

/// Leaves room for administration and for people under PostgreSQL's own default of 100.
const DEFAULT_BUDGET: i32 = 80;
const ROUTE: &str = "POST /platform/v1/servers";

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, register)).routes(routes!(show)).routes(routes!(rotate::credentials))
}

/// A PostgreSQL server that holds tenant databases. Its credential is never shown.
#[derive(Debug, Serialize, ToSchema)]
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
    #[schema(value_type = BTreeMap<String, String>)]
    labels: serde_json::Value,
    /// The most sessions in its tenant databases.
    connection_budget: i32,
    /// Whether it takes no new tenants.
    cordoned: bool,
    /// The most tenants that it takes; null is as many as come.
    capacity: Option<i32>,
    /// How many databases are kept ready for new tenants; null follows demand.
    warm_target: Option<i32>,
    /// How many tenants have a database on it.
    tenants: i32,
    /// PostgreSQL's version.
    #[schema(example = "15.18")]
    version: String,
    /// When it was registered.
    created_at: DateTime<Utc>,
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
            tenants: server.tenants,
            version: ServerVersion(server.version_num).to_string(),
            created_at: server.created_at,
        }
    }
}

/// A server to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewServer {
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
struct Registered {
    /// The server.
    #[serde(flatten)]
    server: View,
    /// What an operator should know about it.
    warnings: Vec<String>,
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
    (status = 200, description = "The server", body = View),
))]
async fn show(
    _: Operator<right::ServersRead>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
) -> Result<Json<View>, Problem> {
    let found = servers::get(&mut *state.operations.db.acquire().await?, id).await?;
    Ok(Json(found.ok_or_else(|| Error::not_found("server"))?.into()))
}

/// Registers a server.
///
/// Its version and the role's rights are checked before anything is changed on it.
#[utoipa::path(post, path = "/platform/v1/servers", tag = "servers", operation_id = "register_server",
    request_body = NewServer,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses(
    (status = 201, description = "The server takes tenants", body = Registered),
    (status = 409, description = "The name is taken, or the server is registered already", body = Problem),
))]
async fn register(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(body): Json<NewServer>,
) -> Result<Response, Problem> {
    let principal = caller.principal.id_text();
    let fingerprint = fingerprint(&body)?;
    let idempotency = key.as_ref().map(|key| idempotency::Request {
        principal: &principal,
        route: ROUTE,
        key: key.as_str(),
        body: fingerprint.expose_secret().as_bytes(),
    });
    let request = parse(body)?;
    let registered =
        register_server::register(&state.operations, &request, &caller.origin(), idempotency.as_ref()).await?;
    let location = format!("/platform/v1/servers/{}", registered.server.id);
    let warning = |name: String| {
        format!("PUBLIC may connect to the database {name}; as its owner: REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    };
    let warnings = registered.open_databases.into_iter().map(warning).collect();
    let body = Registered { server: registered.server.into(), warnings };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(body)).into_response())
}

/// What makes two requests the same: every field, the credential included. Only a keyed digest of it is stored.
fn fingerprint(body: &NewServer) -> Result<SecretString> {
    let numbers = (body.connection_budget, body.warm_target, body.capacity);
    let fields = (&body.name, body.admin_url.expose_secret(), &body.region, &body.labels, numbers);
    serde_json::to_string(&fields).map(SecretString::from).map_err(Error::internal)
}

fn parse(body: NewServer) -> Result<Request> {
    let connection_budget = body.connection_budget.unwrap_or(DEFAULT_BUDGET);
    check_region(body.region.as_deref())?;
    check_labels(&body.labels)?;
    Ok(Request {
        name: body.name,
        admin_url: body.admin_url,
        region: body.region,
        labels: serde_json::to_value(body.labels).map_err(Error::internal)?,
        connection_budget: within("connection_budget", connection_budget, 1..=10_000)?,
        capacity: body.capacity.map(|capacity| within("capacity", capacity, 0..=i32::MAX)).transpose()?,
        warm_target: body.warm_target.map(|target| within("warm_target", target, 0..=1_000)).transpose()?,
        is_platform: false,
    })
}

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

fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > 50 || labels.iter().any(|(key, value)| key.len() > 63 || value.len() > 255) {
        return Err(FieldError::new("labels", "too_many", "must be 50 at most, of 63 and 255 characters").into());
    }
    Ok(())
}
