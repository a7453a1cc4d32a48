//! The password of a server's administrative role.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::harness::{
    answer::Answer,
    fleet::{self, Fleet},
};

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
    use freehold::faults::{self, Mode};

    let fleet = fleet::alone().await;
    for point in ["after_seal", "after_alter"] {
        faults::arm(&format!("server.rotate_credentials.{point}"), Mode::Error, None);
        ask(&fleet, &json!({})).await.problem(500, "internal");
        assert_eq!(next_passwords(&fleet).await, 1, "{point}");
        // Operations settle it as they go.
        fleet.tenant().await;
        assert_eq!(next_passwords(&fleet).await, i64::from(point == "after_seal"), "{point}");
        rotate(&fleet).await;
        assert_eq!(next_passwords(&fleet).await, 0, "{point}");
    }
    restore(&fleet).await;
}
