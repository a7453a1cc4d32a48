//! A schema that changes beneath warm connections: every request is served, or refused with 503 and when to come back,
//! and once the change is over each is served at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use freehold::{tenancy::Statements, types::Clock};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{actors::Member, answer::Answer, eventually, fleet, replica::Replica, sql::Database};

/// The code of a request that a change of the schema has met half-way.
const CHANGED: &str = "tenant_schema_changed";

/// Runs DDL as a migration does.
async fn migrate(database: &Database, sql: &str) {
    database.run(&format!("BEGIN; SET LOCAL ROLE freehold_owner; {sql}; COMMIT")).await;
}

/// A project and everything that a member does with projects.
struct Projects<'a> {
    member: &'a Member,
    path: String,
}

impl<'a> Projects<'a> {
    async fn of(member: &'a Member) -> Self {
        let project = member.post("/v1/projects", &json!({ "name": "Kept" })).await.expect(201);
        Self { member, path: format!("/v1/projects/{}", project["id"].as_str().unwrap()) }
    }

    /// One answer of each route: readings, a change, and makings with a key and without.
    async fn all(&self, round: usize) -> Vec<Answer> {
        let (member, new) = (self.member, json!({ "name": format!("Made in round {round}") }));
        vec![
            member.get("/v1/projects").await,
            member.get(&self.path).await,
            member.patch(&self.path, &json!({ "description": format!("of round {round}") })).await,
            member.post("/v1/projects", &new).await,
            member.post_once("/v1/projects", &crate::harness::unique("key"), &new).await,
            member.get("/v1/tasks").await,
        ]
    }

    async fn are_served(&self, after: &str) {
        for round in 0..3 {
            for answer in self.all(round).await {
                assert!(answer.is_success(), "after {after}: {answer:?}");
            }
        }
    }
}

async fn replica(fleet: &fleet::Fleet, sessions: &str) -> Replica {
    fleet.another_replica(&[("FREEHOLD_TENANT_POOL_SIZE", sessions)], Clock::default()).await
}

/// What a migration may do to a table that statements are prepared for, each undone by the next or harmless.
const CHANGES: [&str; 8] = [
    "ALTER TABLE projects ALTER COLUMN name TYPE varchar(250)",
    "ALTER TABLE projects ALTER COLUMN name TYPE text",
    "ALTER TABLE projects ADD COLUMN budget int; ALTER TABLE projects DROP COLUMN budget",
    // Another table under the same name: the old one is gone.
    "CREATE TABLE anew (LIKE projects INCLUDING ALL); INSERT INTO anew SELECT * FROM projects;
     DROP TABLE projects CASCADE; ALTER TABLE anew RENAME TO projects;
     ALTER TABLE tasks ADD FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE",
    "ALTER TABLE projects ALTER COLUMN description TYPE varchar(20000)",
    "ALTER TABLE projects ALTER COLUMN description TYPE text",
    // A trigger that takes away what the session has prepared.
    "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN NEW; END $$;
     CREATE TRIGGER forget AFTER INSERT OR UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION forget()",
    "DROP FUNCTION forget CASCADE",
];

#[tokio::test]
async fn no_request_fails_because_its_statement_was_prepared_before_a_change() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, replica(&fleet, "1").await);
    let (database, member) = (tenant.database(), replica.member(&tenant.slug, tenant.admin.bearer()));
    let projects = Projects::of(&member).await;
    projects.are_served("nothing").await;
    for change in CHANGES {
        migrate(&database, change).await;
        projects.are_served(change).await;
    }
    replica.stop().await;
    tenant.erase().await;
}

/// What makes the schema another one than the program knows, and gives it back.
const MISFITS: [(&str, &str); 4] = [
    ("ALTER TABLE projects RENAME TO renamed", "ALTER TABLE renamed RENAME TO projects"),
    ("ALTER TABLE projects RENAME COLUMN name TO title", "ALTER TABLE projects RENAME COLUMN title TO name"),
    (
        "ALTER TABLE projects ALTER COLUMN created_by TYPE text USING created_by::text",
        "ALTER TABLE projects ALTER COLUMN created_by TYPE uuid USING created_by::uuid",
    ),
    (
        "REVOKE ALL ON projects FROM freehold_tenant",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON projects TO freehold_tenant",
    ),
];

