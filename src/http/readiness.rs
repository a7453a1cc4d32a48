//! Whether this replica can serve requests: the last known state of its dependencies.
//!
//! Each dependency is checked by a task of its own, every two seconds and for at most one; probes only read
//! the result, so that they cost nothing however often they come. What is shown is an error's public text.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    types::Clock,
};

const PAUSE: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// What this replica can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// Everything.
    Ready,
    /// It serves, but a dependency that is not required is down.
    Degraded,
    /// It cannot serve.
    Unavailable,
}

/// What is known of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DependencyStatus {
    /// Not checked yet.
    Unknown,
    /// Its last check succeeded.
    Up,
    /// Its last check failed.
    Down,
}

/// A dependency's last known state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Dependency {
    /// What is known of it.
    pub status: DependencyStatus,
    /// Since when it has this status.
    pub since: DateTime<Utc>,
    /// Why it is down.
    pub detail: Option<String>,
    #[serde(skip)]
    required: bool,
}

/// What `/health/ready` answers.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Readiness)]
pub struct Report {
    /// The sum of the dependencies.
    pub status: ServiceStatus,
    /// Each dependency by name.
    pub dependencies: BTreeMap<&'static str, Dependency>,
}

/// The dependencies of this replica. Clones share them.
#[derive(Clone)]
pub struct Readiness {
    clock: Clock,
    dependencies: Arc<RwLock<BTreeMap<&'static str, Dependency>>>,
}

impl Readiness {
    /// Without dependencies, and so ready.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, dependencies: Arc::default() }
    }

    /// Checks the dependency `name` from now on, in a task that ends with `stop`. One that is `required` keeps
    /// the replica from serving while it is down or unknown; another one degrades it.
    pub fn watch<F, R>(&self, name: &'static str, required: bool, check: F, stop: CancellationToken)
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = Result<()>> + Send,
    {
        let readiness = self.clone();
        readiness.insert(name, required);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PAUSE);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let late = || Error::unavailable("dependency_timeout", "did not answer within a second", None);
                let result = tokio::time::timeout(CHECK_TIMEOUT, check()).await.unwrap_or_else(|_| Err(late()));
                readiness.note(name, result);
            }
        });
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> Report {
        let dependencies = self.dependencies.read().unwrap_or_else(PoisonError::into_inner).clone();
        let lacks = |required: bool| {
            dependencies.values().any(|one| one.required == required && one.status != DependencyStatus::Up)
        };
        let status = match (lacks(true), lacks(false)) {
            (true, _) => ServiceStatus::Unavailable,
            (false, true) => ServiceStatus::Degraded,
            (false, false) => ServiceStatus::Ready,
        };
        Report { status, dependencies }
    }

    fn insert(&self, name: &'static str, required: bool) {
        let since = self.clock.now();
        let dependency = Dependency { status: DependencyStatus::Unknown, since, detail: None, required };
        self.dependencies.write().unwrap_or_else(PoisonError::into_inner).insert(name, dependency);
    }

    fn note(&self, name: &'static str, result: Result<()>) {
        let mut dependencies = self.dependencies.write().unwrap_or_else(PoisonError::into_inner);
        let Some(dependency) = dependencies.get_mut(name) else { return };
        let status = if result.is_ok() { DependencyStatus::Up } else { DependencyStatus::Down };
        if dependency.status != status {
            dependency.status = status;
            dependency.since = self.clock.now();
            log_change(name, &result);
        }
        dependency.detail = result.err().map(|error| error.to_string());
    }
}

fn log_change(name: &'static str, result: &Result<()>) {
    match result {
        Ok(()) => tracing::info!(dependency.name = name, "a dependency is up"),
        Err(error) => tracing::warn!(dependency.name = name, error.chain = error.chain(), "a dependency is down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_dependencies_decide_and_others_degrade() {
        let readiness = Readiness::new(Clock::default());
        assert_eq!(readiness.report().status, ServiceStatus::Ready);
        readiness.insert("control", true);
        readiness.insert("redis", false);
        assert_eq!(readiness.report().status, ServiceStatus::Unavailable);
        readiness.note("control", Ok(()));
        assert_eq!(readiness.report().status, ServiceStatus::Degraded);
        readiness.note("redis", Ok(()));
        assert_eq!(readiness.report().status, ServiceStatus::Ready);
        readiness.note("control", Err(Error::defect("password=hunter2")));
        let report = readiness.report();
        assert_eq!(report.status, ServiceStatus::Unavailable);
        assert_eq!(report.dependencies["control"].detail.as_deref(), Some("an internal error"));
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_down_after_a_second() {
        let readiness = Readiness::new(Clock::default());
        let stop = CancellationToken::new();
        readiness.watch("control", true, std::future::pending::<Result<()>>, stop.clone());
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(readiness.report().dependencies["control"].status, DependencyStatus::Down);
        stop.cancel();
    }
}
