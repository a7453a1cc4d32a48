//! What Freehold depends on stops and comes back, behind its back: who feels it, how soon, and who does not.

use std::{path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    actors::Caller,
    eventually_within,
    programs::{Dev, assert_clean, send_signal, start_postgres, start_redis, stop_postgres},
    unique,
};

/// Dependencies are looked at every two seconds; a busy machine takes its time.
const NOTICED: Duration = Duration::from_secs(15);
/// How many requests are counted in each state.
const REQUESTS: usize = 20;

/// Waits until `/health/ready` says `status`; it must answer all the while.
async fn says(api: &Caller, status: &str) {
    eventually_within(&format!("readiness is {status}"), NOTICED, async || {
        let answer = api.try_get("/health/ready").await.unwrap();
        (answer.json()["status"] == status).then_some(())
    })
    .await;
}

/// How many of [`REQUESTS`] reads are not answered with 200.
async fn failed_reads(api: &Caller) -> usize {
    let mut failed = 0;
    for _ in 0..REQUESTS {
        let answer = api.try_get("/v1/projects").await;
        failed += usize::from(!answer.is_ok_and(|answer| answer.status() == 200));
    }
    failed
}

/// A refusal that is honest, tells when to come back, and comes within `bound`.
async fn assert_refused(api: &Caller, bound: Duration) {
    let answer = api.try_get("/v1/projects").await.unwrap();
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.retry_after().is_some(), "{answer:?}");
    assert!(answer.took() < bound, "refused after {:?}", answer.took());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_database_known_tenants_are_served_and_unknown_ones_refused() {
    let dev = Dev::start().await;
    let (public, operator) = (dev.public(), dev.operator());
    let remembered = dev.admin_of("acme").await;
    assert_eq!(failed_reads(&remembered).await, 0);
    let unseen = dev.admin_of("acme").await;
    let stranger = public.at("no-such-tenant");

    let data = Path::new(dev.told("/control/data_dir"));
    stop_postgres(data);
    assert_eq!(failed_reads(&remembered).await, 0, "reads with a token that is remembered, of {REQUESTS}");
    assert_eq!(failed_reads(&unseen).await, 0, "reads with a token not seen before, of {REQUESTS}");
    assert_refused(&stranger, Duration::from_secs(4)).await;
    says(&public, "degraded").await;
    assert_eq!(failed_reads(&remembered).await, 0, "reads once the loss is known, of {REQUESTS}");

    start_postgres(data);
    says(&public, "ready").await;
    eventually_within("strangers are known as such again", NOTICED, async || {
        stranger.try_get("/v1/projects").await.ok().filter(|answer| answer.status() == 404).map(drop)
    })
    .await;
    let made = operator.create_and_wait(&unique("after")).await.unwrap();
    assert!(made.is_success(), "{made:?}");
    assert_clean(&operator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_database_a_replica_serves_tenants_that_it_never_served() {
    let dev = Dev::start().await;
    let twin = dev.replica(&unique("twin")).await;
    let acme = dev.admin_of("acme").await;
    assert_eq!(failed_reads(&acme).await, 0);
    // What it keeps of the tenants it reads behind its registry, and then every two seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let data = Path::new(dev.told("/control/data_dir"));
    stop_postgres(data);
    assert_eq!(failed_reads(&acme.through(&twin.public)).await, 0, "of {REQUESTS}");
    let signed_in = dev.sign_in(&twin.public, "globex").await;
    assert_eq!(failed_reads(&signed_in).await, 0, "of {REQUESTS}, with a token that it signed itself");
    start_postgres(data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_out_without_the_control_database_is_out_at_once_there_and_elsewhere_when_it_is_back() {
    let dev = Dev::start().await;
    let twin = dev.replica(&unique("twin")).await;
    let leaving = dev.admin_of("acme").await;
    let elsewhere = leaving.through(&twin.public);
    let data = Path::new(dev.told("/control/data_dir"));
    assert_eq!(failed_reads(&leaving).await + failed_reads(&elsewhere).await, 0);
    stop_postgres(data);
    let told = leaving.try_post("/v1/auth/logout", &json!({}), None).await.unwrap();
    assert_eq!(told.status(), 503, "not everybody knows: {told:?}");
    assert_eq!(leaving.try_get("/v1/projects").await.unwrap().status(), 401);
    assert_eq!(failed_reads(&elsewhere).await, 0, "who knows nothing of it goes by what it remembers");
    start_postgres(data);
    // Sooner than its memory of the token ends by itself, which is after half a minute.
    eventually_within("the other replica refuses the token", NOTICED, async || {
        (elsewhere.try_get("/v1/projects").await.unwrap().status() == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_their_server_tenants_are_refused_fast_and_served_soon_after() {
    let dev = Dev::start().await;
    let (public, operator, acme) = (dev.public(), dev.operator(), dev.admin_of("acme").await);
    let mut kept = Vec::new();
    for _ in 0..5 {
        let made = acme.make_project().await;
        assert_eq!(made.status(), 201, "{made:?}");
        kept.push(made.member("id"));
    }
    let data = Path::new(dev.told("/servers/0/data_dir"));
    stop_postgres(data);
    for _ in 0..REQUESTS {
        assert_refused(&acme, Duration::from_secs(4)).await;
    }
    assert_eq!(public.try_get("/health/live").await.unwrap().status(), 200);
    assert_eq!(operator.try_get("/platform/v1/tenants").await.unwrap().status(), 200, "operators live elsewhere");

    start_postgres(data);
    eventually_within("the first success", Duration::from_secs(5), async || {
        acme.try_get("/v1/projects").await.ok().filter(|answer| answer.status() == 200).map(drop)
    })
    .await;
    for id in &kept {
        let answer = acme.try_get(&format!("/v1/projects/{id}")).await.unwrap();
        assert_eq!(answer.status(), 200, "an acknowledged write is lost: {answer:?}");
    }
    assert_clean(&operator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_people_sign_in_and_read_on() {
    let dev = Dev::start().await;
    if dev.about()["redis_url"] == Value::Null {
        // There is no Redis on this machine: nothing that could stop.
        return;
    }
    let public = dev.public();
    says(&public, "ready").await;
    let redis = dev.pid("redis");

    send_signal(redis, Signal::STOP);
    assert_eq!(failed_reads(&dev.admin_of("acme").await).await, 0, "reads while Redis hangs, of {REQUESTS}");
    says(&public, "degraded").await;
    send_signal(redis, Signal::CONT);
    says(&public, "ready").await;

    send_signal(redis, Signal::KILL);
    assert_eq!(failed_reads(&dev.admin_of("acme").await).await, 0, "reads without Redis, of {REQUESTS}");
    says(&public, "degraded").await;
    start_redis(&dev.data().join("redis"));
    says(&public, "ready").await;
    assert_eq!(failed_reads(&dev.admin_of("globex").await).await, 0, "reads with Redis again, of {REQUESTS}");
}
