//! What the engine makes of failures, of wishes to cancel, of a stop, and of what a newer release has queued.

use std::{collections::BTreeSet, time::Duration};

use freehold::{
    faults::{self, Mode},
    types::{Clock, TenantId},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    crash_points::engine,
    harness::{
        PASSWORD,
        answer::Answer,
        eventually_within,
        fleet::{self, Fleet, OPERATOR_EMAIL},
        tenant::new_tenant,
        unique,
    },
};

/// How long an operation may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A tenant that was asked for, and the operation that makes it.
struct Asked {
    tenant: TenantId,
    operation: String,
}

impl Asked {
    async fn of(fleet: &Fleet) -> Self {
        let made = fleet.operator().post("/platform/v1/tenants", &new_tenant(&unique("engine"))).await.expect(202);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { tenant: text("id").parse().unwrap(), operation: text("operation_id") }
    }

    /// One that is made, by an engine that has stopped since.
    async fn made(fleet: &Fleet) -> Self {
        let asked = Self::of(fleet).await;
        let engine = engine(fleet).await;
        asked.becomes(fleet, "succeeded").await;
        engine.stop().await;
        asked
    }

    fn path(&self, action: &str) -> String {
        format!("/platform/v1/operations/{}{action}", self.operation)
    }

    fn arm(&self, point: &str, mode: Mode) {
        faults::arm(&format!("tenant.provision.{point}"), mode, Some(self.tenant));
    }

    /// Waits until the operation is at the point.
    async fn reaches(&self, point: &str) {
        self.passes(&format!("tenant.provision.{point}")).await;
    }

    /// The same for an operation of any kind.
    async fn passes(&self, point: &str) {
        eventually_within(point, PATIENCE, async || {
            let fired: BTreeSet<_> = faults::fired().iter().map(|fired| (fired.point, fired.tenant)).collect();
            fired.contains(&(point, self.tenant)).then_some(())
        })
        .await;
    }

    /// The operation once it is in this state.
    async fn becomes(&self, fleet: &Fleet, state: &str) -> Value {
        eventually_within(&format!("{} to be {state}", self.operation), PATIENCE, async || {
            // Told to come back, on a machine that has much to do, one comes back.
            let answer = fleet.operator().get(&self.path("")).await;
            let operation = (answer.status() != 503).then(|| answer.expect(200))?;
            (operation["state"] == state).then_some(operation)
        })
        .await
    }

    /// Changes its row.
    async fn set(&self, fleet: &Fleet, change: &str) {
        fleet.control().run(&format!("UPDATE operations SET {change} WHERE tenant_id = '{}'", self.uuid())).await;
    }

    /// A column of its row, or more, as text.
    async fn shows(&self, fleet: &Fleet, what: &str) -> String {
        let sql = format!("SELECT ({what})::text FROM operations WHERE tenant_id = '{}'", self.uuid());
        fleet.control().value(&sql).await
    }

    /// The states of its steps, in order: `record`, `build_template`, `create_role`, `create_database` and so on.
    async fn states(&self, fleet: &Fleet) -> Vec<String> {
        let operation = fleet.patiently(&self.path(""), 0).await;
        let state = |step: &Value| step["state"].as_str().unwrap().to_owned();
        operation["steps"].as_array().unwrap().iter().map(state).collect()
    }

    fn uuid(&self) -> String {
        self.tenant.uuid().to_string()
    }
}

#[tokio::test]
async fn a_wish_to_cancel_during_the_last_attempt_is_heard() {
    let fleet = fleet::idle().await;
    let asked = Asked::of(&fleet).await;
    asked.set(&fleet, "failures = 4").await;
    asked.arm("create_role.before_effect", Mode::Hold);
    asked.arm("create_role.after_effect", Mode::Error);
    let engine = engine(&fleet).await;
    asked.reaches("create_role.before_effect").await;
    fleet.operator().post(&asked.path("/cancel"), &json!({})).await.expect(202);
    faults::release(asked.tenant);
    asked.becomes(&fleet, "cancelled").await;
    engine.stop().await;
}

