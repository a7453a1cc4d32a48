//! Jobs and schedules whose replicas die at every point: what is to be done is done, and recorded once. And of many
//! replicas one does what is due.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, time::Duration};

use freehold::{
    faults::{self, Mode},
    types::Clock,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    eventually_within,
    fleet::{self, Fleet},
    programs::{Program, free_addresses},
    smtp::Sink,
    unique,
};

/// How long a program may take to reach its point, or a job to come to its end.
const REACHED: Duration = Duration::from_mins(1);

const POINTS: [&str; 5] =
    ["job.after_effect", "job.after_record", "job.before_effect", "schedule.after_effect", "schedule.before_effect"];

/// The points of jobs, and how many mails there are in the end of one whose replica dies there.
const MAILS: [(&str, usize); 3] = [("job.before_effect", 1), ("job.after_effect", 2), ("job.after_record", 1)];

#[test]
fn every_point_of_jobs_and_schedules_is_gone_through() {
    let is_ours = |point: &&str| point.starts_with("job.") || point.starts_with("schedule.");
    let known: BTreeSet<_> = faults::points().into_iter().filter(is_ours).collect();
    assert_eq!(known, POINTS.into_iter().collect());
}

/// A program that sends mail through `sink`, with a point armed.
fn mortal(fleet: &Fleet, sink: &Sink, armed: &str) -> Program {
    let (public, admin) = free_addresses();
    let name = unique("mortal");
    let settings = sink.settings();
    let mut changes: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    changes.extend([
        ("FREEHOLD_PUBLIC_LISTEN", &*public),
        ("FREEHOLD_ADMIN_LISTEN", &*admin),
        ("FREEHOLD_REPLICA", &*name),
        ("FREEHOLD_JANITOR", "false"),
        ("CRASH_POINTS", armed),
    ]);
    Program::start(fleet.folder(), &name, &["serve"], &fleet.settings_with(&changes))
}

/// Asks a replica that works on no jobs for a tenant whose administrator is to be invited: the address, and the tenant.
async fn invite(fleet: &Fleet, sink: &Sink) -> (String, String) {
    let settings = sink.settings();
    let mut changes: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let name = unique("asked");
    changes.extend([("FREEHOLD_JOB_CONCURRENCY", "0"), ("FREEHOLD_REPLICA", &*name)]);
    let replica = fleet.another_replica(&changes, Clock::default()).await;
    let slug = unique("invited");
    let email = format!("ada@{slug}.example.com");
    let body = json!({ "slug": slug, "name": "A tenant", "admin": { "email": email } });
    let operator = fleet.operator().through(&replica.admin_anonymous());
    let answer = operator.post("/platform/v1/tenants", &body).await;
    assert!(answer.is_success(), "{}", answer.text());
    let answer = answer.json();
    fleet.finished(answer["operation_id"].as_str().unwrap()).await;
    (email, answer["id"].as_str().unwrap().to_owned())
}

async fn job(fleet: &Fleet, tenant: &str) -> Value {
    let jobs = fleet.patiently(&format!("/platform/v1/jobs?tenant_id={tenant}"), 0).await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "{jobs}");
    jobs["items"][0].clone()
}

