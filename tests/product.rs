//! The example product over its API: rows are made, changed, listed in every order, and stay with their tenant.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{actors::Member, answer::Answer, fleet};

const PROJECTS: &str = "/v1/projects";

async fn project(member: &Member, name: &str) -> Value {
    member.post(PROJECTS, &json!({ "name": name })).await.expect(201)
}

fn path(project: &Value) -> String {
    format!("{PROJECTS}/{}", project["id"].as_str().unwrap())
}

async fn if_match(member: &Member, method: Method, path: &str, tag: &str, body: &Value) -> Answer {
    Answer::to(member.request(method, path).header("if-match", tag).json(body)).await
}

#[tokio::test]
async fn a_project_is_made_read_changed_and_deleted() {
    let member = fleet::shared().await.tenant().await.member("member").await;
    let made = member.post(PROJECTS, &json!({ "name": "  Launch  ", "description": "two\nlines" })).await;
    let project = made.expect(201);
    let at = path(&project);
    assert_eq!((made.header("location"), made.header("etag")), (at.as_str(), "\"1\""));
    assert_eq!((&project["name"], &project["status"]), (&json!("Launch"), &json!("active")));
    let me = member.get("/v1/auth/me").await.expect(200);
    assert_eq!(project["created_by"], me["id"]);
    let read = member.get(&at).await;
    assert_eq!((read.expect(200), read.header("etag")), (project.clone(), "\"1\""));
    let changed = member.patch(&at, &json!({ "status": "archived" })).await;
    assert_eq!(changed.header("etag"), "\"2\"");
    let changed = changed.expect(200);
    assert_eq!((&changed["status"], &changed["description"]), (&json!("archived"), &project["description"]));
    assert!(changed["updated_at"].as_str() > project["updated_at"].as_str());
    member.delete(&at).await.expect(204);
    member.get(&at).await.problem(404, "not_found");
    member.delete(&at).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_is_written_is_judged_field_by_field() {
    let member = fleet::shared().await.tenant().await.admin;
    let long = "x".repeat(10_001);
    for (body, field, code) in [
        (json!({ "name": "" }), "name", "invalid_length"),
        (json!({ "name": "   " }), "name", "invalid_length"),
        (json!({ "name": "x".repeat(201) }), "name", "invalid_length"),
        (json!({ "name": "nul\u{0}" }), "name", "invalid_format"),
        (json!({ "name": 7 }), "name", "invalid_type"),
        (json!({ "name": "a", "description": long }), "description", "invalid_length"),
        (json!({ "name": "a", "description": null }), "description", "invalid_type"),
        (json!({ "name": "a", "status": "archived" }), "status", "unknown_field"),
        (json!({ "name": "a", "id": "prj_01900000000070008000000000000000" }), "id", "unknown_field"),
    ] {
        member.post(PROJECTS, &body).await.wrong_field(field, code);
    }
    let tasks = format!("{}/tasks", path(&project(&member, "Tasks").await));
    for (body, field, code) in [
        (json!({}), "title", "required"),
        (json!({ "title": "a", "priority": "soon" }), "priority", "invalid_value"),
        (json!({ "title": "a", "due_on": "2026-02-30" }), "due_on", "invalid_date"),
        (json!({ "title": "a", "assignee_id": "prj_01900000000070008000000000000000" }), "assignee_id", "invalid_id"),
        (json!({ "title": "a", "assignee_id": "usr_01900000000070008000000000000000" }), "assignee_id", "unknown_user"),
    ] {
        member.post(&tasks, &body).await.wrong_field(field, code);
    }
    assert_eq!(member.get(&format!("{tasks}?include=total")).await.expect(200)["total"], 0);
}

#[tokio::test]
async fn an_absent_field_stays_and_null_empties() {
    let member = fleet::shared().await.tenant().await.admin;
    let me = member.get("/v1/auth/me").await.expect(200)["id"].clone();
    let tasks = format!("{}/tasks", path(&project(&member, "Tasks").await));
    let task = json!({ "title": "Write", "assignee_id": me, "due_on": "2026-12-31", "priority": "high" });
    let task = member.post(&tasks, &task).await.expect(201);
    let at = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let changed = member.patch(&at, &json!({ "due_on": null })).await.expect(200);
    assert_eq!(
        (&changed["due_on"], &changed["assignee_id"], &changed["priority"]),
        (&Value::Null, &me, &json!("high"))
    );
    let same = member.patch(&at, &json!({})).await.expect(200);
    assert_eq!((&same["title"], &same["due_on"]), (&json!("Write"), &Value::Null));
    member.patch(&at, &json!({ "title": null })).await.wrong_field("title", "invalid_type");
    member.patch(&at, &json!({ "colour": null })).await.wrong_field("colour", "unknown_field");
}

#[tokio::test]
async fn a_change_may_say_which_version_it_is_about() {
    let member = fleet::shared().await.tenant().await.admin;
    let at = path(&project(&member, "Versions").await);
    let body = json!({ "name": "Second" });
    assert_eq!(if_match(&member, Method::PATCH, &at, "\"1\"", &body).await.header("etag"), "\"2\"");
    for stale in ["\"1\"", "W/\"2\"", "\"7\", \"8\""] {
        if_match(&member, Method::PATCH, &at, stale, &body).await.problem(412, "precondition_failed");
        if_match(&member, Method::DELETE, &at, stale, &json!({})).await.problem(412, "precondition_failed");
    }
    if_match(&member, Method::PATCH, &at, "2", &body).await.problem(400, "invalid_if_match");
    if_match(&member, Method::PATCH, &at, "*", &body).await.expect(200);
    if_match(&member, Method::DELETE, &at, "\"1\", \"3\"", &json!({})).await.expect(204);
    if_match(&member, Method::DELETE, &at, "\"3\"", &json!({})).await.problem(404, "not_found");
}

/// The pages of a list, walked to the end.
async fn walk(member: &Member, list: &str, mut between: impl AsyncFnMut(usize)) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    for page in 0..100 {
        let answer = member.get(&format!("{list}{cursor}")).await.expect(200);
        items.extend(answer["items"].as_array().unwrap().iter().cloned());
        let Some(next) = answer["next_cursor"].as_str() else { return items };
        cursor = format!("&cursor={next}");
        between(page).await;
    }
    panic!("{list} has no end");
}

