//! Metrics and logs: what they tell, and what they must never tell.

use std::collections::BTreeSet;

use freehold::types::Clock;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{
    PASSWORD,
    answer::Answer,
    fleet::{self, logged},
    tenant::new_tenant,
    unique,
};

#[tokio::test]
async fn metrics_tell_of_requests_pools_provisioning_and_the_process() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    tenant.admin.get("/v1/projects").await.expect(200);
    let metrics = crate::harness::eventually("the gauges to be read", async || {
        let metrics = fleet.metrics().await;
        metrics.contains("freehold_tenants_known ").then_some(metrics)
    })
    .await;
    for name in [
        r#"freehold_http_requests_total{listener="public",method="GET",route="/v1/projects",status="200"}"#,
        r#"freehold_http_request_duration_seconds_bucket{listener="admin",method="POST",route="/platform/v1/tenants","#,
        r#"freehold_http_requests_in_flight{listener="public"}"#,
        "freehold_pool_connections ",
        "freehold_pool_checkout_duration_seconds_bucket{",
        "freehold_control_connections ",
        r#"freehold_operation_attempts_total{kind="tenant.provision","#,
        "freehold_operation_attempt_duration_seconds_bucket{",
        r#"freehold_logins_total{result="ok"}"#,
        "freehold_password_hash_duration_seconds_bucket{",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
    ] {
        assert!(metrics.contains(name), "no {name}");
    }
}

