//! `/platform/v1/tenants`.

mod adoption;
mod archiving;
mod cloning;
mod create;
mod deletion;
mod export;
mod import;
mod progress;
mod rehearsal;
mod rotate;
mod suspension;
mod update;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::{
        servers,
        tenants::{self, Filter, Tenant, TenantState},
    },
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{ETag, Json, List, Listing, Operator, Page, Path, right},
        problem::Problem,
    },
    types::{ServerId, Slug, TenantId},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create::create))
        .routes(routes!(show, update::update))
        .routes(routes!(suspension::suspend))
        .routes(routes!(suspension::resume))
        .routes(routes!(deletion::delete))
        .routes(routes!(deletion::undelete))
        .routes(routes!(deletion::certificate))
        .merge(archiving::routes())
        .routes(routes!(export::export))
        .routes(routes!(import::import))
        .routes(routes!(cloning::clone))
        .routes(routes!(adoption::adopt))
        .routes(routes!(rehearsal::rehearse))
        .routes(routes!(rehearsal::last))
        .routes(routes!(rotate::credentials))
        .routes(routes!(rotate::signing_keys))
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
struct View {
    /// Its id; the hexadecimal part names its database.
    id: TenantId,
    /// Its public name.
    slug: Slug,
    /// Its name for people.
    name: String,
    /// Where it is in its life.
    #[schema(example = "active")]
    state: &'static str,
    /// The name of its plan.
    plan: String,
    /// The name of the server that holds its database.
    server: String,
    /// The newest migration of Freehold's own stream in its database.
    freehold_version: i32,
    /// The newest migration of the product's in its database.
    schema_version: i32,
    /// The version of the product's stream beyond which rollouts do not take it; null when it is not pinned.
    pinned_version: Option<i32>,
    /// Labels.
    #[schema(value_type = BTreeMap<String, String>)]
    labels: serde_json::Value,
    /// Why it is suspended; null when it is not.
    suspension_reason: Option<String>,
    /// When it will be erased; null unless it is being deleted.
    erase_after: Option<DateTime<Utc>>,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// Its public address.
    url: String,
}

/// A tenant with its version.
struct Versioned {
    view: View,
    revision: i64,
}

impl Versioned {
    async fn new(tenant: Tenant, state: &AppState) -> Result<Self> {
        // What is told here has been done.
        let servers = servers::list(&mut *state.operations.db.acquire_for_change().await?).await?;
        Ok(Self { revision: tenant.revision, view: View::new(tenant, &servers, state) })
    }
}

impl IntoResponse for Versioned {
    fn into_response(self) -> Response {
        (ETag(self.revision), Json(self.view)).into_response()
    }
}

impl View {
    fn new(tenant: Tenant, servers: &[servers::Server], state: &AppState) -> Self {
        let server = servers.iter().find(|server| server.id == tenant.server_id);
        Self {
            id: tenant.id,
            url: (state.public_url)(&tenant.slug),
            slug: tenant.slug,
            name: tenant.name,
            state: tenant.state.as_str(),
            plan: tenant.plan,
            server: server.map(|server| server.name.clone()).unwrap_or_default(),
            freehold_version: tenant.versions.freehold,
            schema_version: tenant.versions.product,
            pinned_version: tenant.pinned,
            labels: tenant.labels,
            suspension_reason: tenant.suspension,
            erase_after: tenant.erase_after,
            created_at: tenant.created_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Part of the slug or the name.
    q: Option<String>,
    /// Only tenants in this state.
    state: Option<String>,
    /// Only tenants on this plan.
    plan: Option<String>,
    /// Only tenants on the server of this name.
    server: Option<String>,
}

/// All tenants, newest first.
#[utoipa::path(get, path = "/platform/v1/tenants", tag = "tenants", operation_id = "list_tenants",
    params(Page, ListFilter), responses(
    (status = 200, description = "A page of tenants", body = Listing<View>),
))]
async fn list(
    _: Operator<right::TenantsRead>,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let mut connection = state.operations.db.acquire().await?;
    let servers = servers::list(&mut connection).await?;
    let filter = parse(filter, &servers)?;
    let after = page.after::<(DateTime<Utc>, TenantId)>()?;
    let rows = tenants::page(&mut connection, &filter, after, page.fetch()).await?;
    let total = if page.include_total() { Some(tenants::count(&mut connection, &filter).await?) } else { None };
    let views = rows.into_iter().map(|tenant| View::new(tenant, &servers, &state)).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.created_at, last.id))?.with_total(total)))
}

fn parse(filter: ListFilter, servers: &[servers::Server]) -> Result<Filter> {
    let state = filter.state.map(|state| state.parse::<TenantState>());
    let unknown_state = |_| FieldError::new("state", "invalid_value", "is not a state that a tenant can be in");
    let server = filter.server.map(|name| servers.iter().find(|server| server.name == name).map(|server| server.id));
    let unknown_server = || FieldError::new("server", "unknown_server", "there is no such server");
    Ok(Filter {
        q: filter.q,
        state: state.transpose().map_err(unknown_state)?,
        plan: filter.plan,
        server_id: server.map(|found: Option<ServerId>| found.ok_or_else(unknown_server)).transpose()?,
    })
}

/// One tenant, by id or by slug.
#[utoipa::path(get, path = "/platform/v1/tenants/{id}", tag = "tenants", operation_id = "get_tenant",
    params(("id" = String, Path, description = "The tenant's id or slug")),
    responses((status = 200, description = "The tenant", body = View, headers(("ETag" = String)))),
)]
async fn show(
    _: Operator<right::TenantsRead>,
    State(state): State<AppState>,
    Path(reference): Path<String>,
) -> Result<Versioned, Problem> {
    let mut connection = state.operations.db.acquire().await?;
    // A slug holds no underscore, an id always does.
    let found = if reference.contains('_') {
        let invalid = |invalid: crate::types::Invalid| Error::BadRequest {
            code: "invalid_id",
            detail: format!("the id in the path {}", invalid.message),
        };
        tenants::get(&mut connection, reference.parse().map_err(invalid)?).await?
    } else {
        match Slug::from_stored(&reference) {
            Ok(slug) => tenants::by_slug(&mut connection, &slug).await?,
            Err(_) => None,
        }
    };
    let tenant = found.filter(|tenant| !tenant.is_platform).ok_or_else(|| Error::not_found("tenant"))?;
    drop(connection);
    Ok(Versioned::new(tenant, &state).await?)
}