#[tokio::test]
async fn pages_show_every_row_once_in_every_order() {
    let tenant = fleet::shared().await.tenant().await;
    let member = tenant.admin.clone();
    // Names that come twice and cases that sort apart; times that are all the same for a third of the rows.
    for number in 0..11 {
        project(&member, ["same", "Same", "ähnlich", "zebra"][number % 4]).await;
    }
    tenant.database().run("UPDATE projects SET created_at = date_trunc('day', now()) WHERE name = 'same'").await;
    for (sort, column) in [("created_at", "created_at"), ("name", "name"), ("updated_at", "updated_at")] {
        let order = format!("SELECT 'prj_' || replace(id::text, '-', '') FROM projects ORDER BY {column}, id");
        let mut expected: Vec<String> = tenant.database().values(&order).await;
        for sign in ["", "-"] {
            let items = walk(&member, &format!("{PROJECTS}?limit=3&sort={sign}{sort}"), async |_| ()).await;
            let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(ids, expected, "{sign}{sort}");
            expected.reverse();
        }
    }
}

#[tokio::test]
async fn rows_that_come_and_go_while_pages_are_walked_shift_nothing() {
    let member = fleet::shared().await.tenant().await.admin;
    let mut kept = BTreeSet::new();
    for number in 0..9 {
        kept.insert(project(&member, &format!("kept {number}")).await["id"].to_string());
    }
    let doomed = path(&project(&member, "doomed").await);
    let items = walk(&member, &format!("{PROJECTS}?limit=2"), async |page| {
        project(&member, "late").await;
        if page == 0 {
            member.delete(&doomed).await.expect(204);
        }
    })
    .await;
    let seen: Vec<_> =
        items.iter().filter(|item| item["name"] != "doomed").map(|item| item["id"].to_string()).collect();
    assert_eq!((seen.len(), seen.into_iter().collect()), (9, kept));
}

#[tokio::test]
async fn a_cursor_belongs_to_its_order() {
    let member = fleet::shared().await.tenant().await.admin;
    for _ in 0..2 {
        project(&member, "a").await;
    }
    let page = member.get(&format!("{PROJECTS}?limit=1&sort=name")).await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    for other in ["-name", "created_at", "-updated_at"] {
        member.get(&format!("{PROJECTS}?sort={other}&cursor={cursor}")).await.wrong_field("cursor", "invalid_cursor");
    }
    for bad in ["nonsense", &cursor[1..]] {
        member.get(&format!("{PROJECTS}?sort=name&cursor={bad}")).await.wrong_field("cursor", "invalid_cursor");
    }
    member.get(&format!("{PROJECTS}?sort=colour")).await.wrong_field("sort", "invalid_value");
}

