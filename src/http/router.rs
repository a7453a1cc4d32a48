//! All routes, by listener and by who calls them.
//!
//! A route that is not in these tables does not exist. Each is described where its handler is; both tables
//! become the listener's OpenAPI document.

use std::sync::Arc;

use axum::{Router, extract::Request};
use tower::ServiceBuilder;
use utoipa::openapi::Info;
use utoipa_axum::router::OpenApiRouter;

use super::{AppState, Listener, Routes, auth, extract::TenantName, health, metrics, middleware, openapi, platform};

/// The public listener: tenants and their users. The product's name and version are told by its document.
pub fn public(state: &AppState, (name, version): (&str, &str), product: Routes) -> Router {
    // Members of a tenant
    let routes = own_public().merge(product.into_router());
    let rules = Arc::clone(&state.rules);
    let info = Info::new(format!("{name} tenant API"), version.to_owned());
    named(finish(Listener::Public, info, routes, state), move |request| TenantName::read(&rules, request))
}

/// What Freehold itself serves on the public listener, to anybody.
pub(super) fn own_public() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().merge(health::routes()).merge(auth::routes())
}

/// The admin listener: operators, scrapers and probes, on a private network.
pub fn admin(state: &AppState) -> Router {
    let routes = OpenApiRouter::new()
        // Anybody
        .merge(health::routes())
        .merge(auth::routes())
        // Operators
        .merge(platform::routes())
        // Scrapers
        .merge(metrics::routes());
    let info = Info::new("Freehold platform API", env!("CARGO_PKG_VERSION"));
    named(finish(Listener::Admin, info, routes, state), |_| TenantName::Platform)
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

fn finish(listener: Listener, info: Info, routes: OpenApiRouter<AppState>, state: &AppState) -> Router {
    let routes = openapi::with_docs(info, routes).with_state(state.clone());
    middleware::stack(listener, routes, state)
}