#[tokio::test]
async fn a_schema_that_a_right_statement_does_not_fit_is_no_defect() {
    let fleet = fleet::alone().await;
    let (tenant, other) = (fleet.tenant().await, fleet.tenant().await);
    let replica = replica(&fleet, "2").await;
    let (database, member) = (tenant.database(), replica.member(&tenant.slug, tenant.admin.bearer()));
    let projects = Projects::of(&member).await;
    migrate(&database, "ALTER TABLE projects DROP CONSTRAINT projects_created_by_fkey").await;
    for (change, back) in MISFITS {
        projects.are_served("what came before").await;
        migrate(&database, change).await;
        for answer in projects.all(0).await.iter().filter(|answer| !answer.is_success()) {
            answer.problem(503, CHANGED);
            assert_eq!(answer.retry_after(), Some(Duration::from_secs(1)), "{change}");
        }
        member.get(&projects.path).await.problem(503, CHANGED);
        migrate(&database, back).await;
        projects.are_served(back).await;
    }
    // It is known from elsewhere that the statement is right.
    migrate(&other.database(), MISFITS[0].0).await;
    replica.member(&other.slug, other.admin.bearer()).get("/v1/projects").await.problem(503, CHANGED);
    migrate(&other.database(), MISFITS[0].1).await;
    replica.stop().await;
    for tenant in [tenant, other] {
        tenant.erase().await;
    }
}

#[tokio::test]
async fn a_type_that_changes_under_load_costs_nothing_but_honest_refusals() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, replica(&fleet, "8").await);
    let (database, member) = (tenant.database(), replica.member(&tenant.slug, tenant.admin.bearer()));
    let path = Projects::of(&member).await.path;
    let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::<_, u32>::new())));
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let (member, path) = (member.clone(), path.clone());
        let (over, counts) = (Arc::clone(&over), Arc::clone(&counts));
        clients.spawn(async move {
            let projects = Projects { member: &member, path };
            for round in 0.. {
                for answer in projects.all(round).await {
                    let honest = [CHANGED, "tenant_database_busy"];
                    if !answer.is_success() {
                        assert!(answer.status() == 503 && honest.contains(&&*answer.member("code")), "{answer:?}");
                        assert!(answer.retry_after().is_some(), "{answer:?}");
                    }
                    *counts.lock().unwrap().entry(answer.status()).or_default() += 1;
                }
                if over.load(Relaxed) {
                    return;
                }
            }
        });
    }
    for _ in 0..10 {
        for change in &CHANGES[..2] {
            tokio::time::sleep(Duration::from_millis(150)).await;
            migrate(&database, change).await;
        }
    }
    over.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    Projects::of(&member).await.are_served("the load").await;
    let counts = counts.lock().unwrap().clone();
    let refused = counts.get(&503).copied().unwrap_or_default();
    // Twenty changes met at most eight transactions each that had already done something.
    assert!(counts.values().sum::<u32>() > 100 && refused <= 20 * 8, "{counts:?}");
    replica.stop().await;
    tenant.erase().await;
}

#[tokio::test]
async fn what_replicas_hear_of_a_migration_ends_what_they_have_prepared() {
    let fleet = fleet::alone().await;
    let (tenant, replica) = (fleet.tenant().await, replica(&fleet, "1").await);
    let member = replica.member(&tenant.slug, tenant.admin.bearer());
    let projects = Projects::of(&member).await;
    projects.are_served("nothing").await;
    let tenancy = &replica.app().operations().tenancy;
    let id = tenant.id.parse().unwrap();
    let prepared = async || {
        let count = "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'FROM project[s]'";
        tenancy.connect(id).await.unwrap().row(count, &[]).await.unwrap().unwrap().get::<_, i64>(0)
    };
    assert!(prepared().await > 0);
    let moved = format!("UPDATE tenants SET schema_version = 1000 WHERE slug = '{}'", tenant.slug);
    fleet.control().run(&moved).await;
    eventually("the version", async || {
        let tenant = tenancy.by_id(id).await.unwrap().unwrap();
        (tenant.versions.product == 1_000).then_some(())
    })
    .await;
    assert_eq!(prepared().await, 0);
    projects.are_served("a version that was heard of").await;
    replica.stop().await;
    tenant.erase().await;
}

#[tokio::test]
async fn a_migration_of_the_control_database_costs_honest_refusals_and_no_more() {
    let fleet = fleet::alone().await;
    let (replica, operator) = (replica(&fleet, "1").await, fleet.operator());
    let operator = replica.operator(operator.bearer());
    let many = async || {
        let mut asking = JoinSet::new();
        for _ in 0..20 {
            let operator = operator.clone();
            asking.spawn(async move { operator.get("/platform/v1/plans").await });
        }
        asking.join_all().await
    };
    for answer in many().await {
        answer.expect(200);
    }
    for kind in ["varchar(99)", "text"] {
        fleet.control().run(&format!("ALTER TABLE plans ALTER COLUMN name TYPE {kind}")).await;
        for answer in many().await {
            if !answer.is_success() {
                answer.problem(503, "control_database_unavailable");
                assert!(answer.retry_after().is_some());
            }
        }
        // Connections are opened anew, which takes a moment on a busy machine.
        let served = async || many().await.iter().all(Answer::is_success).then_some(());
        eventually("twenty answers", served).await;
    }
    replica.stop().await;
}
