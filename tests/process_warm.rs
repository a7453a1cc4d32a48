//! The warm pool while replicas die: what they were making is finished or taken away by others.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::harness::{
    actors::Caller,
    eventually_within,
    programs::{Dev, assert_clean},
    unique,
};

/// A lease (10 s), and the work itself.
const RECOVERED: Duration = Duration::from_mins(1);

/// Waits until `replica` is making a database, while tenants come and take those that are there.
async fn in_the_middle(operator: &Caller, control: &Client, replica: &str) {
    let sql = "SELECT count(*) FROM operations WHERE kind = 'warm.make' AND state = 'running' AND lease_owner = $1";
    let demand = async {
        loop {
            let slug = unique("taken");
            let body = json!({ "slug": slug, "name": "Taken" });
            operator.post_patiently("/platform/v1/tenants", &body, &slug).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    };
    let seen = async {
        while control.query_one(sql, &[&replica]).await.unwrap().get::<_, i64>(0) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = demand => {}
        () = seen => {}
        () = sleep(RECOVERED) => panic!("{replica} makes no database"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_while_it_makes_databases_leaves_nothing_behind() {
    let mut dev = Dev::start_with(&[("WARM_MIN", "4"), ("WARM_MAX", "4")]).await;
    let (control, operator) = (dev.control().await, dev.operator());
    for _ in 0..3 {
        let name = unique("victim");
        let mut victim = dev.replica(&name).await;
        // Frozen, the other one leaves all work to it.
        dev.program().signal(Signal::STOP);
        in_the_middle(&victim.operator(), &control, &name).await;
        victim.program.kill();
        dev.program().signal(Signal::CONT);
    }
    let count = async |sql: &str| control.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    eventually_within("the pool is full", RECOVERED, async || {
        let ready = "SELECT count(*) FROM warm_databases WHERE state = 'ready'";
        let live = "SELECT count(*) FROM operations WHERE state IN ('queued', 'running', 'blocked')";
        (count(ready).await == 4 && count(live).await == 0).then_some(())
    })
    .await;
    assert_clean(&operator).await;
    let expected =
        "SELECT (SELECT count(*) FROM tenants WHERE kind = 'customer') + (SELECT count(*) FROM warm_databases)";
    for (what, there) in [
        ("databases", r"SELECT count(*) FROM pg_database WHERE datname LIKE 'tenant\_%'"),
        ("roles", r"SELECT count(*) FROM pg_roles WHERE rolname LIKE 'tenant\_%'"),
    ] {
        let there: i64 = dev.server().await.query_one(there, &[]).await.unwrap().get(0);
        assert_eq!(there, count(expected).await, "{what}");
    }
}
