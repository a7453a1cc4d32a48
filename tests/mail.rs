//! Mail through a real SMTP connection, on which the mail server does all that mail servers do. Nobody who asks for a
//! tenant waits for it, nothing is lost, and what is sent twice is the same mail.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use freehold::types::Clock;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::harness::{
    PASSWORD,
    answer::Answer,
    eventually_within,
    fleet::{self, Fleet, logged},
    replica::Replica,
    smtp::{Manner, Sink},
    unique,
};

/// How long a job may take to come to its end, on a busy machine.
const DONE: Duration = Duration::from_secs(40);
/// No request waits for a mail server: an answer takes as long as one without it.
const PROMPT: Duration = Duration::from_secs(3);

/// A replica that sends mail through `sink`.
pub(crate) async fn mailing(fleet: &Fleet, sink: &Sink, more: &[(&str, &str)]) -> Replica {
    let name = unique("mailing");
    let settings = sink.settings();
    let mut changes: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    changes.push(("FREEHOLD_REPLICA", &name));
    changes.extend(more);
    fleet.another_replica(&changes, Clock::default()).await
}

/// A tenant whose administrator was invited.
struct Invited {
    answer: Value,
    slug: String,
    email: String,
    took: Duration,
}

impl Invited {
    fn token(&self) -> &str {
        self.answer["admin_invitation"]["token"].as_str().unwrap()
    }

    fn id(&self) -> &str {
        self.answer["id"].as_str().unwrap()
    }

    /// Accepts the invitation.
    async fn accept(&self, replica: &Replica) -> Answer {
        let body = json!({ "token": self.token(), "password": PASSWORD });
        replica.anonymous(&self.slug).post("/v1/auth/invitations/accept", &body).await
    }
}

/// Asks `replica` for a tenant of this name whose administrator is to be invited.
async fn invite_to(fleet: &Fleet, replica: &Replica, name: &str) -> Invited {
    let slug = unique("invited");
    let email = format!("ada@{slug}.example.com");
    let body = json!({ "slug": slug, "name": name, "admin": { "email": email } });
    let began = Instant::now();
    let operator = fleet.operator().through(&replica.admin_anonymous());
    let answer = operator.post("/platform/v1/tenants", &body).await;
    let took = began.elapsed();
    assert!(answer.is_success(), "{}", answer.text());
    Invited { answer: answer.json(), slug, email, took }
}

async fn invite(fleet: &Fleet, replica: &Replica) -> Invited {
    invite_to(fleet, replica, "Acme & <Søns>").await
}

/// The tenant serves.
async fn made(fleet: &Fleet, invited: &Invited) {
    fleet.finished(invited.answer["operation_id"].as_str().unwrap()).await;
}

/// The jobs for the tenant.
async fn jobs(fleet: &Fleet, invited: &Invited) -> Vec<Value> {
    let jobs = fleet.patiently(&format!("/platform/v1/jobs?tenant_id={}", invited.id()), 0).await;
    jobs["items"].as_array().unwrap().clone()
}

