//! The password of a server's administrative role.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

#[cfg(feature = "crash-points")]
use crate::harness::eventually;
use crate::harness::{
    answer::Answer,
    fleet::{self, Fleet},
};
#[cfg(feature = "crash-points")]
use freehold::{
    faults::{self, Mode},
    types::{ServerId, TenantId},
};

#[cfg(feature = "crash-points")]
const AFTER_SEAL: &str = "server.rotate_credentials.after_seal";
#[cfg(feature = "crash-points")]
const AFTER_ALTER: &str = "server.rotate_credentials.after_alter";

async fn server(fleet: &Fleet) -> Value {
    let servers = fleet.operator().get("/platform/v1/servers").await.expect(200);
    let named = |server: &&Value| server["name"] == fleet.server.as_str();
    servers["items"].as_array().unwrap().iter().find(named).unwrap().clone()
}

async fn ask(fleet: &Fleet, body: &Value) -> Answer {
    let path = format!("/platform/v1/servers/{}/rotate-credentials", server(fleet).await["id"].as_str().unwrap());
    fleet.operator().post(&path, body).await
}

pub(super) async fn rotate(fleet: &Fleet) {
    ask(fleet, &json!({})).await.expect(200);
}

/// Gives the role the password that it was made with, behind Freehold's back, and tells Freehold.
pub(crate) async fn restore(fleet: &Fleet) {
    let password = fleet.server_admin_password();
    let role = server(fleet).await["admin_role"].as_str().unwrap().to_owned();
    let alter = format!("ALTER ROLE {role} PASSWORD '{}'", password.expose_secret());
    fleet.on_server("postgres").run(&alter).await;
    ask(fleet, &json!({ "password": password.expose_secret() })).await.expect(200);
}

async fn opens(fleet: &Fleet, password: &SecretString) -> bool {
    let role = server(fleet).await["admin_role"].as_str().unwrap().to_owned();
    fleet.on_server("postgres").logged_in_as(&role, password.expose_secret()).connect().await.is_ok()
}

async fn next_passwords(fleet: &Fleet) -> i64 {
    fleet.control().value("SELECT count(*) FROM secrets WHERE purpose = 'next_server_admin_password'").await
}

#[tokio::test]
async fn the_old_password_opens_nothing_and_operations_go_on() {
    let fleet = fleet::alone().await;
    let first = fleet.server_admin_password();
    assert!(opens(&fleet, &first).await);
    let nothing = json!({});
    let (one, other) = tokio::join!(ask(&fleet, &nothing), ask(&fleet, &nothing));
    one.expect(200);
    other.expect(200);
    assert!(!opens(&fleet, &first).await, "the old password still opens");
    assert_eq!(next_passwords(&fleet).await, 0);
    fleet.tenant().await;
    ask(&fleet, &json!({ "password": "not this one" })).await.wrong_field("password", "login_refused");
    restore(&fleet).await;
    assert!(opens(&fleet, &first).await);
    fleet.tenant().await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_rotation_that_dies_anywhere_is_settled_by_whoever_comes_next() {
    let fleet = fleet::alone().await;
    let id = subject(&fleet).await;
    for point in [AFTER_SEAL, AFTER_ALTER] {
        faults::arm(point, Mode::Error, Some(id));
        ask(&fleet, &json!({})).await.problem(500, "internal");
        assert_eq!(next_passwords(&fleet).await, 1, "{point}");
        // Operations settle it as they go.
        fleet.tenant().await;
        assert_eq!(next_passwords(&fleet).await, i64::from(point == AFTER_SEAL), "{point}");
        rotate(&fleet).await;
        assert_eq!(next_passwords(&fleet).await, 0, "{point}");
    }
    restore(&fleet).await;
}

/// What crash points know the server by.
#[cfg(feature = "crash-points")]
async fn subject(fleet: &Fleet) -> TenantId {
    let id: ServerId = server(fleet).await["id"].as_str().unwrap().parse().unwrap();
    TenantId::from_uuid(id.uuid())
}

/// Waits until as many rotations as that have a session on the server, each with what it holds.
#[cfg(feature = "crash-points")]
async fn are_at_work(fleet: &Fleet, rotations: i64) {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%:rotate-credentials'";
    let server = fleet.on_server("postgres");
    eventually("the rotations to be at work", async || {
        (server.value::<i64>(sessions).await == rotations).then_some(())
    })
    .await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_password_that_works_is_not_overwritten_by_the_next_one() {
    let fleet = fleet::alone().await;
    let id = subject(&fleet).await;
    // The first dies when the role has its password, and the second, which has waited for it, before the role has its.
    faults::arm(AFTER_SEAL, Mode::Hold, Some(id));
    faults::arm(AFTER_ALTER, Mode::Error, Some(id));
    let nothing = json!({});
    let second = async {
        eventually("the first is held", async || (next_passwords(&fleet).await == 1).then_some(())).await;
        faults::arm(AFTER_SEAL, Mode::Error, Some(id));
        ask(&fleet, &nothing).await
    };
    let let_go = async {
        are_at_work(&fleet, 2).await;
        faults::release(id);
    };
    let (first, second, ()) = tokio::join!(ask(&fleet, &nothing), second, let_go);
    first.problem(500, "internal");
    second.problem(500, "internal");
    fleet.tenant().await;
    rotate(&fleet).await;
    restore(&fleet).await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_password_that_is_kept_nowhere_any_more_is_taken_back() {
    let fleet = fleet::alone().await;
    let id = subject(&fleet).await;
    let first = fleet.server_admin_password();
    faults::arm(AFTER_ALTER, Mode::Hold, Some(id));
    let lose = async {
        eventually("the role to have its next password", async || (!opens(&fleet, &first).await).then_some(())).await;
        fleet.control().run("DELETE FROM secrets WHERE purpose = 'next_server_admin_password'").await;
        faults::release(id);
    };
    let nothing = json!({});
    let (rotated, ()) = tokio::join!(ask(&fleet, &nothing), lose);
    rotated.problem(503, "credentials_locked");
    assert_eq!(next_passwords(&fleet).await, 0);
    fleet.tenant().await;
    rotate(&fleet).await;
    restore(&fleet).await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_password_is_not_taken_over_while_another_one_is_being_made() {
    let fleet = fleet::alone().await;
    let id = subject(&fleet).await;
    let first = fleet.server_admin_password();
    faults::arm(AFTER_SEAL, Mode::Hold, Some(id));
    let nothing = json!({});
    let given = async {
        eventually("the rotation is held", async || (next_passwords(&fleet).await == 1).then_some(())).await;
        let answer = ask(&fleet, &json!({ "password": first.expose_secret() })).await;
        faults::release(id);
        answer
    };
    let (made, given) = tokio::join!(ask(&fleet, &nothing), given);
    made.expect(200);
    given.problem(503, "credentials_locked");
    fleet.tenant().await;
    restore(&fleet).await;
}
