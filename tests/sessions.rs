//! Administrative sessions that operations leave to each other: without locks, and not for long.

use std::time::Duration;

use crate::harness::{eventually, eventually_within, fleet};

const LEFT: &str = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'freehold:%:idle'";

#[tokio::test]
async fn a_session_that_an_operation_leaves_serves_the_next_one_and_ends_unused() {
    let fleet = fleet::alone().await;
    let server = fleet.on_server("postgres");
    let left = async || {
        let pids: Vec<i32> = server.values(LEFT).await;
        (!pids.is_empty()).then_some(pids)
    };
    fleet.tenant().await;
    let first = eventually("the session to be left", left).await;
    let held = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE locktype = 'advisory' AND application_name LIKE 'freehold:%:idle'";
    assert_eq!(server.value::<i64>(held).await, 0, "locks of an operation that has ended");
    // On a busy machine a session may end before the next operation asks for one.
    let mut before = first;
    eventually_within("an operation to be served by a session that was left", Duration::from_mins(1), async || {
        fleet.tenant().await;
        let after = eventually("the session to be left again", left).await;
        let reused = after.iter().any(|pid| before.contains(pid));
        before = after;
        reused.then_some(())
    })
    .await;
    eventually("the session to end", async || left().await.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_session_that_is_cut_while_nobody_uses_it_costs_no_operation() {
    let fleet = fleet::alone().await;
    let server = fleet.on_server("postgres");
    fleet.tenant().await;
    let cut = format!("SELECT count(pg_terminate_backend(pid)) FROM ({LEFT}) AS kept");
    eventually("a session to be cut", async || (server.value::<i64>(&cut).await > 0).then_some(())).await;
    let tenant = fleet.tenant().await;
    let id = tenant.id.trim_start_matches("ten_");
    let attempts = format!("SELECT max(attempts) FROM operations WHERE tenant_id = '{id}'");
    assert_eq!(fleet.control().value::<i32>(&attempts).await, 1);
}
