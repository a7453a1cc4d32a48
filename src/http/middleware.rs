//! All layers around the handlers, in one place and in one order.

use std::{any::Any, panic, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http_body_util::Limited;
use sentry::{Hub, SentryFutureExt};
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    timeout::DeadlineBody,
};
use tracing::Instrument;

use super::{
    AppState, Listener, Settings,
    admission::{self, Admission, TenantName},
    observe,
    platform::migrations,
    problem::Problem,
    request_id::{RequestId, X_REQUEST_ID},
};
use crate::error::Error;

/// For answers that are data: nothing in them may run, load or be framed. Pages of ours set their own.
const API_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// The routes of a listener, grouped by what is checked before their handlers run.
pub(super) struct Groups {
    /// Nothing, whatever the request names.
    pub(super) anybody: Router,
    /// Whether the tenant may be served, and who comes.
    pub(super) tenants: Router,
    /// What asks that.
    pub(super) admission: Arc<Admission>,
}

/// Wraps `groups` in all layers, outermost first, and adds the fallback for requests without a route.
pub(super) fn stack(listener: Listener, groups: Groups, state: &AppState) -> Router {
    let settings = &state.settings;
    let layers = ServiceBuilder::new()
        // Gives the request its id and span, counts and logs its answer: so it sees every other layer's.
        .layer(from_fn_with_state((listener, Arc::clone(settings), Arc::default()), observe::observe))
        // Headers belong on every answer, refusals and panics included.
        .layer(from_fn_with_state(settings.production, security_headers))
        // Inside of the id, so that the problem carries it; outside of all that may panic.
        .layer(CatchPanicLayer::custom(|payload| panicked(&payload)))
        // Preflights are answered before anything is spent on them.
        .option_layer(cors(settings))
        // The whole request, whatever it waits for.
        .layer(from_fn_with_state(settings.request_timeout, whole_request))
        // Bodies are bounded before anybody reads them.
        .layer(from_fn_with_state(Arc::clone(&groups.admission), bound_body))
        // What outlives its client begins here.
        .layer(from_fn_with_state(state.tasks.clone(), detach));
    let Groups { anybody, tenants, admission } = groups;
    let tenants = tenants
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        // Innermost, and around what is a tenant's only: whose request it is, and who asks.
        .layer(from_fn_with_state(admission, admission::admit));
    anybody.method_not_allowed_fallback(no_method).merge(tenants).layer(layers)
}

/// A path prefix that disagrees with the host was not taken off: then that is the reason.
async fn no_route(request: Request) -> Problem {
    match request.extensions().get() {
        Some(TenantName::Ambiguous(detail)) => {
            Problem::new(StatusCode::BAD_REQUEST, "ambiguous_tenant", detail.as_str())
        }
        _ => Problem::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such route"),
    }
}

/// axum adds `Allow`.
async fn no_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route has no such method; see Allow")
}

/// The panic hook has logged and reported the panic. Its message is not part of the response.
fn panicked(_: &Box<dyn Any + Send>) -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an internal error").into_response()
}

async fn security_headers(State(production): State<bool>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(API_POLICY));
    if production {
        let two_years = HeaderValue::from_static("max-age=63072000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, two_years);
    }
    response
}

/// Without credentials: the API knows bearer tokens, which a page sends knowingly, and no cookies.
fn cors(settings: &Settings) -> Option<CorsLayer> {
    let name = HeaderName::from_static;
    let accepted = [header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH, name("idempotency-key")];
    let exposed = [header::ETAG, header::LOCATION, header::RETRY_AFTER, X_REQUEST_ID];
    let origins = settings.cors_origins.clone();
    let any = origins.iter().any(|origin| origin == "*");
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(if any { AllowOrigin::any() } else { AllowOrigin::list(origins) })
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers(
                accepted.into_iter().chain([name("prefer"), name("traceparent"), X_REQUEST_ID]).collect::<Vec<_>>(),
            )
            .expose_headers(exposed)
            .max_age(Duration::from_hours(1))
    })
}

/// What was detached runs on: an answer of `request_timeout` leaves open whether the change is made, and a
/// client finds out by sending it again with the same `Idempotency-Key`.
async fn whole_request(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let late = || Error::unavailable("request_timeout", "the request took too long and was given up", None);
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| late().into_response())
}

/// Refuses a body whose `Content-Length` is too large. Ends reading one that turns out to be too large, or takes too
/// long.
async fn bound_body(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    let settings = &admission.state().settings;
    let announced = request.body().size_hint().lower();
    // The one route that takes more: nothing of a body is read before its caller is known to be an operator.
    let limit = match request.uri().path() {
        migrations::PATH => migrations::LIMIT.max(settings.body_limit),
        _ => settings.body_limit,
    };
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        admission.note_stray(request.extensions());
        return Problem::payload_too_large().into_response();
    }
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let bounded = |body| Body::new(DeadlineBody::new(settings.body_timeout, Limited::new(body, limit)));
    next.run(request.map(bounded)).await
}

/// Runs requests that change things in a task of their own, so that a client which hangs up does not stop one
/// between two statements. The task keeps the request's id, span and Sentry hub; the listener's drain waits
/// for it. A handler that reads its body still fails cleanly when the body never arrives.
async fn detach(State(tasks): State<TaskTracker>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let work = next.run(request).in_current_span().bind_hub(Hub::current());
    let task = match RequestId::of_task() {
        Some(id) => tasks.spawn(async move { id.scope(work).await }),
        None => tasks.spawn(work),
    };
    match task.await {
        Ok(response) => response,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // Only a runtime that shuts down cancels tasks that nobody aborts.
        Err(_) => Error::unavailable("shutting_down", "the server is shutting down", None).into_response(),
    }
}
