//! Every list of both listeners: what leads through it, and what somebody made up.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::harness::{
    actors::Caller,
    fleet::{self, Fleet},
    tenant::Tenant,
    unique,
};

/// The lists that go page by page, by the listener's own document.
async fn paged(caller: &Caller) -> Vec<String> {
    let document = caller.get("/openapi.json").await.expect(200);
    let takes_cursor = |operation: &Value| {
        let parameters = operation["get"]["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "cursor"))
    };
    let paths = document["paths"].as_object().unwrap().iter();
    paths.filter(|(_, operation)| takes_cursor(operation)).map(|(path, _)| path.clone()).collect()
}

/// The same JSON with each of its texts, one after the other, replaced by each of these.
fn made_up(cursor: &Value) -> Vec<Value> {
    const HOSTILE: [&str; 7] = [
        "-4714-01-01T00:00:00Z",
        "-4713-01-01T00:00:00Z",
        "-0001-12-31T23:59:59Z",
        "+10000-01-01T00:00:00Z",
        "+262142-12-31T23:59:59Z",
        "\0",
        "",
    ];
    let mut pointers = vec![(String::new(), cursor)];
    let mut all = vec![Value::Null, json!([]), json!({}), json!([[[]]]), json!(1e300)];
    while let Some((pointer, value)) = pointers.pop() {
        match value {
            Value::Array(items) => {
                pointers.extend(items.iter().enumerate().map(|(at, item)| (format!("{pointer}/{at}"), item)));
            }
            Value::Object(fields) => {
                pointers.extend(fields.iter().map(|(name, field)| (format!("{pointer}/{name}"), field)));
            }
            _ => all.extend(HOSTILE.into_iter().map(|text| {
                let mut changed = cursor.clone();
                *changed.pointer_mut(&pointer).unwrap() = json!(text);
                changed
            })),
        }
    }
    all
}

/// Two rollouts that have ended, one of them of two tenants: the id of that one.
const ROLLOUTS: &str = "
    WITH made AS (
        INSERT INTO rollouts (id, state, freehold_version, product_version, max_failures, requested_by, finished_at)
        SELECT gen_random_uuid(), 'succeeded', 1, 1, '2%', 'nobody', now() FROM generate_series(1, 2)
        RETURNING id
    ), one AS (
        SELECT id FROM made LIMIT 1
    ), tenants AS (
        INSERT INTO rollout_tenants (rollout_id, tenant_id, wave, server_id, state, from_freehold, from_product, to_freehold,
                                     to_product, finished_at)
        SELECT one.id, t.id, 1, t.server_id, 'done', 1, 1, 1, 1, now() FROM one, (SELECT * FROM tenants LIMIT 2) t
    )
    SELECT replace(id::text, '-', '') FROM one";

/// Rows of lists that are empty while nothing is wrong and nothing new is published: findings about the tenant, jobs
/// for it, and rollouts. The id of a rollout that has tenants.
pub(crate) async fn fill_empty_lists(fleet: &Fleet, tenant: &Tenant<'_>) -> String {
    let id = tenant.id.trim_start_matches("ten_");
    let drifts = format!(
        "INSERT INTO drifts (tenant_id, position, object) SELECT '{id}', n, 'table t' FROM generate_series(1, 2) n"
    );
    fleet.control().run(&drifts).await;
    // True ones too: whoever looks at the whole fleet meanwhile replaces the findings by these.
    tenant.database().run("CREATE TABLE stray_one (id int); CREATE TABLE stray_two (id int)").await;
    let jobs = format!(
        "INSERT INTO jobs (id, kind, tenant_id, state, finished_at)
         SELECT gen_random_uuid(), 'mail.invitation', '{id}', 'done', now() FROM generate_series(1, 2)"
    );
    fleet.control().run(&jobs).await;
    format!("rol_{}", fleet.control().value::<String>(ROLLOUTS).await)
}

/// Two of everything that `owner`, who is signed in, can make of people: so each of those lists has a second page.
pub(crate) async fn fill_people(owner: &Caller) -> Vec<String> {
    let mut made = Vec::new();
    for _ in 0..2 {
        let service = json!({ "name": "Export", "role": "viewer" });
        let guest = json!({ "email": format!("{}@example.com", unique("guest")), "role": "viewer" });
        let key = json!({ "name": "ci", "scopes": [] });
        made.clear();
        for (path, body) in [("/v1/service-accounts", service), ("/v1/invitations", guest), ("/v1/api-keys", key)] {
            made.push(owner.post(path, &body).await.expect(201)["id"].as_str().unwrap().to_owned());
        }
    }
    made
}

/// Takes back what [`fill_empty_lists`] did.
pub(crate) async fn clear_findings(fleet: &Fleet, tenant: &Tenant<'_>) {
    let id = tenant.id.trim_start_matches("ten_");
    tenant.database().run("DROP TABLE stray_one, stray_two").await;
    fleet.control().run(&format!("DELETE FROM drifts WHERE tenant_id = '{id}'")).await;
}

#[tokio::test]
async fn a_cursor_that_no_list_made_is_refused_and_never_a_defect() {
    let fleet = fleet::shared().await;
    let (tenant, operator) = (fleet.tenant().await, fleet.operator());
    fleet.tenant().await;
    let mut project = Value::Null;
    for name in ["One", "Two"] {
        project = tenant.admin.post("/v1/projects", &json!({ "name": name })).await.expect(201)["id"].clone();
        let tasks = format!("/v1/projects/{}/tasks", project.as_str().unwrap());
        tenant.admin.post(&tasks, &json!({ "title": "First" })).await.expect(201);
        tenant.admin.post(&tasks, &json!({ "title": "Second" })).await.expect(201);
    }
    let rollout = fill_empty_lists(fleet, &tenant).await;
    fill_people(&tenant.admin).await;
    fill_people(&*fleet.signed_in_operator().await).await;
    let sorts = ["", "&sort=name", "&sort=title", "&sort=-updated_at", "&sort=email"];
    let mut seen = 0;
    for (caller, lists, at_least) in [
        (&*tenant.admin, paged(&tenant.anonymous()).await, 3),
        (&*operator, paged(&fleet.replica.admin_anonymous()).await, 3),
    ] {
        assert!(lists.len() >= at_least, "{lists:?}");
        for (list, sort) in lists.iter().flat_map(|list| sorts.map(|sort| (list, sort))) {
            let id = if list.contains("/rollouts/") { &rollout } else { project.as_str().unwrap() };
            let list = list.replace("{id}", id);
            let first = caller.get(&format!("{list}?limit=1{sort}")).await;
            if first.status() == 422 {
                continue;
            }
            let cursor = first.expect(200)["next_cursor"].as_str().map(str::to_owned);
            let cursor = cursor.unwrap_or_else(|| panic!("{list} has no second page"));
            let cursor = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(cursor).unwrap()).unwrap();
            for made_up in made_up(&cursor) {
                let token = BASE64_URL_SAFE_NO_PAD.encode(made_up.to_string());
                let answer = caller.get(&format!("{list}?cursor={token}{sort}")).await;
                assert!(matches!(answer.status(), 200 | 422), "{list} after {made_up}: {}", answer.text());
                seen += usize::from(answer.status() == 422 && answer.names("cursor", "invalid_cursor"));
            }
        }
    }
    assert!(seen > 100, "only {seen} cursors were refused");
    clear_findings(fleet, &tenant).await;
}
