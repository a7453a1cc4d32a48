//! Two replicas that do the same work: one answer, one tenant, one end of a session; and one that leaves in order.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::{
    answer::Answer,
    eventually_within,
    programs::{Dev, Ledger, assert_clean, claimed},
    unique,
};

/// The promise for a revocation, and for one that a lost listener delays.
const REVOKED: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_creations_with_one_key_over_two_replicas_make_one_tenant() {
    let dev = Dev::shared().await;
    let twin = dev.replica(&unique("twin")).await;
    let slug = unique("once");
    let body = json!({ "slug": slug, "name": "Once", "admin": { "email": "ada@once.example" } });
    let operators = [dev.operator(), twin.operator()];
    let path = "/platform/v1/tenants";
    let asked = (0..200).map(|n| operators[n % operators.len()].post_patiently(path, &body, &slug));
    let answers: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| !answer.is_success()).collect();
    assert!(refused.is_empty(), "{} refused, such as {:?}", refused.len(), refused[0]);
    let tell = |name: &str| answers.iter().map(|answer| answer.json()[name].to_string()).collect::<BTreeSet<_>>();
    for name in ["id", "operation_id", "admin_invitation"] {
        assert_eq!(tell(name).len(), 1, "{name}: {:?}", tell(name));
    }
    let control = dev.control().await;
    let count = async |sql: &str| control.query_one(sql, &[&slug]).await.unwrap().get::<_, i64>(0);
    assert_eq!(count("SELECT count(*) FROM tenants WHERE slug = $1").await, 1);
    let operations = "SELECT count(*) FROM operations o JOIN tenants t ON t.id = o.tenant_id WHERE t.slug = $1";
    assert_eq!(count(operations).await, 1);
    // More than one database would be an orphan.
    assert_clean(&dev.operator()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_at_one_replica_ends_at_the_other_twenty_times_of_twenty() {
    let dev = Dev::shared().await;
    let twin = dev.replica(&unique("twin")).await;
    let mut late = 0;
    for _ in 0..20 {
        let here = dev.admin_of("acme").await;
        let there = here.through(&twin.public);
        assert_eq!(there.try_get("/v1/auth/me").await.unwrap().status(), 200, "known there, and remembered");
        assert_eq!(here.post("/v1/auth/logout", &json!({})).await.status(), 204);
        let deadline = Instant::now() + REVOKED;
        let refused = async {
            while there.try_get("/v1/auth/me").await.unwrap().status() != 401 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        late += usize::from(tokio::time::timeout_at(deadline, refused).await.is_err());
    }
    assert_eq!(late, 0, "sessions that lived on for more than {REVOKED:?}, of 20");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_told_to_stop_answers_what_it_accepted_and_hands_its_operations_over() {
    let dev = Dev::start().await;
    let mut leaving = dev.replica("leaving").await;
    let (operator, control) = (leaving.operator(), dev.control().await);
    let ledger = Ledger::new("stopped");
    ledger.ask(&operator, 0..10).await;
    // Answered when the tenants serve: these are in the middle of it when the signal comes.
    let slow: Vec<_> = (0..10).map(|_| unique("slow")).collect();
    let answers = join_all(slow.iter().map(|slug| operator.create_and_wait(slug)));
    let stop = async {
        eventually_within("all requests are accepted", Duration::from_secs(30), async || {
            let sql = "SELECT count(*) FROM tenants WHERE slug = ANY($1)";
            let accepted: i64 = control.query_one(sql, &[&slow]).await.unwrap().get(0);
            (accepted == 10 && claimed(&control, "leaving").await > 0).then_some(())
        })
        .await;
        leaving.program.signal(Signal::TERM);
        leaving.program.ended(Duration::from_secs(35)).await
    };
    let (answers, ended) = tokio::join!(answers, stop);
    let damage: Vec<_> = answers.iter().filter(|answer| !answer.as_ref().is_ok_and(Answer::is_success)).collect();
    assert!(damage.is_empty(), "{} of 10 accepted requests were not answered: {damage:?}", damage.len());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(claimed(&control, "leaving").await, 0, "operations that were not handed over");
    ledger.settle(&dev.operator(), &control, Duration::from_mins(1)).await;
    assert_clean(&dev.operator()).await;
}