/// The tenant's only job, once it is in this state.
async fn job_in(fleet: &Fleet, invited: &Invited, state: &str) -> Value {
    eventually_within(&format!("a job that is {state}"), DONE, async || {
        let jobs = jobs(fleet, invited).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        (jobs[0]["state"] == state).then(|| jobs[0].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_invited_gets_a_mail_whose_link_opens_the_account() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    let invited = invite(&fleet, &replica).await;
    let mail = sink.mail_to(&invited.email).await;
    let job = job_in(&fleet, &invited, "done").await;
    assert_eq!((mail.from.as_str(), &*mail.to), ("no-reply@example.com", &[invited.email.clone()][..]));
    assert_eq!(mail.header("From"), "Freehold <no-reply@example.com>");
    assert_eq!(mail.header("To"), invited.email);
    let id = job["id"].as_str().unwrap().trim_start_matches("job_");
    assert_eq!(mail.header("Message-ID"), format!("<{id}@example.com>"));
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Content-Type").starts_with("multipart/alternative;"));
    let link =
        format!("{}/account/accept-invitation#token={}", invited.answer["url"].as_str().unwrap(), invited.token());
    assert!(mail.plain().contains(&link), "{}", mail.data);
    // In the page nobody's name is a tag.
    assert!(mail.plain().contains("&lt;S"), "{}", mail.data);
    assert_eq!(job["kind"], "mail.invitation");
    assert_eq!((&job["note"], &job["due_at"]), (&Value::Null, &Value::Null));
    assert_eq!(invited.accept(&replica).await.status(), 204, "the token in the answer is the one in the mail");
    assert_eq!(sink.mails_to(&invited.email).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mail_server_nothing_is_queued() {
    let fleet = fleet::alone().await;
    let invited = invite(&fleet, &fleet.replica).await;
    made(&fleet, &invited).await;
    assert!(jobs(&fleet, &invited).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_job_carries_is_sealed_and_gone_when_it_is_done() {
    let (fleet, mut sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    sink.go_away().await;
    let invited = invite(&fleet, &replica).await;
    let uuid = invited.id().trim_start_matches("ten_");
    let row = "SELECT encode(payload, 'escape') || to_jsonb(jobs)::text FROM jobs WHERE tenant_id =";
    let row: String = fleet.control().value(&format!("{row} '{uuid}'")).await;
    assert!(!row.contains(&invited.email) && !row.contains(invited.token()), "{row}");
    sink.come_back().await;
    job_in(&fleet, &invited, "done").await;
    let left = format!("SELECT count(*) FROM jobs WHERE tenant_id = '{uuid}' AND payload IS NULL");
    assert_eq!(fleet.control().value::<i64>(&left).await, 1);
    let log = logged();
    assert!(!log.contains(&invited.email) && !log.contains(invited.token()), "in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_mail_server_is_away_nobody_waits_and_nothing_is_lost() {
    let (fleet, mut sink) = (fleet::alone().await, Sink::start().await);
    let (one, other) = (mailing(&fleet, &sink, &[]).await, mailing(&fleet, &sink, &[]).await);
    sink.go_away().await;
    let mut all = Vec::new();
    for replica in [&one, &other, &one, &other] {
        all.push(invite(&fleet, replica).await);
    }
    for invited in &all {
        assert!(invited.took < PROMPT, "{:?}", invited.took);
        made(&fleet, invited).await;
    }
    for invited in &all {
        eventually_within("attempts in vain", DONE, async || {
            let job = jobs(&fleet, invited).await.remove(0);
            let note = job["note"].as_str().unwrap_or_default().to_owned();
            (job["attempts"].as_i64() > Some(1) && note.starts_with("mail_unavailable")).then_some(())
        })
        .await;
    }
    // All replicas of this process write to one recorder, those too that have nothing to do.
    eventually_within("the age of the oldest job", DONE, async || {
        let metrics = fleet.metrics().await;
        let age = metrics.lines().find_map(|line| line.strip_prefix("freehold_job_oldest_age_seconds "))?;
        (age.parse::<f64>().unwrap() > 0.0).then_some(())
    })
    .await;
    sink.come_back().await;
    for invited in &all {
        sink.mail_to(&invited.email).await;
        job_in(&fleet, invited, "done").await;
        assert_eq!(sink.mails_to(&invited.email).len(), 1, "two replicas, one mail");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_send_each_of_many_mails_once() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let (one, other) = (mailing(&fleet, &sink, &[]).await, mailing(&fleet, &sink, &[]).await);
    sink.behave(Manner::Slow(Duration::from_millis(20)));
    let mut all = Vec::new();
    for number in 0..12 {
        all.push(invite(&fleet, if number % 2 == 0 { &one } else { &other }).await);
    }
    for invited in &all {
        assert!(invited.took < PROMPT, "{:?}", invited.took);
        job_in(&fleet, invited, "done").await;
        assert_eq!(sink.mails_to(&invited.email).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_says_nothing_costs_an_attempt_and_nobody_else_time() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[("FREEHOLD_JOB_CONCURRENCY", "1")]).await;
    sink.behave(Manner::Hangs);
    let invited = invite(&fleet, &replica).await;
    assert!(invited.took < PROMPT, "{:?}", invited.took);
    made(&fleet, &invited).await;
    eventually_within("the mail server to be asked", DONE, async || (sink.connections() > 0).then_some(())).await;
    sink.behave(Manner::Takes);
    let job = job_in(&fleet, &invited, "done").await;
    assert!(job["attempts"].as_i64() > Some(1), "{job}");
    assert_eq!(sink.mails_to(&invited.email).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_whose_acceptance_was_not_heard_is_sent_again_as_it_was() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    sink.behave(Manner::LosesAnswer);
    let invited = invite(&fleet, &replica).await;
    eventually_within("a second mail", DONE, async || (sink.mails_to(&invited.email).len() > 1).then_some(())).await;
    sink.behave(Manner::Takes);
    job_in(&fleet, &invited, "done").await;
    let mails = sink.mails_to(&invited.email);
    assert!(mails.iter().all(|mail| mail == &mails[0]), "byte for byte, and so with the same Message-ID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_now_is_tried_again_and_what_is_refused_for_good_waits_for_an_operator() {
    let (fleet, sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    for passing in [Manner::Refuses("451 4.3.0 later"), Manner::AsksForUser] {
        sink.behave(passing);
        let invited = invite(&fleet, &replica).await;
        eventually_within("attempts in vain", DONE, async || {
            (jobs(&fleet, &invited).await[0]["note"].as_str()?.starts_with("mail_unavailable")).then_some(())
        })
        .await;
        sink.behave(Manner::Takes);
        job_in(&fleet, &invited, "done").await;
    }
    sink.behave(Manner::Refuses("550 5.1.1 <ada@example.com> is unknown here"));
    let invited = invite(&fleet, &replica).await;
    let dead = job_in(&fleet, &invited, "dead").await;
    assert_eq!(dead["note"], "the mail server refuses it for good, with the code 550");
    assert!(dead["finished_at"].is_string());
    sink.behave(Manner::Takes);
    let (operator, id) = (fleet.operator(), dead["id"].as_str().unwrap());
    let again = operator.post(&format!("/platform/v1/jobs/{id}/retry"), &json!({})).await;
    assert_eq!(again.expect(200)["state"], "queued");
    job_in(&fleet, &invited, "done").await;
    assert_eq!(sink.mails_to(&invited.email).len(), 1);
    let refused = operator.post(&format!("/platform/v1/jobs/{id}/retry"), &json!({})).await;
    assert_eq!((refused.status(), &refused.json()["code"]), (409, &json!("job_not_dead")));
    let audited = format!("SELECT count(*) FROM audit_events WHERE action = 'job.retry' AND target = '{id}'");
    assert_eq!(fleet.control().value::<i64>(&audited).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_mailed_about_an_invitation_that_is_used_or_gone() {
    let (fleet, mut sink) = (fleet::alone().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    sink.go_away().await;
    let (used, withdrawn, erased) =
        (invite(&fleet, &replica).await, invite(&fleet, &replica).await, invite(&fleet, &replica).await);
    for invited in [&used, &withdrawn, &erased] {
        made(&fleet, invited).await;
    }
    assert_eq!(used.accept(&replica).await.status(), 204);
    let database = withdrawn.id().replace("ten_", "tenant_");
    fleet.on_server(&database).run("DELETE FROM freehold.invitations").await;
    let uuid = withdrawn.id().trim_start_matches("ten_");
    // A row may come a little later than its job.
    fleet
        .control()
        .run(&format!("UPDATE jobs SET created_at = now() - interval '1 hour' WHERE tenant_id = '{uuid}'"))
        .await;
    let confirmed = json!({ "confirm": erased.slug, "erase": true });
    let path = format!("/platform/v1/tenants/{}/delete", erased.id());
    let erasure = fleet.operator().post(&path, &confirmed).await.expect(202);
    fleet.finished(erasure["operation_id"].as_str().unwrap()).await;
    assert!(jobs(&fleet, &erased).await.is_empty(), "a job goes with the key that sealed it");
    sink.come_back().await;
    for (invited, why) in
        [(&used, "the invitation is used, withdrawn or expired"), (&withdrawn, "the tenant has no such invitation")]
    {
        assert_eq!(job_in(&fleet, invited, "done").await["note"], why);
    }
    assert!(sink.mails().is_empty(), "{:?}", sink.mails());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_waits_for_its_tenant() {
    let (fleet, sink) = (fleet::idle().await, Sink::start().await);
    let replica = mailing(&fleet, &sink, &[]).await;
    // Nobody makes the tenant: the replicas of this Freehold leave operations to others.
    let invited = invite(&fleet, &replica).await;
    eventually_within("a look that comes too early", DONE, async || {
        (jobs(&fleet, &invited).await[0]["note"] == "the tenant is being made").then_some(())
    })
    .await;
    assert!(sink.mails().is_empty());
    let engine = fleet.another_replica(&[("FREEHOLD_OPERATION_CONCURRENCY", "2")], Clock::default()).await;
    made(&fleet, &invited).await;
    sink.mail_to(&invited.email).await;
    let job = job_in(&fleet, &invited, "done").await;
    assert!(job["attempts"].as_i64() > Some(1), "{job}");
    drop(engine);
}

/// A certificate for 127.0.0.1, signed by itself, and its key: by the openssl that every machine here has.
fn certificate(folder: &std::path::Path) -> (String, TlsAcceptor) {
    let [key, certificate] = ["mail.key", "mail.pem"].map(|name| folder.join(name).display().to_string());
    let line = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 1 -subj /CN=sink \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout {key} -out {certificate}"
    );
    let made = Command::new("openssl").args(line.split_whitespace()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let chain = CertificateDer::pem_slice_iter(&fs::read(&certificate).unwrap()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&key).unwrap()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_whose_certificate_nobody_vouches_for_gets_no_mail() {
    let fleet = fleet::alone().await;
    let folder = tempfolder();
    let (authority, acceptor) = certificate(&folder);
    let sink = Sink::encrypted(acceptor).await;
    let distrustful = mailing(&fleet, &sink, &[]).await;
    let invited = invite(&fleet, &distrustful).await;
    eventually_within("attempts in vain", DONE, async || {
        (jobs(&fleet, &invited).await[0]["note"].as_str()?.starts_with("mail_unavailable")).then_some(())
    })
    .await;
    assert!(sink.connections() > 0 && sink.mails().is_empty());
    drop(distrustful);
    let _trustful = mailing(&fleet, &sink, &[("FREEHOLD_SMTP_CA_FILE", &authority)]).await;
    sink.mail_to(&invited.email).await;
    job_in(&fleet, &invited, "done").await;
    fs::remove_dir_all(&folder).unwrap();
}

fn tempfolder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(unique("freehold-mail"));
    fs::create_dir(&folder).unwrap();
    folder
}
