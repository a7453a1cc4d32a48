//! The rules of every request and answer, on routers and on real sockets, with routes made for the purpose.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode, Version},
    routing::{get, post},
};
use futures::StreamExt;
use secrecy::SecretBox;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    AppState, Listener, Readiness, Routes, Settings, Shared,
    admission::Admission,
    extract::{Json, Path},
    listener::{Bounds, serve},
    middleware::{self, Groups},
    openapi::Operations,
    router,
};
use crate::{
    control::{self, ControlDb, listener::Signals, sealing::KeyRing},
    error::Error,
    identity::{self, Identity},
    limits::Attempts,
    migrations::MigrationSet,
    operations,
    servers::{Connector, dump::DumpTools},
    telemetry::{meters::Meters, metrics::Metrics},
    tenancy::{PoolSettings, Tenancy, resolve::Rules},
    types::{Clock, DisplayName, OperationId, Random, Slug},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: DisplayName,
}

pub(super) fn state(settings: Settings) -> AppState {
    let operations = operations();
    AppState::from(Shared {
        readiness: Readiness::new(Clock::default()),
        metrics: Metrics::detached(),
        meters: Meters::default(),
        settings: Arc::new(settings),
        tasks: TaskTracker::new(),
        tenancy: operations.tenancy.clone(),
        identity: operations.identity.clone(),
        clock: operations.clock.clone(),
        random: operations.random,
        operations,
        rules: Arc::new(Rules { base_domain: "localhost".into(), path_prefix: false }),
        public_url: Arc::new(|slug| format!("http://{slug}.localhost")),
        streams: crate::http::Streams::default(),
    })
}

/// A control database that nobody listens for.
fn nowhere() -> ControlDb {
    ControlDb::new(&control::Settings {
        host: "127.0.0.1".into(),
        port: 1,
        role: "nobody".into(),
        password: "nothing".into(),
        database: "nowhere".into(),
        verify_tls: false,
        ca_file: None,
        max_connections: 1,
        application_name: "test".into(),
    })
}

/// Everything that handlers may ask for, with a control database that nobody listens for.
fn operations() -> operations::Context {
    let (clock, random, db) = (Clock::default(), Random, nowhere());
    let keys = Arc::new(KeyRing::new([("k1".to_owned(), SecretBox::new(Box::new(random.bytes())))]).unwrap());
    let connector = Connector::new(None).unwrap();
    let pools =
        PoolSettings { max_size: 1, idle: Duration::from_secs(1), secrets_kept: 1, application_name: "test".into() };
    let tenancy = Tenancy::new(db.clone(), Arc::clone(&keys), connector.clone(), pools);
    let dependencies = identity::Dependencies {
        db: db.clone(),
        key_ring: Arc::clone(&keys),
        tenancy: tenancy.clone(),
        clock: clock.clone(),
        random,
        attempts: Attempts::new(None, clock.clone()),
        permissions: identity::Permissions::new(&[]).unwrap(),
        letters: None,
    };
    let issuer = Arc::new(|slug: &Slug| format!("http://{slug}.localhost"));
    let (session_idle, product) = (Duration::from_hours(1), "Test".to_owned());
    let settings = identity::Settings { hash_concurrency: 1, session_idle, audit_days: None, product, issuer };
    let (identity, signals) = (Arc::new(Identity::new(dependencies, settings)), Signals::default());
    let (replica, invitation) = ("test".into(), Duration::from_hours(1));
    let (redis, plaintext, archives, dump_tools) = (None, true, None, DumpTools::new(None, None));
    let settings = operations::Settings {
        janitor: true,
        deletion_grace: Duration::from_hours(1),
        slug_redirect: Duration::from_hours(1),
        slug_reservation: Duration::from_hours(1),
        deletions_per_hour: 1,
        pace: operations::engine::Pace::default(),
    };
    operations::Context {
        left_behind: [].into(),
        db,
        keys,
        connector,
        tenancy,
        identity,
        signals,
        archives,
        dump_tools,
        memory: operations::Memory::default(),
        clock,
        random,
        replica,
        invitation,
        redis,
        settings,
        migrations: Arc::new(MigrationSet::new(Vec::new()).unwrap()),
        plaintext,
    }
}

