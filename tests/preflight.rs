//! The pre-flight of a server that is registered already: what it lacks by now is found, with what mends it.

use serde_json::{Value, json};

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
};

const SERVERS: &str = "/platform/v1/servers";

async fn server(fleet: &Fleet) -> Value {
    let listed = fleet.patiently(SERVERS, 0).await;
    listed["items"].as_array().unwrap().iter().find(|server| server["name"] == fleet.server.as_str()).unwrap().clone()
}

/// Whether the server is fit, and the codes of what was found; each finding says what mends it.
async fn preflight(fleet: &Fleet, path: &str) -> (bool, Vec<String>) {
    let checked = fleet.patiently(&format!("{path}/preflight"), 0).await;
    let findings = checked["findings"].as_array().unwrap();
    for finding in findings {
        let text = |name: &str| finding[name].as_str().unwrap();
        assert!(!text("message").is_empty() && !text("remedy").is_empty(), "{finding}");
        assert!(["error", "warning"].contains(&text("severity")), "{finding}");
    }
    let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
    (checked["fit"].as_bool().unwrap(), codes.collect())
}

#[tokio::test]
async fn what_a_server_lacks_by_now_is_found_and_gone_when_it_is_mended() {
    let fleet = fleet::several().await;
    let server = server(&fleet).await;
    let path = format!("{SERVERS}/{}", server["id"].as_str().unwrap());
    let (fit, before) = preflight(&fleet, &path).await;
    assert!(fit, "{before:?}");
    let superuser = fleet.on_server("postgres");
    let role = server["admin_role"].as_str().unwrap();
    let template = "datname = (SELECT min(datname) FROM pg_database WHERE datname LIKE 'freehold_template%')";
    let version: Option<String> =
        superuser.values(&format!("SELECT datcollversion FROM pg_database WHERE {template}")).await.pop().flatten();
    let version = version.map_or("NULL".to_owned(), |version| format!("'{version}'"));
    for (breaks, mends, code) in [
        (format!("ALTER ROLE {role} NOCREATEDB"), format!("ALTER ROLE {role} CREATEDB"), "missing_right"),
        (
            format!("UPDATE pg_database SET datcollversion = 'of yore' WHERE {template}"),
            format!("UPDATE pg_database SET datcollversion = {version} WHERE {template}"),
            "collation_mismatch",
        ),
    ] {
        superuser.run(&breaks).await;
        let (fit, found) = preflight(&fleet, &path).await;
        superuser.run(&mends).await;
        assert!(!fit && found.contains(&code.to_owned()), "{code}: {found:?}");
        assert_eq!(preflight(&fleet, &path).await, (true, before.clone()), "{code}");
    }
}

#[tokio::test]
async fn connections_are_held_against_the_budget_and_the_replicas_that_are_alive() {
    let fleet = fleet::several().await;
    let server = server(&fleet).await;
    let path = format!("{SERVERS}/{}", server["id"].as_str().unwrap());
    let budget = async |budget: &Value| {
        fleet.operator().patch(&path, &json!({ "connection_budget": budget })).await.expect(200);
    };
    budget(&json!(10_000)).await;
    let (fit, found) = preflight(&fleet, &path).await;
    assert!(fit && found.contains(&"too_few_connections".to_owned()), "{found:?}");
    budget(&json!(1)).await;
    eventually("the replica to have told of itself", async || {
        let (fit, found) = preflight(&fleet, &path).await;
        (fit && found.contains(&"pools_exceed_budget".to_owned())).then_some(())
    })
    .await;
    budget(&server["connection_budget"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_finding_and_not_an_error() {
    let fleet = fleet::several().await;
    let server = server(&fleet).await;
    let path = format!("{SERVERS}/{}", server["id"].as_str().unwrap());
    let port = |port: &Value| format!("UPDATE servers SET port = {port} WHERE name = '{}'", fleet.server);
    fleet.control().run(&port(&json!(1))).await;
    let found = preflight(&fleet, &path).await;
    fleet.control().run(&port(&server["port"])).await;
    assert_eq!(found, (false, vec!["server_unreachable".to_owned()]));
}
