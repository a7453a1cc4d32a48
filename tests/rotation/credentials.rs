//! The password of a tenant's database role.

use freehold::types::Clock;
use secrecy::{ExposeSecret, SecretString};

use super::{ask, end_sessions};
use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    tenant::Tenant,
    unique,
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
    let left: i64 = fleet
        .control()
        .value("SELECT count(*) FROM secrets WHERE purpose LIKE 'next%' AND owner_id IN (SELECT id FROM tenants)")
        .await;
    assert_eq!(left, 0, "next passwords are left");
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
async fn one_rotation_at_a_time_and_only_of_a_tenant_that_has_a_database() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let deleted = "UPDATE tenants SET state = 'archived' WHERE id = ";
    let id = tenant.id.replace("ten_", "");
    fleet.control().run(&format!("{deleted}'{id}'")).await;
    ask(fleet, &tenant, "rotate-credentials").await.problem(409, "tenant_state_conflict");
    fleet.control().run(&format!("UPDATE tenants SET state = 'active' WHERE id = '{id}'")).await;
    let (one, other) =
        tokio::join!(ask(fleet, &tenant, "rotate-credentials"), ask(fleet, &tenant, "rotate-credentials"));
    let (done, refused) = if one.status() == 200 { (one, other) } else { (other, one) };
    done.expect(200);
    // Unless it came so late that the other had ended.
    if refused.status() != 200 {
        refused.problem(409, "operation_in_progress");
    }
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
    fleet.operator().post(&path, &serde_json::json!({})).await.expect(202);
    eventually("the role has the next password", async || {
        faults::fired().iter().any(|fired| fired.point == point && fired.tenant == id).then_some(())
    })
    .await;
    let verified = crate::isolation::verify(&fleet).await;
    assert!(verified.attempts > 0 && verified.findings.is_empty() && verified.unproven.is_empty(), "{verified:?}");
    let report = fleet.operator().get("/platform/v1/fsck").await.expect(200);
    assert_eq!((&report["state"], &report["findings"]), (&"busy".into(), &serde_json::json!([])), "{report}");
    faults::release(id);
}