#[tokio::test]
async fn between_two_steps_a_wish_to_cancel_is_heard_and_a_lost_claim_records_nothing() {
    let fleet = fleet::idle().await;
    let [cancelled, lost] = [Asked::of(&fleet).await, Asked::of(&fleet).await];
    for asked in [&cancelled, &lost] {
        asked.arm("create_role.after_effect", Mode::Hold);
    }
    let engine = engine(&fleet).await;
    for asked in [&cancelled, &lost] {
        asked.reaches("create_role.after_effect").await;
    }
    fleet.operator().post(&cancelled.path("/cancel"), &json!({})).await.expect(202);
    lost.set(&fleet, "generation = generation + 1").await;
    for asked in [&cancelled, &lost] {
        faults::release(asked.tenant);
    }
    let undone = cancelled.becomes(&fleet, "cancelled").await;
    let next = &undone["steps"][3];
    assert_eq!((&next["state"], &next["attempts"]), (&json!("pending"), &json!(0)), "{undone}");
    // Another replica goes on once the lease has run out, and not before: until then it is as it was.
    assert_eq!(lost.states(&fleet).await[2..4], ["running", "pending"], "recorded under a claim that was lost");
    lost.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn an_operation_that_ten_replicas_died_of_waits_for_an_operator() {
    let fleet = fleet::idle().await;
    let [deadly, survived] = [Asked::of(&fleet).await, Asked::of(&fleet).await];
    let lost = "state = 'running', lease_owner = 'lost', lease_expires_at = now()";
    deadly.set(&fleet, &format!("{lost}, abandoned = 9")).await;
    survived.set(&fleet, &format!("{lost}, abandoned = 8")).await;
    survived.arm("create_database.before_effect", Mode::Hold);
    let engine = engine(&fleet).await;
    let blocked = deadly.becomes(&fleet, "blocked").await;
    assert!(blocked["steps"].as_array().unwrap().iter().skip(1).all(|step| step["attempts"] == 0), "{blocked}");
    // A step that ends speaks for the operation.
    survived.reaches("create_database.before_effect").await;
    assert_eq!(survived.shows(&fleet, "abandoned").await, "0");
    faults::release(survived.tenant);
    survived.becomes(&fleet, "succeeded").await;
    fleet.operator().post(&deadly.path("/retry"), &json!({})).await.expect(202);
    deadly.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn claims_are_no_failures_and_a_retry_begins_to_count_anew() {
    let fleet = fleet::idle().await;
    let [killed, failing] = [Asked::of(&fleet).await, Asked::of(&fleet).await];
    // As many replicas were killed over it.
    killed.set(&fleet, "attempts = 9").await;
    killed.arm("create_role.before_effect", Mode::Error);
    failing.set(&fleet, "failures = 4").await;
    failing.arm("create_role.before_effect", Mode::Error);
    let engine = engine(&fleet).await;
    failing.becomes(&fleet, "blocked").await;
    assert_eq!(failing.shows(&fleet, "failures").await, "5");
    failing.arm("create_role.before_effect", Mode::Error);
    let retry = fleet.operator().request(Method::POST, &failing.path("/retry")).header("prefer", "wait=10");
    let retried = Answer::to(retry).await;
    assert_eq!((&retried.expect(202)["state"], retried.header("location")), (&json!("succeeded"), &*failing.path("")));
    failing.becomes(&fleet, "succeeded").await;
    assert_eq!(failing.shows(&fleet, "failures").await, "1");
    eventually_within("the pause to have begun", PATIENCE, async || {
        (killed.shows(&fleet, "failures").await == "1").then_some(())
    })
    .await;
    killed.set(&fleet, "run_after = now()").await;
    killed.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn what_a_newer_release_has_queued_waits_for_it() {
    let fleet = fleet::idle().await;
    let asked = Asked::of(&fleet).await;
    let steps = |from: &str, to: &str| {
        let id = asked.operation.replace("op_", "");
        format!("UPDATE operation_steps SET name = '{to}' WHERE operation_id = '{id}' AND name = '{from}'")
    };
    asked.set(&fleet, "kind = 'tenant.tomorrow'").await;
    let engine = engine(&fleet).await;
    let other = Asked::of(&fleet).await;
    other.becomes(&fleet, "succeeded").await;
    assert_eq!(asked.shows(&fleet, "(state, generation)").await, "(queued,0)", "of a kind that nobody here knows");

    fleet.control().run(&steps("grant_access", "tomorrow")).await;
    asked.set(&fleet, "kind = 'tenant.provision'").await;
    eventually_within("the operation to be left", PATIENCE, async || {
        let left = "state = 'queued' AND generation > 0 AND run_after > now()";
        (asked.shows(&fleet, left).await == "true").then_some(())
    })
    .await;
    assert_eq!(asked.shows(&fleet, "(attempts, failures, direction)").await, "(0,0,forward)");
    fleet.control().run(&steps("tomorrow", "grant_access")).await;
    asked.set(&fleet, "run_after = now()").await;
    asked.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn what_an_earlier_release_has_queued_is_brought_to_its_end() {
    let fleet = fleet::idle().await;
    let asked = Asked::of(&fleet).await;
    let id = asked.operation.replace("op_", "");
    let recorded = format!(
        "UPDATE operation_steps SET position = position + 10 WHERE operation_id = '{id}' AND position > 4;
         UPDATE operation_steps SET position = position - 9 WHERE operation_id = '{id}' AND position > 4;
         UPDATE operation_steps SET name = 'restrict_database' WHERE operation_id = '{id}' AND name = 'grant_access';
         INSERT INTO operation_steps (operation_id, position, name, state) VALUES ('{id}', 5, 'open_database', 'pending')"
    );
    fleet.control().run(&recorded).await;
    let engine = engine(&fleet).await;
    let ended = asked.becomes(&fleet, "succeeded").await;
    let steps: Vec<_> = ended["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(steps[4..], ["restrict_database", "open_database", "create_first_admin", "activate"]);
    engine.stop().await;
}

#[tokio::test]
async fn a_replica_that_stops_claims_nothing_more() {
    let fleet = fleet::idle().await;
    let first = Asked::of(&fleet).await;
    first.arm("create_role.before_effect", Mode::Hold);
    let name = unique("engine");
    let changes = [("FREEHOLD_OPERATION_CONCURRENCY", "1"), ("FREEHOLD_REPLICA", name.as_str())];
    let stopping = fleet.another_replica(&changes, Clock::default()).await;
    first.reaches("create_role.before_effect").await;
    let second = Asked::of(&fleet).await;
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        faults::release(first.tenant);
    };
    tokio::join!(stopping.stop(), release);
    assert_eq!(first.shows(&fleet, "state").await, "queued", "handed back");
    assert_eq!(first.states(&fleet).await[2..4], ["succeeded", "pending"], "handed back before the next step");
    assert_eq!(second.shows(&fleet, "(state, generation)").await, "(queued,0)");
    let engine = engine(&fleet).await;
    first.becomes(&fleet, "succeeded").await;
    second.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn a_first_administrator_who_cannot_be_made_any_more_is_missed() {
    let fleet = fleet::idle().await;
    let asked = Asked::of(&fleet).await;
    asked.set(&fleet, "failures = 4").await;
    let sql = "DELETE FROM secrets WHERE purpose = 'first_admin_password' AND owner_id = ";
    fleet.control().run(&format!("{sql} '{}'", asked.uuid())).await;
    let engine = engine(&fleet).await;
    let blocked = asked.becomes(&fleet, "blocked").await;
    assert_eq!(blocked["steps"][5]["name"], "create_first_admin");
    assert_eq!(blocked["steps"][5]["state"], "failed");
    fleet.operator().post(&asked.path("/cancel"), &json!({})).await.expect(202);
    asked.becomes(&fleet, "cancelled").await;
    assert_eq!(asked.shows(&fleet, "input").await, "{}", "it named somebody");
    engine.stop().await;
}

#[tokio::test]
async fn what_others_have_taken_away_is_named_and_once_it_is_back_the_operation_goes_on() {
    let fleet = fleet::idle().await;
    let asked = Asked::of(&fleet).await;
    asked.set(&fleet, "failures = 4").await;
    asked.arm("create_first_admin.before_effect", Mode::Hold);
    let engine = engine(&fleet).await;
    asked.reaches("create_first_admin.before_effect").await;
    let (server, name) = (fleet.on_server("postgres"), asked.tenant.db_name());
    server.run(&format!("ALTER DATABASE {name} RENAME TO elsewhere")).await;
    faults::release(asked.tenant);
    let blocked = asked.becomes(&fleet, "blocked").await;
    let error = "database_missing: a database of Freehold's is not on its server";
    assert_eq!(blocked["error"], error, "{blocked}");
    server.run(&format!("ALTER DATABASE elsewhere RENAME TO {name}")).await;
    fleet.operator().post(&asked.path("/retry"), &json!({})).await.expect(202);
    asked.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn an_erasure_is_cancelled_by_those_who_may_delete() {
    let fleet = fleet::idle().await;
    let asked = Asked::made(&fleet).await;
    let path = format!("/platform/v1/tenants/{}", asked.tenant);
    let slug = fleet.patiently(&path, 0).await["slug"].clone();
    let body = json!({ "confirm": slug, "erase": true });
    let erasure = fleet.operator().post(&format!("{path}/delete"), &body).await.expect(202);
    let cancel = format!("/platform/v1/operations/{}/cancel", erasure["operation_id"].as_str().unwrap());
    let member = fleet.operator_with_role("member").await;
    member.post(&cancel, &json!({})).await.problem(403, "forbidden");
    fleet.operator().post(&cancel, &json!({})).await.expect(202);
    let engine = self::engine(&fleet).await;
    eventually_within("the erasure to be undone", PATIENCE, async || {
        let path = cancel.trim_end_matches("/cancel");
        (fleet.patiently(path, 0).await["state"] == "cancelled").then_some(())
    })
    .await;
    engine.stop().await;
}

#[tokio::test]
async fn whoever_loses_the_right_to_follow_is_told_nothing_more() {
    let fleet = fleet::idle().await;
    let asked = Asked::of(&fleet).await;
    let email = format!("{}@example.com", unique("follower"));
    let platform = fleet.platform_database().await;
    platform.add_user(OPERATOR_EMAIL, &email, "viewer").await;
    let tokens = fleet.replica.admin_anonymous().login(&email, PASSWORD).await.expect(200);
    let viewer = fleet.replica.operator(&tokens["access_token"].as_str().unwrap().into());
    let mut stream = viewer.request(Method::GET, &asked.path("/events")).send().await.unwrap();
    let first = stream.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: operation"), "{first:?}");
    platform.run(&format!("UPDATE freehold.users SET active = false WHERE email = '{email}'")).await;
    fleet.control().run("UPDATE tenants SET epoch = epoch + 1 WHERE kind = 'platform'").await;
    eventually_within("the viewer to be refused", PATIENCE, async || {
        (viewer.get(&asked.path("")).await.status() == 401).then_some(())
    })
    .await;
    let engine = engine(&fleet).await;
    let rest = tokio::time::timeout(PATIENCE, stream.text()).await.unwrap().unwrap();
    assert!(!rest.contains("event: operation"), "{rest}");
    asked.becomes(&fleet, "succeeded").await;
    engine.stop().await;
}

#[tokio::test]
async fn a_clone_is_called_off_while_it_copies_and_its_source_is_free_from_then_on() {
    let fleet = fleet::idle().await;
    let source = Asked::made(&fleet).await;
    let path = format!("/platform/v1/tenants/{}", source.tenant);
    let made = json!({ "slug": unique("copy"), "name": "A copy" });
    let made = fleet.operator().post(&format!("{path}/clone"), &made).await.expect(202);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let clone = Asked { tenant: text("id").parse().unwrap(), operation: text("operation_id") };
    let [copying, undoing] = ["", ".undo"].map(|undo| format!("tenant.clone.copy_database{undo}.before_effect"));
    for point in [&copying, &undoing] {
        faults::arm(point, Mode::Hold, Some(clone.tenant));
    }
    let engine = engine(&fleet).await;
    clone.passes(&copying).await;
    let rotation = format!("{path}/rotate-credentials");
    fleet.operator().post(&rotation, &json!({})).await.problem(409, "operation_in_progress");
    fleet.operator().post(&clone.path("/cancel"), &json!({})).await.expect(202);
    clone.passes(&undoing).await;
    fleet.operator().post(&rotation, &json!({})).await.expect(202);
    faults::release(clone.tenant);
    clone.becomes(&fleet, "cancelled").await;
    let left = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", clone.tenant.db_name());
    assert_eq!(fleet.on_server("postgres").value::<i64>(&left).await, 0);
    engine.stop().await;
}
