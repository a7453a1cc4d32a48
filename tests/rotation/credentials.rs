//! The password of a tenant's database role.

use std::{collections::BTreeSet, time::Duration};

use freehold::types::Clock;
use futures::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::ask;
use crate::{
    archiving::failed,
    harness::{
        eventually,
        fleet::{self, Fleet},
        tenant::{Tenant, end_sessions},
        unique,
    },
};

pub(super) async fn rotate(fleet: &Fleet, tenant: &Tenant<'_>) {
    let before = fleet.database_password(&tenant.id).await;
    let rotated = ask(fleet, tenant, "rotate-credentials").await.expect(200);
    assert_eq!(rotated["id"], tenant.id);
    let after = fleet.database_password(&tenant.id).await;
    assert_ne!(before.expose_secret(), after.expose_secret());
}

#[tokio::test]
async fn the_old_password_opens_nothing_and_open_connections_go_on() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let name = tenant.database_name();
    let before = fleet.database_password(&tenant.id).await;
    let old_login = tenant.database().logged_in_as(&name, before.expose_secret());
    let session = old_login.connect().await.unwrap();

    rotate(fleet, &tenant).await;
    let after = fleet.database_password(&tenant.id).await;
    assert!(old_login.connect().await.is_err(), "the old password still opens");
    tenant.database().logged_in_as(&name, after.expose_secret()).connect().await.unwrap();
    session.batch_execute("SELECT 1").await.unwrap();
    let owner = tenant.id.replace("ten_", "");
    let sql = format!("SELECT count(*) FROM secrets WHERE purpose LIKE 'next%' AND owner_id = '{owner}'");
    assert_eq!(fleet.control().value::<i64>(&sql).await, 0, "a next password is left");
}