fn public(state: &AppState) -> Router {
    router::public(state, ("Test", "1.0.0"), Routes::new())
}

pub(super) fn short() -> Settings {
    let (body_timeout, request_timeout) = (Duration::from_millis(200), Duration::from_millis(500));
    Settings { body_limit: 64, body_timeout, request_timeout, ..Settings::default() }
}

/// Where migrations are published, which takes longer than any other request may.
const PUBLICATION: &str = "/platform/v1/migrations";

async fn slow() -> &'static str {
    tokio::time::sleep(short().request_timeout * 2).await;
    "done"
}

#[tokio::test]
async fn a_publication_may_take_longer_than_any_other_request() {
    let (response, body) = call(app(short()), request(Method::POST, PUBLICATION, "{}")).await;
    assert_eq!((response.status(), body.as_str()), (StatusCode::OK, "done"));
}

#[tokio::test]
async fn a_request_of_http_1_1_without_a_host_is_refused() {
    let ask = async |version: Version| {
        let mut request = request(Method::GET, "/projects/x", "");
        *request.version_mut() = version;
        let (parts, body) = app(short()).oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap()["code"].clone())
    };
    assert_eq!(ask(Version::HTTP_11).await, (400, Value::from("host_missing")));
    for older_or_newer in [Version::HTTP_10, Version::HTTP_2] {
        assert_eq!(ask(older_or_newer).await, (400, Value::from("invalid_id")));
    }
}

fn routes() -> Router {
    Router::new()
        .route("/projects", post(|Json(new): Json<NewProject>| async move { new.name.to_string() }))
        .route("/projects/{id}", get(|Path(id): Path<OperationId>| async move { id.to_string() }))
        .route("/panic", get(|| async { panic!("secret") as String }).post(|| async { panic!("secret") as String }))
        .route("/hang", get(std::future::pending::<String>))
        .route("/defect", get(|| async { Error::defect("secret") }))
        .route(PUBLICATION, get(std::future::pending::<String>).post(slow))
}

fn app(settings: Settings) -> Router {
    stack(routes(), &state(settings))
}

/// All that stands around `anybody`, and no tenant's routes beside it.
pub(super) fn stack(anybody: Router, state: &AppState) -> Router {
    let admission = Admission::new(state, Arc::new(Operations::default()));
    middleware::stack(Listener::Public, Groups { anybody, tenants: Router::new(), admission }, state)
}

fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

pub(super) async fn call(app: Router, mut request: Request<Body>) -> (Response<()>, String) {
    request.headers_mut().entry("host").or_insert("localhost".parse().unwrap());
    let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}

