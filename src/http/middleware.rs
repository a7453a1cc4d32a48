//! All layers around the handlers, in one place and in one order.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Version, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http_body_util::Limited;
use sentry::{Hub, SentryFutureExt};
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower_http::{
    cors::{AllowOrigin, CorsLayer},
    timeout::DeadlineBody,
};
use tracing::Instrument;

use super::{
    AppState, Listener, Settings,
    admission::{self, Admission, TenantName},
    imports, observe,
    platform::migrations,
    problem::Problem,
    request_id::{RequestId, X_REQUEST_ID},
    uncopied::Uncopied,
};
use crate::{
    error::Error,
    telemetry::metrics::{Gauge, Requests},
};

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

/// What the layers of a listener need, on every request: shared, and not copied.
pub(super) struct Layers {
    pub(super) listener: Listener,
    pub(super) in_flight: Gauge,
    pub(super) requests: Requests,
    pub(super) settings: Arc<Settings>,
    tasks: TaskTracker,
    admission: Arc<Admission>,
}

/// Wraps `groups` in all layers, outermost first, and adds the fallback for requests without a route.
///
/// Each layer of axum's costs a box and a copy of what is inside of it, on every request. So what stands side by side is
/// one layer and a chain of functions, and what is inside of a layer is [`Uncopied`].
pub(super) fn stack(listener: Listener, groups: Groups, state: &AppState) -> Router {
    let Groups { anybody, tenants, admission } = groups;
    let layers = Arc::new(Layers {
        listener,
        in_flight: Gauge::new(listener.name()),
        requests: Requests::default(),
        settings: Arc::clone(&state.settings),
        tasks: state.tasks.clone(),
        admission: Arc::clone(&admission),
    });
    let around = ServiceBuilder::new()
        .layer(from_fn_with_state(Arc::clone(&layers), outside))
        .layer_fn(Uncopied::new)
        // Preflights are answered before anything is spent on them.
        .option_layer(cors(&state.settings))
        .layer(from_fn_with_state(layers, inside))
        .layer_fn(Uncopied::new);
    let tenants = tenants
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        // Innermost, and around what is a tenant's only: whose request it is, and who asks.
        .layer(ServiceBuilder::new().layer(from_fn_with_state(admission, admission::admit)).layer_fn(Uncopied::new));
    anybody.method_not_allowed_fallback(no_method).merge(tenants).layer(around)
}

/// What happens to every answer, whoever made it.
async fn outside(State(layers): State<Arc<Layers>>, request: Request, next: Next) -> Response {
    // Gives the request its id and span, counts and logs its answer: so it sees what all others do.
    observe::observe(&layers, request, async |request| {
        // Inside of the id, so that the problem carries it; outside of all that may panic.
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| panicked());
        // Headers belong on every answer, refusals and panics included.
        secured(answer, layers.settings.production)
    })
    .await
}

/// What a request must have, and what bounds it in time and in size.
async fn inside(State(layers): State<Arc<Layers>>, request: Request, next: Next) -> Response {
    if lacks_host(&request) {
        return Problem::new(StatusCode::BAD_REQUEST, "host_missing", "the request has no Host header").into_response();
    }
    // The whole request, whatever it waits for.
    whole_request(time_limit(&layers.settings, &request), async {
        // Bodies are bounded before anybody reads them.
        match bound_body(&layers.admission, request) {
            // What outlives its client begins here.
            Some(request) => detach(&layers.tasks, request, next).await,
            None => Problem::payload_too_large().into_response(),
        }
    })
    .await
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

/// A request of HTTP/1.1 has to say which host it is for (RFC 9112 §3.2).
fn lacks_host(request: &Request) -> bool {
    request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST)
}

/// How long the request may take. Some may take minutes: they try migrations, or import many people.
fn time_limit(settings: &Settings, request: &Request) -> Duration {
    let more = match request.uri().path() {
        _ if request.method() != Method::POST => Duration::ZERO,
        migrations::PATH => migrations::TIME,
        path if imports::is_path(path) => imports::TIME,
        _ => Duration::ZERO,
    };
    settings.request_timeout.max(more)
}

/// The panic hook has logged and reported the panic. Its message is not part of the response.
fn panicked() -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an internal error").into_response()
}

fn secured(mut response: Response, production: bool) -> Response {
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
async fn whole_request(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    let late = || Error::unavailable("request_timeout", "the request took too long and was given up", None);
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| late().into_response())
}

/// Refuses a body whose `Content-Length` is too large. Ends reading one that turns out to be too large, or takes too
/// long.
fn bound_body(admission: &Admission, request: Request) -> Option<Request> {
    let settings = &admission.state().settings;
    let announced = request.body().size_hint().lower();
    // The routes that take more: nothing of a body is read before its caller is known. An import says itself how long
    // nothing may come.
    let (limit, time) = match request.uri().path() {
        migrations::PATH => (migrations::LIMIT.max(settings.body_limit), settings.body_timeout),
        path if imports::is_path(path) => (imports::LIMIT.max(settings.body_limit), imports::TIME),
        _ => (settings.body_limit, settings.body_timeout),
    };
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        admission.note_stray(request.extensions());
        return None;
    }
    if request.body().is_end_stream() {
        return Some(request);
    }
    Some(request.map(|body| Body::new(DeadlineBody::new(time, Limited::new(body, limit)))))
}

/// Runs requests that change things in a task of their own, so that a client which hangs up does not stop one
/// between two statements. The task keeps the request's id, span and Sentry hub; the listener's drain waits
/// for it. A handler that reads its body still fails cleanly when the body never arrives.
async fn detach(tasks: &TaskTracker, request: Request, next: Next) -> Response {
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
