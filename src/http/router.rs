//! All routes, by listener and by who calls them.
//!
//! A route that is not in these tables does not exist. Each is described where its handler is; both tables
//! become the listener's OpenAPI document.

use std::sync::Arc;

use axum::{Router, extract::Request};
use tower::ServiceBuilder;
use utoipa_axum::router::OpenApiRouter;

use super::{AppState, Listener, auth, extract::TenantName, health, metrics, middleware, openapi, platform};

/// The public listener: tenants and their users.
pub fn public(state: &AppState, product: OpenApiRouter<AppState>) -> Router {
    let routes = OpenApiRouter::new()
        // Anybody
        .merge(health::routes())
        .merge(auth::routes())
        // Members of a tenant
        .merge(product);
    let rules = Arc::clone(&state.rules);
    named(finish(Listener::Public, routes, state), move |request| TenantName::read(&rules, request))
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
    named(finish(Listener::Admin, routes, state), |_| TenantName::Platform)
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

fn finish(listener: Listener, routes: OpenApiRouter<AppState>, state: &AppState) -> Router {
    let routes = openapi::with_docs(listener, routes).with_state(state.clone());
    middleware::stack(listener, routes, state)
}