#[tokio::test]
async fn labels_name_routes_and_tenants_by_id_and_never_people() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    for path in
        ["/v1/projects/prj_01900000000070008000000000000000", "/nowhere/at/all", "/v1/projects?q=marker-in-query"]
    {
        tenant.admin.get(path).await;
    }
    tenant.anonymous().login("marker-address@example.com", PASSWORD).await;
    let metrics = fleet.metrics().await;
    // One label tells tenants apart; nothing else may.
    let by_tenant = format!("tenant=\"{}\"", tenant.id);
    for marker in [
        &tenant.slug,
        &tenant.id,
        &tenant.database_name(),
        "marker-",
        "@",
        "prj_0",
        "nowhere",
        "localhost",
        "127.0.0.1",
    ] {
        assert!(!metrics.replace(&by_tenant, "").contains(marker), "{marker} in the metrics");
    }
    assert!(metrics.contains(r#"route="unmatched""#) && metrics.contains(r#"route="/v1/projects/{id}""#));
    let labels = |line: &str| line.split_once('{').map(|(_, rest)| rest.split_once('}').unwrap().0.to_owned());
    let names: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(labels)
        .flat_map(|labels| {
            labels.split("\",").map(|label| label.split('=').next().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let known = [
        "check", "chore", "class", "kind", "le", "listener", "method", "outcome", "reason", "result", "route",
        "schedule", "server", "state", "status", "step", "task", "tenant",
    ];
    let strange: Vec<_> = names.iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "labels that nobody has bounded: {strange:?}");
}

#[tokio::test]
async fn every_answer_of_a_tenant_is_counted_and_logged_as_its_own() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    // The first hundred tenants of a replica have labels of their own.
    let replica = fleet.another_replica(&[], Clock::default()).await;
    let anonymous = replica.anonymous(&tenant.slug);
    let plan = fleet.patiently(&format!("/platform/v1/tenants/{}", tenant.id), 0).await["plan"].clone();
    for (method, path, status, bytes) in [
        (Method::GET, "/v1/projects", 401, 0),
        (Method::GET, "/v1/nowhere", 404, 0),
        (Method::PUT, "/v1/projects", 405, 0),
        // Refused by its announced size, before admission.
        (Method::POST, "/v1/auth/login", 413, 1_100_000),
        (Method::GET, "/v1/projects?colour=red", 422, 0),
        (Method::GET, "/.well-known/jwks.json", 200, 0),
        (Method::GET, "/health/ping", 200, 0),
    ] {
        let id = unique("answered");
        let request = anonymous.request(method, path).header("x-request-id", &id).body(" ".repeat(bytes));
        let answer = Answer::to(request).await;
        assert_eq!(answer.status(), status, "{path}");
        let log = logged();
        let line = log.lines().find(|line| line.contains(&id) && line.contains("\"answered a "));
        let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{path} is not in the log"))).unwrap();
        let (id, plan) =
            if path == "/health/ping" { (Value::Null, Value::Null) } else { (json!(tenant.id), plan.clone()) };
        assert_eq!((&line["span"]["tenant.id"], &line["tenant.plan"]), (&id, &plan), "{line}");
    }
    anonymous.post("/v1/auth/login", &json!({ "nothing": "x".repeat(1_000) })).await.expect(422);
    let metrics = fleet.metrics().await;
    let count = |name: &str, rest: &str| -> u64 {
        let line = format!("freehold_tenant_{name}_total{{tenant=\"{}\"{rest}}} ", tenant.id);
        let value = metrics.lines().find_map(|found| found.strip_prefix(&line));
        value.unwrap_or_else(|| panic!("no {line}")).parse().unwrap()
    };
    assert_eq!(count("requests", ",status=\"4xx\""), 6);
    assert!(count("requests", ",status=\"2xx\"") >= 1);
    assert!(count("received_bytes", "") >= 1_000 && count("sent_bytes", "") >= 1_000);
}

#[tokio::test]
async fn metrics_ask_for_their_own_token() {
    let fleet = fleet::shared().await;
    fleet.replica.admin_anonymous().get("/metrics").await.problem(401, "unauthenticated");
    fleet.operator().get("/metrics").await.problem(401, "unauthenticated");
    fleet.replica.stranger("localhost").get("/metrics").await.problem(404, "route_not_found");
}

#[tokio::test]
async fn secrets_are_in_no_log_no_metric_and_no_problem() {
    let fleet = fleet::shared().await;
    let password = "marker kettles sing of Qx7 slowly";
    let mut body = new_tenant(&unique("secrets"));
    body["admin"]["password"] = json!(password);
    let created = fleet.create(&body).await.json();
    fleet.finished(created["operation_id"].as_str().unwrap()).await;
    let (slug, id) = (body["slug"].as_str().unwrap(), created["id"].as_str().unwrap());
    let anonymous = fleet.replica.anonymous(slug);
    let email = body["admin"]["email"].as_str().unwrap();
    let tokens = anonymous.login(email, password).await.expect(200);
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    fleet.replica.member(slug, &access.into()).get("/v1/projects").await.expect(200);
    anonymous.refresh(&tokens["refresh_token"]).await.expect(200);
    let wrong = "marker password that is wrong Zk3";
    let unreachable = "postgres://admin:marker-of-a-server-Wp9@127.0.0.1:1/postgres?sslmode=disable";
    let refused = [
        anonymous.login(email, wrong).await,
        fleet.create(&body).await,
        anonymous.post("/v1/auth/login", &json!({ "email": email, "password": [wrong] })).await,
        fleet.operator().post("/platform/v1/servers", &json!({ "name": "away", "admin_url": unreachable })).await,
        fleet.replica.operator(&"fhk_marker-of-a-key".into()).get("/platform/v1/plans").await,
    ];
    let database = fleet.database_password(id).await;
    let secrets = [
        password,
        wrong,
        access,
        access.rsplit('.').next().unwrap(),
        refresh,
        "marker-of-a-server-Wp9",
        "fhk_marker-of-a-key",
        database.expose_secret(),
        fleet.operator().bearer().expose_secret(),
        fleet.setting("FREEHOLD_CONTROL_URL").split([':', '@']).nth(2).unwrap(),
        fleet.setting("FREEHOLD_REDIS_URL").split([':', '@']).nth(2).unwrap(),
        fleet.setting("FREEHOLD_KEY_ENCRYPTION_KEYS").split_once(':').unwrap().1,
    ]
    .map(str::to_owned);
    let (log, metrics) = (logged(), fleet.metrics().await);
    assert!(log.contains(id) && log.contains("a request was refused"), "the log is not captured");
    for secret in &secrets {
        assert!(secret.len() > 15, "too short to look for");
        let at = |text: &str| {
            text.lines().find(|line| line.contains(secret.as_str())).map(|line| line.replace(secret.as_str(), "…"))
        };
        assert_eq!(at(&log), None, "in the log");
        assert_eq!(at(&metrics), None, "in the metrics");
        for answer in &refused {
            assert!(answer.status() >= 400 && !answer.text().contains(secret), "in a problem: {}", answer.status());
        }
    }
    assert!(!log.contains(email), "people's addresses are not for logs");
}
