//! The sweep finds each tenant whose schema is another one, and says which objects differ and how.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    programs::{Variables, run},
};

const DRIFT: &str = "/platform/v1/drift";

/// A sweep of its own, once it has ended.
async fn swept(fleet: &Fleet) -> Value {
    let operator = fleet.operator();
    assert!(operator.post(DRIFT, &json!({})).await.expect(202)["asked_at"].is_string());
    eventually("the end of the sweep", async || {
        let sweep = operator.get("/platform/v1/drift/sweep").await.expect(200);
        sweep["asked_at"].is_null().then_some(sweep)
    })
    .await
}

async fn found(fleet: &Fleet, tenant: &str) -> Vec<Value> {
    let listed = fleet.patiently(&format!("{DRIFT}?tenant_id={tenant}"), 0).await;
    listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| json!([item["object"], item["expected"], item["actual"]]))
        .collect()
}

#[tokio::test]
async fn a_dropped_column_an_invalid_index_and_an_added_grant_are_found_with_their_objects() {
    let fleet = fleet::alone().await;
    let (tenant, other, asleep) = (fleet.tenant().await, fleet.tenant().await, fleet.tenant().await);
    let database = tenant.database();
    let before = swept(&fleet).await["last"].clone();
    assert!(before["tenants"].as_i64().unwrap() >= 3, "{before}");
    assert_eq!(found(&fleet, &tenant.id).await, Vec::<Value>::new());
    let index: String = database
        .value("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'tasks'::regclass AND NOT indisunique LIMIT 1")
        .await;
    database
        .run(&format!(
            "ALTER TABLE projects DROP COLUMN description CASCADE; GRANT TRUNCATE ON tasks TO PUBLIC;
             ALTER TABLE tasks ALTER COLUMN version SET DEFAULT 2;
             UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass"
        ))
        .await;
    // One that nobody can look into is counted, and what is known of it stays.
    let name = asleep.database_name();
    fleet.on_server("postgres").run(&format!("ALTER ROLE {name} CONNECTION LIMIT 0")).await;
    let sweep = swept(&fleet).await;
    fleet.on_server("postgres").run(&format!("ALTER ROLE {name} CONNECTION LIMIT 100")).await;
    let count = |what: &str| sweep["last"][what].as_i64().unwrap() - before[what].as_i64().unwrap();
    assert_eq!((count("drifted"), count("unreadable")), (1, 1), "{sweep}");
    assert_eq!(found(&fleet, &other.id).await, Vec::<Value>::new());
    let drifts = found(&fleet, &tenant.id).await;
    let of = |object: &str| {
        drifts.iter().find(|drift| drift[0] == *object).unwrap_or_else(|| panic!("{object}: {drifts:?}"))
    };
    let column = of("column public.projects.description");
    assert!(column[1].as_str().unwrap().starts_with("text NOT NULL") && column[2].is_null(), "{column}");
    let invalid = of(&format!("index public.{index}"));
    assert_eq!(invalid[2], format!("{} INVALID", invalid[1].as_str().unwrap()));
    let grant = of("relation public.tasks");
    assert!(grant[2].as_str().unwrap().contains("=D/") && !grant[1].as_str().unwrap().contains("=D/"), "{grant}");
    assert_eq!(of("column public.tasks.version")[2], "bigint NOT NULL DEFAULT 2");

    let metric = format!("freehold_drifted_tenants {}", sweep["last"]["drifted"]);
    eventually("the metric", async || fleet.metrics().await.contains(&metric).then_some(())).await;
    assert_eq!(paged(&fleet, &tenant.id).await, drifts.len());
    assert_shown_by_the_command(&fleet, &tenant.id, &other.id).await;

    // What is gone is not told of any more.
    for tenant in [tenant, other, asleep] {
        let id = tenant.id.clone();
        tenant.erase().await;
        assert_eq!(found(&fleet, &id).await, Vec::<Value>::new());
    }
}

/// The command shows what has drifted, and exits with 1; of the other one it shows nothing.
async fn assert_shown_by_the_command(fleet: &Fleet, drifted: &str, right: &str) {
    let operator = fleet.operator();
    let variables = Variables::from([
        (
            "FREEHOLD_URL".to_owned(),
            operator.for_programs("drift", &BTreeMap::new())["url"].as_str().unwrap().to_owned(),
        ),
        ("FREEHOLD_API_KEY".to_owned(), operator.bearer().expose_secret().to_owned()),
    ]);
    let output = run(fleet.folder(), &["drift", "--tenant", drifted], &variables, "").await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let difference = "column public.tasks.version\n- bigint NOT NULL DEFAULT 1\n+ bigint NOT NULL DEFAULT 2";
    let shown = format!("{drifted}  {difference}");
    assert!(text.contains(&shown), "{text}");
    let output = run(fleet.folder(), &["drift", "--sweep", "--tenant", right, "-o", "json"], &variables, "").await;
    assert_eq!(output.status.code(), Some(0));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["items"].as_array().unwrap().is_empty() && said["sweep"]["ended_at"].is_string(), "{said}");
}

/// How many differences there are, page by page.
async fn paged(fleet: &Fleet, tenant: &str) -> usize {
    let (mut cursor, mut paged) = (String::new(), 0);
    loop {
        let page = fleet.patiently(&format!("{DRIFT}?tenant_id={tenant}&limit=1{cursor}"), 0).await;
        paged += page["items"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    paged
}