#[tokio::test]
async fn filters_narrow_a_list_and_its_total() {
    let member = fleet::shared().await.tenant().await.admin;
    let (one, two) = (project(&member, "100% wool").await, project(&member, "1000 wool").await);
    member.patch(&path(&two), &json!({ "status": "archived" })).await.expect(200);
    let me = member.get("/v1/auth/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let tasks = format!("{}/tasks", path(&one));
    for (title, status, due) in
        [("Card", "open", "2026-01-01"), ("Spin", "done", "2026-02-01"), ("Dye", "open", "2026-03-01")]
    {
        member.post(&tasks, &json!({ "title": title, "status": status, "due_on": due })).await.expect(201);
    }
    member.post(&tasks, &json!({ "title": "Knit", "assignee_id": me, "priority": "urgent" })).await.expect(201);
    for (list, expected) in [
        (format!("{PROJECTS}?q=WOOL"), 2),
        (format!("{PROJECTS}?q=100%25"), 1),
        (format!("{PROJECTS}?q=1___"), 0),
        (format!("{PROJECTS}?status=archived"), 1),
        ("/v1/tasks?status=open".to_owned(), 3),
        ("/v1/tasks?due_before=2026-03-01".to_owned(), 2),
        ("/v1/tasks?priority=urgent".to_owned(), 1),
        (format!("/v1/tasks?assignee_id={me}"), 1),
        (format!("/v1/tasks?project_id={}", two["id"].as_str().unwrap()), 0),
        (format!("{tasks}?q=i&status=done"), 1),
    ] {
        let page = member.get(&format!("{list}&include=total")).await.expect(200);
        assert_eq!((&page["total"], page["items"].as_array().unwrap().len()), (&json!(expected), expected), "{list}");
    }
    member
        .get(&format!("{tasks}?project_id={}", one["id"].as_str().unwrap()))
        .await
        .wrong_field("project_id", "unknown_field");
    member.get(&format!("{PROJECTS}?status=asleep")).await.wrong_field("status", "invalid_value");
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_ones_answer() {
    let tenant = fleet::shared().await.tenant().await;
    let (member, other) = (tenant.admin.clone(), tenant.member("member").await);
    let body = json!({ "name": "Once" });
    let answers = futures::future::join_all((0..20).map(|_| member.post_once(PROJECTS, "my-key", &body))).await;
    let first = answers.iter().find(|answer| answer.status() == 201).unwrap();
    for answer in &answers {
        match answer.status() {
            201 => assert_eq!((answer.json(), answer.header("location")), (first.json(), first.header("location"))),
            _ => drop(answer.problem(409, "idempotency_in_progress")),
        }
    }
    member.patch(first.header("location"), &json!({ "name": "Changed" })).await.expect(200);
    assert_eq!(member.post_once(PROJECTS, "my-key", &body).await.expect(201), first.json(), "as it was");
    let another = json!({ "name": "Twice" });
    member.post_once(PROJECTS, "my-key", &another).await.problem(422, "idempotency_key_reused");
    let theirs = other.post_once(PROJECTS, "my-key", &body).await.expect(201);
    assert_ne!(theirs["id"], first.json()["id"], "a key is its principal's own");
    let tasks = format!("{}/tasks", first.header("location"));
    member.post_once(&tasks, "my-key", &json!({ "title": "Once" })).await.expect(201);
    let total = member.get(&format!("{PROJECTS}?include=total")).await.expect(200)["total"].clone();
    assert_eq!(total, 2);
}

#[tokio::test]
async fn a_deleted_project_takes_its_tasks_along_and_an_archived_one_takes_no_more() {
    let member = fleet::shared().await.tenant().await.admin;
    let (kept, doomed) = (project(&member, "kept").await, project(&member, "doomed").await);
    for project in [&kept, &doomed] {
        member.post(&format!("{}/tasks", path(project)), &json!({ "title": "a task" })).await.expect(201);
    }
    member.delete(&path(&doomed)).await.expect(204);
    let left = member.get("/v1/tasks").await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0]["project_id"], kept["id"]);
    member.get(&format!("{}/tasks", path(&doomed))).await.problem(404, "not_found");
    member.patch(&path(&kept), &json!({ "status": "archived" })).await.expect(200);
    let late = member.post(&format!("{}/tasks", path(&kept)), &json!({ "title": "late" })).await;
    late.problem(409, "project_archived");
}

#[tokio::test]
async fn another_tenants_rows_are_as_good_as_missing() {
    let fleet = fleet::shared().await;
    let (ours, theirs) = (fleet.tenant().await, fleet.tenant().await);
    let secret = project(&theirs.admin, "a secret").await;
    let task = theirs.admin.post(&format!("{}/tasks", path(&secret)), &json!({ "title": "hidden" })).await.expect(201);
    let foreign =
        [path(&secret), format!("/v1/tasks/{}", task["id"].as_str().unwrap()), format!("{}/tasks", path(&secret))];
    let missing = "01900000000070008000000000000000";
    let absent = [
        format!("{PROJECTS}/prj_{missing}"),
        format!("/v1/tasks/tsk_{missing}"),
        format!("{PROJECTS}/prj_{missing}/tasks"),
    ];
    for (foreign, absent) in foreign.iter().zip(&absent) {
        let strip = |answer: &Answer| {
            let mut problem = answer.problem(404, "not_found");
            problem["request_id"].take();
            (problem, answer.headers().len())
        };
        assert_eq!(strip(&ours.admin.get(foreign).await), strip(&ours.admin.get(absent).await));
    }
    ours.admin.delete(&foreign[0]).await.problem(404, "not_found");
    ours.admin.patch(&foreign[1], &json!({ "title": "mine" })).await.problem(404, "not_found");
    assert_eq!(ours.admin.get(PROJECTS).await.expect(200)["items"], json!([]));
    assert_eq!(ours.admin.get("/v1/tasks").await.expect(200)["items"], json!([]));
    assert_eq!(theirs.admin.get(&foreign[1]).await.expect(200)["title"], "hidden");
}