async fn done(fleet: &Fleet, tenant: &str) -> Value {
    eventually_within("the end of the job", REACHED, async || {
        let job = job(fleet, tenant).await;
        (job["state"] == "done").then_some(job)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_kills_itself_at_any_point_of_a_job_loses_nothing() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    for (point, expected) in MAILS {
        let (email, tenant) = invite(&fleet, &sink).await;
        let mut program = mortal(&fleet, &sink, &format!("{point}=abort"));
        assert_eq!(program.ended(REACHED).await.signal(), Some(9), "{point}");
        let survivor = mortal(&fleet, &sink, "");
        let job = done(&fleet, &tenant).await;
        let mails = sink.mails_to(&email);
        assert_eq!(mails.len(), expected, "{point}");
        assert!(mails.iter().all(|mail| mail == &mails[0]), "{point}: the same mail");
        let attempts = if point == "job.after_record" { 1 } else { 2 };
        assert_eq!(job["attempts"], attempts, "{point}: {job}");
        drop(survivor);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_or_panics_at_any_point_is_done_in_the_end() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    for mode in [Mode::Error, Mode::Panic] {
        for (point, expected) in MAILS {
            let (email, tenant) = invite(&fleet, &sink).await;
            faults::arm(point, mode, Some(tenant.parse().unwrap()));
            let settings = sink.settings();
            let mut changes: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let name = unique("failing");
            changes.push(("FREEHOLD_REPLICA", &name));
            let replica = fleet.another_replica(&changes, Clock::default()).await;
            done(&fleet, &tenant).await;
            assert_eq!(sink.mails_to(&email).len(), expected, "{point} {mode:?}");
            let fired = faults::fired();
            assert!(fired.iter().any(|fired| (fired.point, fired.mode) == (point, mode)), "{point} {mode:?}");
            replica.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_at_a_job_records_nothing_when_it_wakes() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let (email, tenant) = invite(&fleet, &sink).await;
    let sleeper = mortal(&fleet, &sink, "job.after_effect=hold");
    eventually_within("the first mail", REACHED, async || sink.mails_to(&email).pop()).await;
    sleeper.signal(Signal::STOP);
    eventually_within("the program to stop", REACHED, async || sleeper.is_stopped().then_some(())).await;
    let _survivor = mortal(&fleet, &sink, "");
    let before = done(&fleet, &tenant).await;
    sleeper.signal(Signal::CONT);
    // Time enough to write, if it would.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(job(&fleet, &tenant).await, before);
    let mails = sink.mails_to(&email);
    assert_eq!(mails.len(), 2, "before it was stopped, and by the survivor");
    assert_eq!(mails[0], mails[1]);
}

/// How often a schedule has been run.
async fn runs(fleet: &Fleet, name: &str) -> i64 {
    fleet.control().value(&format!("SELECT generation FROM schedules WHERE name = '{name}'")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_replicas_one_does_what_is_due() {
    let fleet = fleet::alone().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(fleet.another_replica(&[("FREEHOLD_REPLICA", &unique("one-of"))], Clock::default()).await);
    }
    // A sweep is due each second in tests.
    let (before, began) = (runs(&fleet, "janitor.sweep").await, tokio::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (runs, seconds) = (runs(&fleet, "janitor.sweep").await - before, began.elapsed().as_secs_f64());
    let runs = f64::from(i32::try_from(runs).unwrap());
    assert!(runs >= 3.0 && runs <= seconds + 2.0, "{runs} runs in {seconds} s by four replicas");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_replica_dies_is_due_for_the_others() {
    let fleet = fleet::undisturbed().await;
    let sink = Sink::start().await;
    for point in ["schedule.before_effect", "schedule.after_effect"] {
        // Of what only this program does, beside what all do: whichever it comes to first.
        let mut program = mortal(&fleet, &sink, &format!("{point}=abort"));
        assert_eq!(program.ended(REACHED).await.signal(), Some(9), "{point}");
        let held = "SELECT name FROM schedules WHERE lease_owner LIKE 'mortal%'";
        let left: Vec<String> = fleet.control().values(held).await;
        assert!(!left.is_empty(), "{point}: it died within a run");
        eventually_within("another replica to take it over", REACHED, async || {
            fleet.control().values::<String>(held).await.is_empty().then_some(())
        })
        .await;
        for name in &left {
            let ended = format!("SELECT coalesce(ended_at > began_at, false) FROM schedules WHERE name = '{name}'");
            eventually_within("the end of the run", REACHED, async || {
                fleet.control().value::<bool>(&ended).await.then_some(())
            })
            .await;
        }
    }
}
