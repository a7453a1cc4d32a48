//! Secrets that are replaced while everybody goes on working: no request may notice.

mod credentials;
mod keys;
mod load;
mod platform;
pub(crate) mod server;
mod signing_keys;

use std::{io::Write, sync::Arc, time::Duration};

use freehold::types::Clock;
use load::{Counts, Load};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use crate::harness::{
    actors::Caller,
    answer::Answer,
    fleet::{self, Fleet},
    replica::Replica,
    tenant::{Tenant, end_sessions},
    unique,
};

/// How long everything is rotated, and how often.
struct Schedule {
    lasts: Duration,
    every: Duration,
}

/// Between two moments at which all connections to the tenants' databases are lost.
const CUT: Duration = Duration::from_millis(1_500);

const SHORT: Schedule = Schedule { lasts: Duration::from_secs(10), every: Duration::from_secs(2) };
const LONG: Schedule = Schedule { lasts: Duration::from_mins(2), every: Duration::from_secs(10) };

#[tokio::test]
async fn everything_is_rotated_under_load_and_no_request_fails() {
    assert_unnoticed(&SHORT).await;
}

#[tokio::test]
#[ignore = "long: ./ops/test --soak"]
async fn everything_is_rotated_for_two_minutes_and_no_request_fails() {
    assert_unnoticed(&LONG).await;
}

async fn assert_unnoticed(schedule: &Schedule) {
    let fleet = fleet::alone().await;
    let replicas = Arc::new([replica(&fleet).await, replica(&fleet).await]);
    let mut tenants = Vec::new();
    for _ in 0..5 {
        tenants.push(fleet.tenant().await);
    }
    let load = Load::on(&fleet, replicas, &tenants).await;
    let end = Instant::now() + schedule.lasts;
    let (rotations, ()) = tokio::join!(
        rotate_until(&fleet, &tenants, schedule.every, end),
        // New connections all the time, by replicas whose memory may be older than a rotation.
        cut_until(&fleet, &load, &tenants, end),
    );
    let Counts { requests, tokens, failures } = load.end().await;
    let told = format!("{requests} requests, {tokens} new access tokens, {rotations} rotations of everything");
    // Past the capture of what tests print: the figures are the point of the long one.
    writeln!(std::io::stdout(), "{told}").unwrap();
    assert!(failures.is_empty(), "{told}: {failures:#?}");
    assert!(requests > 0 && tokens > 0, "there was no load");
}

/// Rotates everything of everybody, again and again; how often.
async fn rotate_until(fleet: &Fleet, tenants: &[Tenant<'_>], every: Duration, end: Instant) -> u32 {
    let mut ticks = tokio::time::interval(every);
    let mut rotations = 0;
    while ticks.tick().await < end {
        for tenant in tenants {
            credentials::rotate(fleet, tenant).await;
            signing_keys::rotate(fleet, tenant).await;
        }
        keys::rotate(fleet, if rotations % 2 == 0 { "k0" } else { "k1" }).await;
        server::rotate(fleet).await;
        rotations += 1;
    }
    keys::rotate(fleet, "k1").await;
    server::restore(fleet).await;
    rotations
}

async fn cut_until(fleet: &Fleet, load: &Load, tenants: &[Tenant<'_>], end: Instant) {
    let mut ticks = tokio::time::interval(CUT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ticks.tick().await < end {
        load.between_requests(end_sessions(fleet, tenants)).await;
    }
}

async fn replica(fleet: &Fleet) -> Replica {
    fleet.another_replica(&[("FREEHOLD_REPLICA", &unique("rotation"))], Clock::default()).await
}

/// Asks `action` of the tenant, and waits up to ten seconds for it.
async fn ask(fleet: &Fleet, tenant: &Tenant<'_>, action: &str) -> Answer {
    ask_as(&fleet.operator(), &tenant.id, action).await
}

async fn ask_as(operator: &Caller, tenant: &str, action: &str) -> Answer {
    let path = format!("/platform/v1/tenants/{tenant}/{action}");
    let request = operator.request(reqwest::Method::POST, &path);
    Answer::to(request.header("prefer", "wait=10").json(&json!({}))).await
}
