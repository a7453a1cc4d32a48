//! What the measurements are made with: tenants that are asked for, and databases that are copied without Freehold.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::{metrics::Histogram, subject::Subject};

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(50);

/// The program, and sessions beside it.
pub(crate) struct Bench<'a> {
    subject: &'a Subject,
    control: Client,
    server: Client,
    template: String,
    /// Makes names that differ.
    names: AtomicUsize,
    asked_again: AtomicUsize,
}

/// How a tenant is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// With a first administrator, who is invited.
    pub(crate) admin: bool,
    /// How many seconds the answer waits for the tenant to serve.
    pub(crate) wait: u8,
}

/// A tenant that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// Until the answer, with all that was asked again.
    pub(crate) took: Duration,
    /// Whether it serves already.
    pub(crate) is_serving: bool,
    /// What makes it, or its first administrator.
    operation: String,
}

impl<'a> Bench<'a> {
    pub(crate) async fn new(subject: &'a Subject) -> anyhow::Result<Self> {
        let (control, server) = (subject.control().await?, subject.server().await?);
        let sql = "SELECT datname::text FROM pg_database WHERE datname LIKE 'freehold\\_template\\_%'";
        let template = server.query_one(sql, &[]).await?.get(0);
        let (names, asked_again) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Self { subject, control, server, template, names, asked_again })
    }

    /// Asks for a tenant, again when told to come again.
    pub(crate) async fn create(&self, order: &Order) -> anyhow::Result<Made> {
        let (slug, began) = (self.name("bench"), Instant::now());
        let mut body = json!({ "slug": slug, "name": "Bench" });
        if order.admin {
            body["admin"] = json!({ "email": format!("ada@{slug}.example") });
        }
        while began.elapsed() < PATIENCE {
            let request = self.subject.request(Method::POST, "/platform/v1/tenants")?.header("idempotency-key", &slug);
            let answer = request.header("prefer", format!("wait={}", order.wait)).json(&body).send().await?;
            match answer.status() {
                status @ (StatusCode::CREATED | StatusCode::ACCEPTED) => {
                    let tenant: Value = answer.json().await?;
                    let operation = tenant["operation_id"].as_str().context("no operation")?.to_owned();
                    let is_serving = status == StatusCode::CREATED;
                    return Ok(Made { took: began.elapsed(), is_serving, operation });
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    self.asked_again.fetch_add(1, Relaxed);
                    sleep(retry_after(&answer)).await;
                }
                status => bail!("{status}: {}", answer.text().await?),
            }
        }
        bail!("told to come again for {} s", PATIENCE.as_secs())
    }

    /// Waits until nothing is left to be done for the tenant.
    pub(crate) async fn finish(&self, made: &Made) -> anyhow::Result<()> {
        let path = format!("/platform/v1/operations/{}", made.operation);
        let answer = self.subject.request(Method::GET, &path)?.header("prefer", "wait=10").send().await?;
        let operation: Value = answer.error_for_status()?.json().await?;
        ensure!(operation["state"] == "succeeded", "a tenant was not made within 10 s: {operation}");
        Ok(())
    }

    /// Asks for a tenant without a first administrator, and says after what time it serves.
    pub(crate) async fn create_and_wait(&self) -> anyhow::Result<Duration> {
        let made = self.create(&Order { admin: false, wait: 10 }).await?;
        ensure!(made.is_serving, "a tenant did not serve within 10 s");
        Ok(made.took)
    }

    /// Copies the template in a loop, as PostgreSQL alone does it: how long each took, and all of them. The copies
    /// stay: for some seconds after files were deleted it takes longer to make new ones, and Freehold's turn comes
    /// next.
    pub(crate) async fn bare_copies(&self, count: usize) -> anyhow::Result<(Vec<Duration>, Duration)> {
        let (mut took, began) = (Vec::new(), Instant::now());
        for _ in 0..count {
            let (name, began) = (self.name("bare"), Instant::now());
            self.server.batch_execute(&format!("CREATE DATABASE \"{name}\" TEMPLATE \"{}\"", self.template)).await?;
            took.push(began.elapsed());
        }
        Ok((took, began.elapsed()))
    }

    /// Has so many databases kept ready, and waits until they are and nothing else is done.
    pub(crate) async fn keep_warm(&self, count: usize) -> anyhow::Result<()> {
        let path = format!("/platform/v1/servers/{}", self.subject.server_id()?);
        let request = self.subject.request(Method::PATCH, &path)?.json(&json!({ "warm_target": count }));
        request.send().await?.error_for_status()?;
        let sql = "SELECT count(*) = $1 AND NOT EXISTS (SELECT FROM operations WHERE state IN ('queued', 'running'))
                   FROM warm_databases WHERE state = 'ready'";
        let (count, deadline) = (i64::try_from(count)?, Instant::now() + PATIENCE);
        while !self.control.query_one(sql, &[&count]).await?.get::<_, bool>(0) {
            ensure!(Instant::now() < deadline, "there are not {count} warm databases");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// How long tenants took that were asked for after `since`, by the clock of the control database, and all together,
    /// from the first request to the last end. Those that have not ended in success are not among them.
    pub(crate) async fn finished_since(
        &self,
        since: DateTime<Utc>,
        count: usize,
    ) -> anyhow::Result<(Vec<Duration>, Duration)> {
        let sql = "SELECT extract(epoch FROM finished_at - created_at)::float8, state = 'succeeded',
                          extract(epoch FROM max(finished_at) OVER () - min(created_at) OVER ())::float8
                   FROM operations WHERE kind = 'tenant.provision' AND created_at > $1 AND finished_at IS NOT NULL";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.control.query(sql, &[&since]).await?;
            if rows.len() >= count || Instant::now() > deadline {
                let succeeded = rows.iter().filter(|row| row.get(1));
                let took = succeeded.map(|row| Duration::from_secs_f64(row.get(0))).collect();
                let elapsed = rows.first().map_or(0.0, |row| row.get(2));
                return Ok((took, Duration::from_secs_f64(elapsed)));
            }
            sleep(POLL * 4).await;
        }
    }

    /// What the clock of the control database says.
    pub(crate) async fn now(&self) -> anyhow::Result<DateTime<Utc>> {
        Ok(self.control.query_one("SELECT now()", &[]).await?.get(0))
    }

    pub(crate) async fn histogram(&self, name: &str) -> anyhow::Result<Histogram> {
        Histogram::read(&self.subject.metrics().await?, name)
    }

    pub(crate) async fn postgres_version(&self) -> anyhow::Result<String> {
        Ok(self.server.query_one("SHOW server_version", &[]).await?.get(0))
    }

    /// How many requests were told to come again, and did.
    pub(crate) fn asked_again(&self) -> usize {
        self.asked_again.load(Relaxed)
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.names.fetch_add(1, Relaxed))
    }
}

fn retry_after(answer: &reqwest::Response) -> Duration {
    let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}
