//! All routes, by listener and by who calls them.
//!
//! These tables have every route. Each route is described at its handler, and the tables become the listener's OpenAPI
//! document. Routes without a tenant are served whatever tenant the request names. All other routes belong to a tenant,
//! and [`admission`] wraps them. Unless the description of a route says `security(())`, only the tenant's users may
//! call it.

use std::sync::Arc;

use axum::{Router, extract::Request, middleware::from_fn_with_state};
use tower::ServiceBuilder;
use utoipa::openapi::Info;
use utoipa_axum::router::OpenApiRouter;

use super::{
    AppState, Listener, Routes,
    admission::{self, Admission, TenantName},
    auth, health, metrics,
    middleware::{self, Groups},
    openapi::{self, Operations},
    people, platform,
    uncopied::Uncopied,
};

/// The public listener: tenants and their users. The product's name and version are told by its document.
pub fn public(state: &AppState, (name, version): (&str, &str), product: Routes) -> Router {
    let tenants = OpenApiRouter::new()
        // Whoever comes to a tenant
        .merge(auth::open_routes())
        // Members of a tenant
        .merge(auth::routes())
        .merge(people::routes())
        .merge(product.into_router());
    let rules = Arc::clone(&state.rules);
    let info = Info::new(format!("{name} tenant API"), version.to_owned());
    let routes = finish(Listener::Public, info, (health::routes(), tenants), state);
    named(routes, move |request| TenantName::read(&rules, request))
}

/// What Freehold itself serves on the public listener: what a product must not serve too.
pub(super) fn own_public() -> OpenApiRouter<AppState> {
    let own = OpenApiRouter::new().merge(health::routes()).merge(auth::open_routes()).merge(auth::routes());
    own.merge(people::routes())
}

/// The admin listener: operators, scrapers and probes, on a private network.
pub fn admin(state: &AppState) -> Router {
    let anybody = OpenApiRouter::new()
        .merge(health::routes())
        // Scrapers, who have a token of their own
        .merge(metrics::routes());
    let tenants = OpenApiRouter::new()
        // Whoever comes to the platform tenant
        .merge(auth::open_routes())
        // Operators
        .merge(auth::routes())
        .merge(people::routes())
        .merge(platform::routes());
    let info = Info::new("Freehold platform API", env!("CARGO_PKG_VERSION"));
    named(finish(Listener::Admin, info, (anybody, tenants), state), |_| TenantName::Platform)
}

/// Notes which tenant a request names, and takes a path prefix off, before it is routed.
fn named(routes: Router, name: impl Fn(&mut Request) -> TenantName + Clone + Send + Sync + 'static) -> Router {
    let note = move |mut request: Request| {
        let name = name(&mut request);
        request.extensions_mut().insert(name);
        request
    };
    Router::new().fallback_service(ServiceBuilder::new().map_request(note).service(routes))
}

/// `groups`: the routes for anybody, and those of a tenant.
fn finish(
    listener: Listener,
    info: Info,
    groups: (OpenApiRouter<AppState>, OpenApiRouter<AppState>),
    state: &AppState,
) -> Router {
    let ((anybody, document), (tenants, theirs)) = (groups.0.split_for_parts(), groups.1.split_for_parts());
    let document = openapi::complete(info, document.merge_from(theirs));
    let operations = Arc::new(Operations::of(&document));
    let strict = from_fn_with_state(Arc::clone(&operations), openapi::refuse_unknown_parameters);
    let anybody = anybody.route_layer(strict).merge(openapi::routes(document));
    let turn_away = from_fn_with_state(Arc::clone(&operations), admission::turn_away);
    let tenants = tenants.route_layer(ServiceBuilder::new().layer(turn_away).layer_fn(Uncopied::new));
    let groups = Groups {
        anybody: anybody.with_state(state.clone()),
        tenants: tenants.with_state(state.clone()),
        admission: Admission::new(state, operations),
    };
    middleware::stack(listener, groups, state)
}