/// The answer to `request` as a problem, after checking what is true of all of them.
async fn problem(settings: Settings, request: Request<Body>) -> (Response<()>, Value) {
    let (response, body) = call(app(settings), request).await;
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(problem["request_id"], response.headers()["x-request-id"].to_str().unwrap());
    assert_eq!(problem["status"], response.status().as_u16());
    assert_eq!(problem["title"], response.status().canonical_reason().unwrap());
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(!response.headers().contains_key("server"));
    assert!(!body.contains("secret"));
    (response, problem)
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_code() {
    let big = format!(r#"{{"name":"{}"}}"#, "a".repeat(100));
    for (method, path, body, status, code) in [
        (Method::GET, "/nowhere", "", 404, "route_not_found"),
        (Method::DELETE, "/projects", "", 405, "method_not_allowed"),
        (Method::OPTIONS, "/projects", "", 405, "method_not_allowed"),
        (Method::POST, "/projects", big.as_str(), 413, "payload_too_large"),
        (Method::POST, "/projects", r#"{"name":"#, 400, "malformed_json"),
        (Method::POST, "/projects", r#"{"name":"a","x":1}"#, 422, "validation_failed"),
        (Method::GET, "/projects/ten_0190b6a4c1e87d3f8a2b5c6d7e8f9012", "", 400, "invalid_id"),
        (Method::GET, "/panic", "", 500, "internal"),
        (Method::POST, "/panic", "", 500, "internal"),
        (Method::GET, "/defect", "", 500, "internal"),
        (Method::GET, "/hang", "", 503, "request_timeout"),
        (Method::GET, PUBLICATION, "", 503, "request_timeout"),
    ] {
        let what = format!("{method} {path}");
        let (response, problem) = problem(short(), request(method, path, body.to_owned())).await;
        assert_eq!((response.status().as_u16(), problem["code"].as_str()), (status, Some(code)), "{what}");
        let headers = response.headers();
        assert_eq!(headers.contains_key("retry-after"), status == 503, "{what}");
        assert_eq!(headers.contains_key("allow"), status == 405, "{what}");
    }
}

#[tokio::test]
async fn allow_names_the_methods_of_the_route() {
    let (response, _) = problem(short(), request(Method::PUT, "/panic", "")).await;
    assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let (_, unknown) = problem(short(), request(Method::POST, "/projects", r#"{"name":"a","x":1}"#)).await;
    assert_eq!(unknown["errors"][0]["field"], "x");
    assert_eq!(unknown["errors"][0]["code"], "unknown_field");
    let (_, invalid) = problem(short(), request(Method::POST, "/projects", r#"{"name":""}"#)).await;
    assert_eq!(invalid["errors"][0]["code"], "invalid_length");
}

#[tokio::test]
async fn another_media_type_is_refused() {
    let mut request = request(Method::POST, "/projects", r#"{"name":"a"}"#);
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    let (response, problem) = problem(short(), request).await;
    assert_eq!((response.status().as_u16(), problem["code"].as_str()), (415, Some("unsupported_media_type")));
}

#[tokio::test]
async fn a_body_that_turns_out_large_or_slow_is_refused() {
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(" ".repeat(32))).take(4);
    let (large, _) = problem(short(), request(Method::POST, "/projects", Body::from_stream(chunks))).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let never = futures::stream::pending::<Result<String, std::io::Error>>();
    let (slow, body) = problem(short(), request(Method::POST, "/projects", Body::from_stream(never))).await;
    assert_eq!((slow.status(), &body["code"]), (StatusCode::REQUEST_TIMEOUT, &Value::from("body_timeout")));
}

#[tokio::test]
async fn a_well_formed_request_id_comes_back_and_another_is_replaced() {
    let send = async |id: &str| {
        let mut request = request(Method::GET, "/nowhere", "");
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        problem(short(), request).await.1["request_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(send("trace:1234.5_6-7").await, "trace:1234.5_6-7");
    assert_ne!(send("has spaces in it").await, "has spaces in it");
}

#[tokio::test]
async fn only_listed_origins_may_call_from_pages() {
    let settings = Settings { cors_origins: vec!["https://app.example.com".parse().unwrap()], ..short() };
    let preflight = async |origin: &str, settings: &Settings| {
        let request = Request::options("/projects").header("origin", origin);
        let request = request.header("access-control-request-method", "POST").body(Body::empty()).unwrap();
        let (response, _) = call(app(settings.clone()), request).await;
        response.headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(preflight("https://app.example.com", &settings).await.unwrap(), "https://app.example.com");
    assert_eq!(preflight("https://evil.example.com", &settings).await, None);
    assert_eq!(preflight("https://app.example.com", &short()).await, None);
}

#[tokio::test]
async fn probes_answer_on_both_listeners() {
    for build in [public, router::admin] {
        for path in ["/health", "/health/live", "/health/ready", "/health/ping"] {
            let request = Request::get(path).header("host", "nobody.example").body(Body::empty()).unwrap();
            let (response, _) = call(build(&state(short())), request).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
        }
    }
}

#[tokio::test]
async fn a_replica_that_cannot_serve_says_so() {
    let state = state(short());
    let stop = CancellationToken::new();
    state.readiness.watch("control", true, || async { Err(Error::defect("secret")) }, stop.clone());
    let request = Request::get("/health/ready").body(Body::empty()).unwrap();
    let (response, body) = call(public(&state), request).await;
    stop.cancel();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["status"], "unavailable");
    assert!(body["dependencies"]["control"]["since"].is_string());
}

#[tokio::test]
async fn metrics_are_on_the_admin_listener_behind_their_token() {
    let settings = || Settings { metrics_token: Some("scraper".into()), ..short() };
    let scrape = async |app: Router, token: &str| {
        let request = Request::get("/metrics").header("authorization", format!("Bearer {token}"));
        call(app, request.body(Body::empty()).unwrap()).await.0.status().as_u16()
    };
    assert_eq!(scrape(router::admin(&state(settings())), "scraper").await, 200);
    assert_eq!(scrape(router::admin(&state(settings())), "scrapes").await, 401);
    assert_eq!(scrape(public(&state(settings())), "scraper").await, 404);
}

#[tokio::test]
async fn the_document_describes_problems_once() {
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        call(router::admin(&state(short())), request).await
    };
    let document: Value = serde_json::from_str(&get("/openapi.json").await.1).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let scrape = &document["paths"]["/metrics"]["get"]["responses"];
    assert_eq!(scrape["401"]["$ref"], "#/components/responses/Problem401");
    assert!(document["paths"]["/health"]["get"]["responses"].get("401").is_none());
    assert!(document["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
    let (page, html) = get("/docs/").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    assert!(!html.contains("https://"), "the page loads something from elsewhere");
    let (script, _) = get("/docs/swagger-initializer.js").await;
    assert_eq!(script.status(), StatusCode::OK);
    let (missing, problem) = get("/docs/nothing.js").await;
    assert_eq!((missing.status(), problem.contains("not_found")), (StatusCode::NOT_FOUND, true));
}

#[tokio::test]
async fn labels_hold_route_templates_and_never_paths() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    for path in ["/projects/op_0190b6a4c1e87d3f8a2b5c6d7e8f9012", "/chosen/by/a/client"] {
        call(app(short()), request(Method::GET, path, "")).await;
    }
    let text = recorder.handle().render();
    assert!(text.contains(r#"route="/projects/{id}",status="200"} 1"#), "{text}");
    assert!(text.contains(r#"route="unmatched",status="404"} 1"#), "{text}");
    assert!(text.contains(r#"freehold_http_requests_in_flight{listener="public"} 0"#), "{text}");
    assert!(!text.contains("0190b6a4") && !text.contains("chosen"), "{text}");
}

#[tokio::test]
async fn browsers_are_held_to_https_in_production_only() {
    for production in [true, false] {
        let (response, _) = problem(Settings { production, ..short() }, request(Method::GET, "/nowhere", "")).await;
        assert_eq!(response.headers().contains_key("strict-transport-security"), production);
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(routes: Router, bounds: Bounds) -> Server {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop, state) = (socket.local_addr().unwrap(), CancellationToken::new(), state(short()));
    let app = stack(routes, &state);
    let task = tokio::spawn(serve(socket, app, bounds, state.tasks.clone(), stop.clone()));
    Server { address, stop, task }
}

impl Server {
    /// Sends `text` and leaves the connection open.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut text)).await;
    end.expect("the server closes the connection").ok();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn silent_and_unfinished_connections_are_closed() {
    let bounds = Bounds { header_timeout: Duration::from_millis(200), ..Bounds::default() };
    let server = start(routes(), bounds).await;
    for text in ["", "P", "PRI * HTT", "GET / HTTP/1.1\r\nHost: a", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /nowh"] {
        let stream = server.send(text).await;
        read_all(stream).await;
    }
    server.stop.cancel();
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let server = start(routes(), Bounds { max_header_bytes: 8192, ..Bounds::default() }).await;
    let answer = read_all(server.send(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(9000))).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stop.cancel();
}

#[tokio::test]
async fn accepted_requests_are_answered_and_endless_ones_cut() {
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        "done"
    };
    let endless = || async { Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()) };
    let routes = Router::new().route("/slow", get(slow)).route("/endless", get(endless));
    let server = start(routes, Bounds { drain: Duration::from_millis(400), ..Bounds::default() }).await;
    let slow = server.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let endless = server.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.cancel();
    assert!(read_all(slow).await.ends_with("done"));
    read_all(endless).await;
    timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_change_outlives_the_client_that_hung_up() {
    let (begun, done) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let handler = {
        let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
        move || async move {
            begun.notify_one();
            tokio::time::sleep(Duration::from_millis(200)).await;
            done.store(true, Ordering::SeqCst);
        }
    };
    let server = start(Router::new().route("/change", post(handler)), Bounds::default()).await;
    let stream = server.send("POST /change HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    begun.notified().await;
    drop(stream);
    server.stop.cancel();
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
    assert!(done.load(Ordering::SeqCst), "the drain waits for the change");
}
