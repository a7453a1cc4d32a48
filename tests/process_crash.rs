//! Replicas that are killed, frozen or restarted in the middle of provisioning: nothing lost, nothing twice.

use std::{io::Write as _, time::Duration};

use freehold::types::Random;
use rustix::process::Signal;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::harness::{
    eventually_within,
    programs::{Dev, Ledger, Replica, assert_clean, claimed},
};

/// The promise for what a crash interrupts: a lease (10 s) and the work itself.
const RECOVERED: Duration = Duration::from_mins(1);
/// How many tenants are asked for at once.
const TENANTS: usize = 50;

/// Waits until some tenants serve while `replica` is in the middle of others.
async fn in_the_middle(ledger: &Ledger, control: &Client, replica: &str) {
    eventually_within("provisioning is in full swing", RECOVERED, async || {
        let made = ledger.count(control, "active").await;
        (made >= 5 && claimed(control, replica).await > 0).then_some(())
    })
    .await;
}

/// Databases of tenants, and the tenants that there are besides the platform's own.
async fn homes_and_tenants(dev: &Dev) -> (i64, i64) {
    let databases = r"SELECT count(*) FROM pg_database WHERE datname LIKE 'tenant\_%'";
    let tenants = "SELECT count(*) FROM tenants WHERE kind = 'customer'";
    let homes = dev.server().await.query_one(databases, &[]).await.unwrap().get(0);
    (homes, dev.control().await.query_one(tenants, &[]).await.unwrap().get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_during_fifty_provisionings_costs_nothing() {
    let dev = Dev::start().await;
    let mut victim = dev.replica("victim").await;
    let control = dev.control().await;
    let ledger = Ledger::new("killed");
    let (survivors, victims) = (dev.operator(), victim.operator());
    tokio::join!(ledger.ask(&survivors, 0..10), ledger.ask(&victims, 10..TENANTS), async {
        in_the_middle(&ledger, &control, "victim").await;
        victim.program.kill();
    });
    ledger.settle(&survivors, &control, RECOVERED).await;
    assert_clean(&survivors).await;
    let (homes, tenants) = homes_and_tenants(&dev).await;
    assert_eq!(homes, tenants, "databases and tenants");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_killed_during_fifty_provisionings_finishes_them_when_it_is_started_again() {
    let mut dev = Dev::start().await;
    let project = dev.admin_of("acme").await.make_project().await.member("id");
    let control = dev.control().await;
    let ledger = Ledger::new("restarted");
    let operator = dev.operator();
    tokio::join!(ledger.ask(&operator, 0..TENANTS), async {
        in_the_middle(&ledger, &control, "dev-1").await;
        dev.program().kill();
    });
    dev.start_again().await;
    ledger.settle(&dev.operator(), &dev.control().await, RECOVERED).await;
    assert_clean(&dev.operator()).await;
    let (homes, tenants) = homes_and_tenants(&dev).await;
    assert_eq!(homes, tenants, "databases and tenants");
    let kept = dev.admin_of("acme").await.try_get(&format!("/v1/projects/{project}")).await.unwrap();
    assert_eq!(kept.status(), 200, "what was acknowledged before is still there: {kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_frozen_past_its_leases_wakes_up_and_writes_nothing_twice() {
    let dev = Dev::start().await;
    let victim = dev.replica("victim").await;
    let control = dev.control().await;
    let ledger = Ledger::new("frozen");
    let (survivors, victims) = (dev.operator(), victim.operator());
    let freeze = async {
        eventually_within("the victim is at work", RECOVERED, async || {
            (claimed(&control, "victim").await >= 2).then_some(())
        })
        .await;
        victim.program.signal(Signal::STOP);
        eventually_within("its operations have been taken over", RECOVERED, async || {
            (claimed(&control, "victim").await == 0).then_some(())
        })
        .await;
        victim.program.signal(Signal::CONT);
    };
    tokio::join!(ledger.ask(&survivors, 0..10), ledger.ask(&victims, 10..20), freeze);
    ledger.settle(&survivors, &control, RECOVERED).await;
    // The woken one must agree, and so must its own memory.
    for operator in [&survivors, &victims] {
        assert_clean(operator).await;
    }
    let (homes, tenants) = homes_and_tenants(&dev).await;
    assert_eq!(homes, tenants, "databases and tenants");
}

/// Rounds of the long test, and how many of them one set of servers bears: 100 databases each are 750 MB.
const ROUNDS: usize = 20;
const ROUNDS_A_DEV: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./ops/test --soak"]
async fn one_of_two_replicas_is_killed_at_a_random_moment_of_a_hundred_creations_twenty_times() {
    for first in (0..ROUNDS).step_by(ROUNDS_A_DEV) {
        let dev = Dev::start().await;
        let control = dev.control().await;
        for round in first..first + ROUNDS_A_DEV {
            let [chance, who] = Random.bytes::<2>();
            let moment = Duration::from_millis(u64::from(chance) * 20);
            let mut replicas = [dev.replica("east").await, dev.replica("west").await];
            let operators = replicas.each_ref().map(Replica::operator);
            let ledger = Ledger::new("random");
            let victim = usize::from(who % 2);
            tokio::join!(ledger.ask(&operators[0], 0..50), ledger.ask(&operators[1], 50..100), async {
                sleep(moment).await;
                replicas[victim].program.kill();
            });
            replicas[victim] = dev.replica(["east", "west"][victim]).await;
            ledger.settle(&replicas[victim].operator(), &control, RECOVERED * 2).await;
            assert_clean(&dev.operator()).await;
            tell(&format!("round {}: killed {victim} after {} ms; 100 active", round + 1, moment.as_millis()));
        }
        let (homes, tenants) = homes_and_tenants(&dev).await;
        assert_eq!(homes, tenants, "databases and tenants");
    }
}

/// Not captured: whoever runs the long tests sees how far they are, and what chance has chosen.
fn tell(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
