//! What holds for every request and answer, on real routes and real sockets of both listeners.

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{actors::Caller, answer::Answer, fleet, tenant::new_tenant, unique};

async fn send(caller: &Caller, method: Method, path: &str, content_type: &str, body: String) -> Answer {
    Answer::to(caller.request(method, path).header("content-type", content_type).body(body)).await
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_with_its_own_code() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let admin = &tenant.admin;
    admin.get("/v1/nowhere").await.problem(404, "route_not_found");
    admin.get("/v1/projects/").await.problem(404, "route_not_found");
    let answer = Answer::to(admin.request(Method::PUT, "/v1/projects")).await;
    answer.problem(405, "method_not_allowed");
    let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let post =
        async |content_type: &str, body: String| send(admin, Method::POST, "/v1/projects", content_type, body).await;
    let json = "application/json";
    let big = format!(r#"{{"name":"{}"}}"#, "a".repeat(2 * 1024 * 1024));
    post(json, big).await.problem(413, "payload_too_large");
    for other in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        post(other, r#"{"name":"a"}"#.into()).await.problem(415, "unsupported_media_type");
    }
    for malformed in ["", "{", r#"{"name":"a"}}"#, "{'name':'a'}", "\u{feff}{}"] {
        post(json, malformed.into()).await.problem(400, "malformed_json");
    }
    post(json, "[]".into()).await.problem(422, "validation_failed");
    post(json, r#"{"name":"a","colour":"red"}"#.into()).await.wrong_field("colour", "unknown_field");
    post(json, r#"{"name":"a","name":"b"}"#.into()).await.wrong_field("name", "duplicate_field");
    post(json, "{}".into()).await.wrong_field("name", "required");
    let operator = fleet.operator();
    let resume = format!("/platform/v1/tenants/{}/resume", tenant.id);
    Answer::to(operator.request(Method::POST, &resume)).await.expect(200);
    operator.get("/platform/v1/servers?colour=red").await.wrong_field("colour", "unknown_field");
    admin.get("/v1/projects?colour=red").await.wrong_field("colour", "unknown_field");
    admin.get("/v1/projects?limit=201").await.wrong_field("limit", "invalid_range");
}

#[tokio::test]
async fn an_id_of_another_kind_is_refused_and_a_strangers_is_missing() {
    let fleet = fleet::shared().await;
    let (admin, operator) = (fleet.tenant().await.admin, fleet.operator());
    let hex = "01900000000070008000000000000000";
    for (caller, path, wrong) in [
        (&*admin, "/v1/projects", "tsk"),
        (&*admin, "/v1/tasks", "prj"),
        (&*operator, "/platform/v1/servers", "ten"),
        (&*operator, "/platform/v1/operations", "srv"),
        (&*operator, "/platform/v1/tenants", "usr"),
    ] {
        caller.get(&format!("{path}/{wrong}_{hex}")).await.problem(400, "invalid_id");
    }
    for nonsense in
        [hex, "prj_", "prj_%00", "prj_01900000-0000-7000-8000-000000000000", "PRJ_01900000000070008000000000000000"]
    {
        admin.get(&format!("/v1/projects/{nonsense}")).await.problem(400, "invalid_id");
    }
    admin.get(&format!("/v1/projects/prj_{hex}")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_request_has_one_well_formed_id() {
    let fleet = fleet::shared().await;
    let anonymous = fleet.replica.admin_anonymous();
    let named = async |id: &str| {
        let request = anonymous.request(Method::GET, "/health").header("x-request-id", id);
        Answer::to(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(named("abc-123.x:y_z").await, "abc-123.x:y_z");
    for bad in ["short", "has spaces in it", "semi;colon;colon", &"a".repeat(129)] {
        let id = named(bad).await;
        assert!(id.len() == 32 && id != bad, "{id}");
    }
    let refused = anonymous.request(Method::GET, "/nowhere").header("x-request-id", "my-own-name");
    assert_eq!(Answer::to(refused).await.problem(404, "route_not_found")["request_id"], "my-own-name");
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_no_banner() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (public, admin) = (tenant.anonymous(), fleet.replica.admin_anonymous());
    for (caller, path) in [
        (&*public, "/health"),
        (&*public, "/nowhere"),
        (&*public, "/v1/projects"),
        (&*public, "/docs/"),
        (&*admin, "/openapi.json"),
        (&*admin, "/platform/v1/tenants"),
        (&*tenant.admin, "/v1/projects"),
    ] {
        let answer = caller.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("permissions-policy").contains("camera=()"), "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(!answer.header("content-security-policy").contains("unsafe"), "{path}");
        for absent in ["server", "x-powered-by", "access-control-allow-origin", "set-cookie"] {
            assert_eq!(answer.header(absent), "", "{path}");
        }
    }
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let fleet = fleet::shared().await;
    let admin = fleet.tenant().await.admin;
    for path in ["/health/ready", "/v1/projects", "/v1/auth/me"] {
        let (head, get) = (Answer::to(admin.request(Method::HEAD, path)).await, admin.get(path).await);
        assert_eq!((head.status(), head.text()), (get.status(), ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn probes_answer_on_both_listeners_whatever_the_host() {
    let fleet = fleet::shared().await;
    let mut callers = vec![fleet.replica.admin_anonymous()];
    callers.extend(
        ["nobody.localhost", "localhost", "10.1.2.3:8080", "evil.example.com"].map(|host| fleet.replica.stranger(host)),
    );
    for caller in callers {
        assert_eq!(caller.get("/health/ping").await.text(), "pong");
        caller.get("/health/live").await.expect(200);
        assert_eq!(caller.get("/health").await.expect(200)["status"], "ready");
        let ready = caller.get("/health/ready").await.expect(200);
        for name in ["control_database", "tenant_registry", "redis"] {
            assert_eq!(ready["dependencies"][name]["status"], "up", "{ready}");
        }
    }
}

#[tokio::test]
async fn a_host_that_names_no_tenant_or_two_is_refused() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let jwks = "/.well-known/jwks.json";
    for host in ["no-such-tenant.localhost", "platform.localhost", "localhost", "evil.example.com"] {
        fleet.replica.stranger(host).get(jwks).await.problem(404, "tenant_not_found");
    }
    for host in [format!("{}.LOCALHOST", tenant.slug.to_uppercase()), format!("{}.localhost.:80", tenant.slug)] {
        fleet.replica.stranger(&host).get(jwks).await.expect(200);
    }
    let by_path = format!("/t/{}{jwks}", tenant.slug);
    fleet.replica.stranger("localhost").get(&by_path).await.expect(200);
    fleet.replica.anonymous("another").get(&by_path).await.problem(400, "ambiguous_tenant");
    let raw = format!(
        "GET {jwks} HTTP/1.1\r\nHost: {0}.localhost\r\nHost: {0}.localhost\r\nConnection: close\r\n\r\n",
        tenant.slug
    );
    let mut socket = TcpStream::connect(fleet.replica.public_address()).await.unwrap();
    socket.write_all(raw.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("ambiguous_tenant"), "{answer}");
}

#[tokio::test]
async fn the_api_describes_itself_from_the_binary() {
    let fleet = fleet::shared().await;
    for (caller, own) in [
        (fleet.replica.stranger("localhost"), "/v1/projects"),
        (fleet.replica.admin_anonymous(), "/platform/v1/tenants"),
    ] {
        let document = caller.get("/openapi.json").await.expect(200);
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        assert!(document["paths"][own]["get"]["responses"]["401"].is_object(), "{own}");
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        let page = caller.get("/docs/").await;
        assert!(page.status() == 200 && page.header("content-type").starts_with("text/html"));
        for asset in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
            let file = caller.get(&format!("/docs/{asset}")).await;
            assert_eq!(file.status(), 200, "{asset}");
            assert!(page.text().contains(asset), "the page names no {asset}");
        }
        for elsewhere in ["http://", "https://", "//cdn"] {
            assert!(!page.text().contains(elsewhere), "the page names {elsewhere}");
        }
        caller.get("/docs/no-such-file.js").await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_problem_tells_nothing_internal() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let quote = json!({ "name": "a'; DROP TABLE projects; --", "status": "active" });
    let answers = [
        tenant.admin.post("/v1/projects", &quote).await,
        tenant.admin.get("/v1/projects?cursor=bm9uc2Vuc2U").await,
        tenant.admin.get("/v1/projects?q=%00").await,
        tenant.anonymous().login("ada@example.com", "a wrong password it is").await,
        fleet.replica.anonymous("no-such").get("/v1/projects").await,
    ];
    for answer in answers {
        assert!((400..500).contains(&answer.status()), "{}", answer.text());
        let text = answer.text().to_lowercase();
        for internal in ["sql", "postgres", "select", "panicked", ".rs", "127.0.0.1", &tenant.database_name(), "argon2"]
        {
            assert!(!text.contains(internal), "{internal} in {text}");
        }
    }
}

#[tokio::test]
async fn a_nul_is_refused_wherever_a_text_is_taken() {
    let fleet = fleet::shared().await;
    let (admin, operator) = (fleet.tenant().await.admin, fleet.operator());
    for (caller, path) in [
        (&*admin, "/v1/projects?q=%00"),
        (&*admin, "/v1/tasks?q=a%00b"),
        (&*operator, "/platform/v1/tenants?q=%00"),
        (&*operator, "/platform/v1/tenants?plan=%00"),
        (&*operator, "/platform/v1/tenants?server=%00"),
        (&*operator, "/platform/v1/tenants/%00"),
        (&*operator, "/platform/v1/audit-events?target=%00"),
    ] {
        let answer = caller.get(path).await;
        assert!(matches!(answer.status(), 400 | 404 | 422), "{path}: {}", answer.text());
    }
    admin.login("ada\u{0}@example.com", "a password").await.wrong_field("email", "invalid_format");
    for field in ["slug", "name", "plan", "server", "region"] {
        let mut body = new_tenant(&unique("nul"));
        body[field] = json!("a\u{0}b");
        let wrong = operator.post("/platform/v1/tenants", &body).await.wrong_fields();
        assert_eq!(wrong[0].0, field);
    }
    for (field, value) in [
        ("name", json!("\u{0}")),
        ("region", json!("\u{0}")),
        ("labels", json!({ "\u{0}": "a" })),
        ("labels", json!({ "a": "\u{0}" })),
    ] {
        let url = fleet.second_server_url();
        let mut body = json!({ "name": unique("nul"), "admin_url": url });
        body[field] = value;
        let wrong = operator.post("/platform/v1/servers", &body).await.wrong_fields();
        assert!(wrong[0].0.starts_with(field), "{wrong:?}");
    }
}