#[tokio::test]
async fn without_its_role_a_tenant_gets_no_other_password_and_nothing_stays_in_the_way() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (server, name) = (fleet.on_server("postgres"), tenant.database_name());
    let before = fleet.database_password(&tenant.id).await;
    end_sessions(fleet, std::slice::from_ref(&tenant)).await;
    server.run(&format!("REVOKE ALL ON DATABASE {name} FROM {name}; DROP ROLE {name}")).await;
    let path = format!("/platform/v1/tenants/{}/rotate-credentials", tenant.id);
    let asked = fleet.operator().post(&path, &json!({})).await.expect(202);
    let given_up = failed(fleet, asked["operation_id"].as_str().unwrap()).await;
    assert!(given_up["error"].as_str().unwrap().starts_with("role_missing"), "{given_up}");
    assert_eq!(fleet.database_password(&tenant.id).await.expose_secret(), before.expose_secret());
    let body = json!({ "confirm": tenant.slug, "erase": true });
    let erasing = fleet.operator().post(&format!("/platform/v1/tenants/{}/delete", tenant.id), &body).await.expect(202);
    fleet.finished(erasing["operation_id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_replica_that_heard_nothing_of_it_finds_the_password_that_works() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let replica = fleet.another_replica(&[], Clock::default()).await;
    let there = replica.member(&tenant.slug, tenant.admin.bearer());
    there.get("/v1/projects").await.expect(200);
    // Behind everybody's back: as if the replica had lost its listener at this moment.
    let password = SecretString::from(unique("password"));
    fleet.replace_database_password(&tenant.id, &password).await;
    let alter = format!("ALTER ROLE {} PASSWORD '{}'", tenant.database_name(), password.expose_secret());
    fleet.on_server("postgres").run(&alter).await;
    end_sessions(fleet, std::slice::from_ref(&tenant)).await;
    there.get("/v1/projects").await.expect(200);
}

#[tokio::test]
async fn secrets_that_were_swapped_open_for_nobody() {
    let fleet = fleet::shared().await;
    let [one, other] = [fleet.tenant().await, fleet.tenant().await];
    let [id, other_id] = [&one, &other].map(|tenant| tenant.id.replace("ten_", ""));
    let swap = format!(
        "WITH one AS (SELECT owner_id, purpose, sealed FROM secrets
                       WHERE owner_id IN ('{id}', '{other_id}') AND purpose = 'tenant_database_password')
         UPDATE secrets s SET sealed = other.sealed FROM one other
          WHERE s.owner_id IN ('{id}', '{other_id}') AND s.purpose = other.purpose AND other.owner_id <> s.owner_id;
         UPDATE tenants SET updated_at = now() WHERE id IN ('{id}', '{other_id}')"
    );
    fleet.control().run(&swap).await;
    let tenants = [one, other];
    end_sessions(fleet, &tenants).await;
    for tenant in &tenants {
        eventually("the swapped secret to be noticed", async || {
            end_sessions(fleet, std::slice::from_ref(tenant)).await;
            (tenant.admin.get("/v1/projects").await.status() == 500).then_some(())
        })
        .await;
    }
    fleet.control().run(&swap).await;
    for tenant in &tenants {
        eventually("the secret to open again", async || {
            (tenant.admin.get("/v1/projects").await.status() == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn of_many_who_rotate_at_once_one_does_it_and_only_for_a_tenant_that_has_a_database() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let deleted = "UPDATE tenants SET state = 'archived' WHERE id = ";
    let id = tenant.id.replace("ten_", "");
    fleet.control().run(&format!("{deleted}'{id}'")).await;
    ask(fleet, &tenant, "rotate-credentials").await.problem(409, "tenant_state_conflict");
    fleet.control().run(&format!("UPDATE tenants SET state = 'active' WHERE id = '{id}'")).await;
    let admin = fleet.server_admin().await;
    // As somebody who is at work on it: the rotation waits.
    assert!(admin.lock_tenant(tenant.id.parse().unwrap(), Duration::from_secs(5)).await.unwrap());
    let path = format!("/platform/v1/tenants/{}/rotate-credentials", tenant.id);
    let answers = join_all((0..8).map(|_| async { fleet.operator().post(&path, &json!({})).await })).await;
    let operations: BTreeSet<_> =
        answers.iter().map(|answer| answer.expect(202)["operation_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(operations.len(), 1, "{operations:?}");
    drop(admin);
    fleet.finished(operations.first().unwrap()).await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn checks_look_through_the_tenants_eyes_while_its_password_is_being_replaced() {
    use freehold::faults::{self, Mode};

    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let id = tenant.id.parse().unwrap();
    let point = "tenant.rotate_credentials.alter_role.after_record";
    faults::arm(point, Mode::Hold, Some(id));
    let path = format!("/platform/v1/tenants/{}/rotate-credentials", tenant.id);
    fleet.operator().post(&path, &json!({})).await.expect(202);
    eventually("the role has the next password", async || {
        faults::fired().iter().any(|fired| fired.point == point && fired.tenant == id).then_some(())
    })
    .await;
    let verified = crate::isolation::verify(&fleet).await;
    assert!(verified.attempts > 0 && verified.findings.is_empty() && verified.unproven.is_empty(), "{verified:?}");
    let report = fleet.operator().get("/platform/v1/fsck").await.expect(200);
    assert_eq!((&report["state"], &report["findings"]), (&"busy".into(), &json!([])), "{report}");
    faults::release(id);
}

#[cfg(feature = "crash-points")]
async fn fired(point: &str, id: freehold::types::TenantId) {
    eventually(point, async || {
        let has_fired = freehold::faults::fired().iter().any(|fired| fired.point == point && fired.tenant == id);
        has_fired.then_some(())
    })
    .await;
}

/// Asks for a rotation; the operation.
#[cfg(feature = "crash-points")]
async fn begin(fleet: &Fleet, tenant: &Tenant<'_>) -> String {
    let path = format!("/platform/v1/tenants/{}/rotate-credentials", tenant.id);
    let asked = fleet.operator().post(&path, &json!({})).await.expect(202);
    asked["operation_id"].as_str().unwrap().to_owned()
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_replica_that_wakes_up_late_does_not_forget_the_password_of_a_later_rotation() {
    use freehold::faults::{self, Mode};

    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let id = tenant.id.parse().unwrap();
    let [cancelled_at, late, soon] = ["alter_role.before_effect", "record.undo.before_effect", "promote.before_effect"]
        .map(|point| format!("tenant.rotate_credentials.{point}"));
    faults::arm(&cancelled_at, Mode::Delay, Some(id));
    faults::arm(&late, Mode::Hold, Some(id));
    let first = begin(fleet, &tenant).await;
    fired(&cancelled_at, id).await;
    let cancel = format!("/platform/v1/operations/{first}/cancel");
    fleet.operator().post(&cancel, &json!({})).await.expect(202);
    fired(&late, id).await;
    // As when its lease has run out: another attempt takes the operation up and ends it.
    let take_over = "UPDATE operations SET state = 'queued', generation = generation + 1, run_after = now(),
                                           lease_owner = NULL, lease_expires_at = NULL";
    fleet.control().run(&format!("{take_over} WHERE id = '{}'", first.replace("op_", ""))).await;
    eventually("the first rotation to be undone", async || {
        let now = fleet.operator().get(&format!("/platform/v1/operations/{first}")).await.expect(200);
        (now["state"] == "cancelled").then_some(())
    })
    .await;

    faults::arm(&soon, Mode::Delay, Some(id));
    let second = begin(fleet, &tenant).await;
    fired(&soon, id).await;
    faults::release(id);
    assert_eq!(fleet.finished(&second).await["state"], "succeeded");
    let password = fleet.database_password(&tenant.id).await;
    let login = tenant.database().logged_in_as(&tenant.database_name(), password.expose_secret());
    login.connect().await.unwrap();
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_rotation_whose_password_is_gone_says_so() {
    use freehold::faults::{self, Mode};

    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let id = tenant.id.parse().unwrap();
    let point = "tenant.rotate_credentials.promote.before_effect";
    faults::arm(point, Mode::Hold, Some(id));
    let operation = begin(fleet, &tenant).await;
    fired(point, id).await;
    let [kept, hidden] = ["next_tenant_database_password", "hidden"];
    let rename = async |from: &str, to: &str| {
        let owner = tenant.id.replace("ten_", "");
        let sql = format!("UPDATE secrets SET purpose = '{to}' WHERE owner_id = '{owner}' AND purpose = '{from}'");
        fleet.control().run(&sql).await;
    };
    rename(kept, hidden).await;
    faults::release(id);
    let path = format!("/platform/v1/operations/{operation}");
    eventually("the step to fail", async || {
        let now = fleet.operator().get(&path).await.expect(200);
        (now["error"] == "internal: an internal error").then_some(())
    })
    .await;
    rename(hidden, kept).await;
    assert_eq!(fleet.finished(&operation).await["state"], "succeeded");
}
