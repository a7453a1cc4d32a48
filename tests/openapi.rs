//! Both OpenAPI documents are true: tools of others validate them, and a client that is generated from them reads every
//! list of a running Freehold. `ops/openapi` fetches the tools, `tests/openapi.py` uses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    harness::{actors::Caller, fleet},
    lists::{clear_findings, fill_empty_lists, fill_people},
};

/// `ops/openapi` says that there is no pip.
const NO_TOOLS: i32 = 3;

/// The operations whose answer is a list, by a listener's own document.
fn lists(document: &Value) -> BTreeSet<String> {
    let is_list = |operation: &Value| {
        let answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str();
        answer.is_some_and(|name| name.starts_with("#/components/schemas/Listing_"))
    };
    let reading = document["paths"].as_object().unwrap().values().map(|path| &path["get"]);
    let lists = reading.filter(|operation| is_list(operation));
    lists.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect()
}

async fn document(caller: &Caller) -> Value {
    caller.get("/openapi.json").await.expect(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_reads_every_list_and_every_answer_is_as_documented() {
    let fleet = fleet::shared().await;
    let (tenant, operator) = (fleet.tenant().await, fleet.signed_in_operator().await);
    let made = async |path: &str, body: Value| {
        let made = tenant.admin.post(path, &body).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    };
    let project = made("/v1/projects", json!({ "name": "One" })).await;
    let tasks = format!("/v1/projects/{project}/tasks");
    let task = made(&tasks, json!({ "title": "Write", "priority": "urgent", "status": "in_progress" })).await;
    let operations = operator.get("/platform/v1/operations?limit=1").await.expect(200);
    let operation = operations["items"][0]["id"].as_str().unwrap().to_owned();
    let servers = operator.get("/platform/v1/servers").await.expect(200);
    let server = servers["items"][0]["id"].as_str().unwrap().to_owned();
    let ids = |pairs: &[(&str, &str)]| -> BTreeMap<String, Value> {
        pairs.iter().map(|(path, id)| ((*path).to_owned(), json!({ "id": id }))).collect()
    };
    let people = |made: &[String]| {
        let role = BTreeMap::from([("/v1/roles/{name}".to_owned(), json!({ "name": "admin" }))]);
        let made = [
            ("/v1/users/{id}", made[0].as_str()),
            ("/v1/invitations/{id}", made[1].as_str()),
            ("/v1/api-keys/{id}", made[2].as_str()),
        ];
        ids(&made).into_iter().chain(role)
    };
    let mut public =
        ids(&[("/v1/projects/{id}", &project), ("/v1/projects/{id}/tasks", &project), ("/v1/tasks/{id}", &task)]);
    public.extend(people(&fill_people(&tenant.admin).await));
    let rollout = fill_empty_lists(fleet, &tenant).await;
    let mut admin = ids(&[
        ("/platform/v1/rollouts/{id}", &rollout),
        ("/platform/v1/rollouts/{id}/tenants", &rollout),
        ("/platform/v1/tenants/{id}", &tenant.id),
        ("/platform/v1/tenants/{id}/archives", &tenant.id),
        ("/platform/v1/servers/{id}", &server),
        ("/platform/v1/operations/{id}", &operation),
    ]);
    admin.extend(people(&fill_people(&*fleet.signed_in_operator().await).await));
    let listeners = json!([tenant.admin.for_programs("public", &public), operator.for_programs("admin", &admin),]);
    let folder = fleet.folder().join("openapi");
    let read = tokio::task::spawn_blocking(move || check(&folder, &listeners)).await.unwrap();
    clear_findings(fleet, &tenant).await;
    let Some(read) = read else { return };
    let (public, admin) = (document(&tenant.anonymous()).await, document(&fleet.replica.admin_anonymous()).await);
    assert_eq!(read.get("public"), Some(&lists(&public)));
    assert_eq!(read.get("admin"), Some(&lists(&admin)));
    assert!(lists(&public).len() >= 3 && lists(&admin).len() >= 6);
}

/// Runs `ops/openapi`; the lists that the generated client has read, by listener.
fn check(folder: &Path, listeners: &Value) -> Option<BTreeMap<String, BTreeSet<String>>> {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("listeners.json"), listeners.to_string()).unwrap();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/ops/openapi"));
    let run = command.arg(folder).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    if run.status.code() == Some(NO_TOOLS) {
        return None;
    }
    let told = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{told}");
    let mut read = BTreeMap::<_, BTreeSet<_>>::new();
    for line in told.lines() {
        let [verb, listener, operation, items] = *line.split(' ').collect::<Vec<_>>() else { panic!("{line}") };
        // An empty list would prove nothing; a tenant that was never archived has one.
        assert!(verb == "read" && (items != "0" || operation == "list_archives"), "{line}");
        read.entry(listener.to_owned()).or_default().insert(operation.to_owned());
    }
    Some(read)
}
