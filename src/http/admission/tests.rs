//! Who gets as far as a handler, and where a proof of who asks is looked for.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Extension, Router,
    body::Body,
    http::{Method, Request},
    routing::get,
};
use serde_json::Value;
use utoipa::openapi::{Info, security::SecurityRequirement};
use utoipa_axum::routes;

use super::*;
use crate::{
    control::plans::{Limits, Quotas},
    http::{
        Routes, openapi, router,
        tests::{call, short, stack, state},
    },
    telemetry::meters::Meters,
    types::{Clock, Random, TenantId},
};

static REACHED: AtomicUsize = AtomicUsize::new(0);

/// Says nothing of who may call it.
#[utoipa::path(get, path = "/v1/careless", responses((status = 200, description = "Reached")))]
async fn careless() -> &'static str {
    REACHED.fetch_add(1, Ordering::SeqCst);
    "reached"
}

/// For whoever comes to a tenant.
#[utoipa::path(get, path = "/v1/open", security(()), responses((status = 200, description = "Reached")))]
async fn open() -> &'static str {
    REACHED.fetch_add(1, Ordering::SeqCst);
    "reached"
}

/// Says what holds for those that say nothing.
#[utoipa::path(get, path = "/v1/explicit", security(("bearer" = [])), responses((status = 200, description = "Reached")))]
async fn explicit() -> &'static str {
    REACHED.fetch_add(1, Ordering::SeqCst);
    "reached"
}

/// Would take a proof, and no proof.
#[utoipa::path(
    get, path = "/v1/either", security((), ("bearer" = [])), responses((status = 200, description = "Reached"))
)]
async fn either() -> &'static str {
    REACHED.fetch_add(1, Ordering::SeqCst);
    "reached"
}

fn product() -> Routes {
    let routes = Routes::new().routes(routes!(careless)).routes(routes!(open));
    routes.routes(routes!(explicit)).routes(routes!(either))
}

#[test]
fn only_what_names_no_scheme_is_open() {
    let document = openapi::complete(Info::new("Test", "1.0.0"), product().into_router().into_openapi());
    let operations = Operations::of(&document);
    for (path, asks) in [
        ("/v1/careless", Asks::WhoComes),
        ("/v1/explicit", Asks::WhoComes),
        ("/v1/either", Asks::WhoComes),
        ("/v1/open", Asks::Nothing),
    ] {
        assert_eq!(operations.asks(path, &Method::GET), Some(asks), "{path}");
        // What is asked for is told.
        let told = document.paths.paths[path].get.as_ref().unwrap();
        assert_eq!(told.responses.responses.contains_key("401"), asks == Asks::WhoComes, "{path}");
        let is_open = told.security.iter().flatten().any(|one| *one == SecurityRequirement::default());
        assert_eq!(is_open, asks == Asks::Nothing, "{path}");
    }
}

async fn asked(method: Method, path: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let (response, body) =
        call(router::public(&state(short()), ("Test", "1.0.0"), product()), request.body(Body::empty()).unwrap()).await;
    let code = serde_json::from_str::<Value>(&body).map_or(Value::Null, |problem| problem["code"].clone());
    (response.status().as_u16(), code)
}

#[tokio::test]
async fn nobody_gets_past_a_refusal_whatever_the_handler_asks_for() {
    for (method, path, status, code) in [
        (Method::GET, "/v1/careless", 404, "tenant_not_found"),
        (Method::GET, "/v1/open", 404, "tenant_not_found"),
        (Method::GET, "/v1/explicit", 404, "tenant_not_found"),
        // Refused as it always was, before anything is known of the tenant.
        (Method::GET, "/v1/careless?colour=red", 422, "validation_failed"),
        (Method::POST, "/v1/careless", 405, "method_not_allowed"),
        (Method::GET, "/v1/nowhere", 404, "route_not_found"),
    ] {
        assert_eq!(asked(method, path).await, (status, Value::from(code)), "{path}");
    }
    assert_eq!(asked(Method::HEAD, "/v1/careless").await.0, 404);
    assert_eq!(asked(Method::HEAD, "/v1/careless?colour=red").await.0, 422, "as GET is");
    assert_eq!(REACHED.load(Ordering::SeqCst), 0, "a handler was reached");
}

/// What is logged meanwhile.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn noted(payer: &Payer) {
    let (limits, quotas) = (Limits::default(), Quotas::default());
    let plan = Plan { name: "gold".to_owned(), limits, quotas, features: Vec::new() };
    let meter = Meters::default().of(TenantId::generate(&Clock::default(), Random));
    payer.0.set(Known { meter, plan: Some(Arc::new(plan)) }).unwrap();
}

/// Routes that turn out to be a tenant's, and then answer nothing.
fn doomed() -> Router {
    let panics = async |Extension(payer): Extension<Payer>| -> String {
        noted(&payer);
        panic!("a test panics")
    };
    let hangs = async |Extension(payer): Extension<Payer>| -> String {
        noted(&payer);
        std::future::pending().await
    };
    Router::new().route("/panic", get(panics).post(panics)).route("/hang", get(hangs))
}

#[tokio::test]
async fn what_ends_without_its_handler_is_still_the_tenants() {
    let log = Captured::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    // While there is one alone, tracing asks the thread that logs first whether to log: that may be another test's.
    let _another = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    let _capturing = tracing::subscriber::set_default(subscriber);
    for (method, path, status) in
        [(Method::GET, "/panic", 500), (Method::POST, "/panic", 500), (Method::GET, "/hang", 503)]
    {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (response, _) = call(stack(doomed(), &state(short())), request).await;
        assert_eq!(response.status(), status, "{path}");
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = log.lines().filter(|line| line.contains("answered a request"));
    let plans: Vec<_> =
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"]["tenant.plan"].clone()).collect();
    assert_eq!(plans, ["gold"; 3], "{log}");
}

#[test]
fn one_bearer_token_is_a_proof_and_nothing_else_is() {
    let found = |values: &[&str]| {
        let headers: HeaderMap = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
        bearer(&headers).map(|Proof::Bearer(token)| token.to_owned())
    };
    for good in ["Bearer abc", "bearer abc", "BEARER   abc "] {
        assert_eq!(found(&[good]).as_deref(), Some("abc"), "{good}");
    }
    for bad in
        [&[][..], &["abc"], &["Bearer"], &["Basic abc"], &["Bearer abc", "Bearer abc"], &["Bearer abc", "Basic x"]]
    {
        assert_eq!(found(bad), None, "{bad:?}");
    }
}

#[test]
fn a_client_is_told_by_its_address_and_by_what_it_says_of_itself_within_bounds() {
    let request = Request::builder().header(USER_AGENT, "ä".as_bytes());
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    assert_eq!(client(&parts).user_agent, None, "only what is text");
    parts.headers.insert(USER_AGENT, "a".repeat(600).parse().unwrap());
    parts.extensions.insert(ClientAddress([192, 0, 2, 7].into()));
    let client = client(&parts);
    assert_eq!((client.ip.to_string().as_str(), client.user_agent.unwrap().len()), ("192.0.2.7", 512));
}
