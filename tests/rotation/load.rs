//! A steady load on a few tenants through two replicas, every answer of which counts.
//!
//! Half of the requests come with the access token of somebody who is signed in, half with an API key; a tenant's
//! people get new access tokens every second, from either replica in turn, and use them at both.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use freehold::{
    identity::api_keys,
    types::{DisplayName, UserId},
};
use secrecy::SecretString;
use serde_json::Value;
use tokio::{sync::RwLock, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    fleet::{Fleet, RUNTIME},
    replica::Replica,
    tenant::Tenant,
};

/// Between two requests of one person: five tenants with two of them make 200 a second.
const PACE: Duration = Duration::from_millis(50);
/// Between two exchanges of a refresh token.
const REFRESH: Duration = Duration::from_secs(1);

/// What came of the requests.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// How many there were.
    pub(super) requests: u32,
    /// How many access tokens were handed out.
    pub(super) tokens: u32,
    /// What the failed ones were answered, and how many were answered so.
    pub(super) failures: BTreeMap<String, u32>,
}

/// The load, until it is stopped.
pub(super) struct Load {
    stop: CancellationToken,
    people: JoinSet<()>,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    requests: AtomicU32,
    tokens: AtomicU32,
    failures: Mutex<BTreeMap<String, u32>>,
    /// Held to read while somebody asks.
    asking: RwLock<()>,
}

impl Tally {
    fn fail(&self, how: String) {
        *self.failures.lock().unwrap().entry(how).or_default() += 1;
    }
}

/// Somebody who asks, at both replicas in turn.
struct Person {
    slug: String,
    bearer: SecretString,
    /// Where there is one, new access tokens are bought with it.
    refresh_token: Option<Value>,
    /// The path that they ask for.
    path: &'static str,
}

impl Load {
    /// Begins, with two people a tenant.
    pub(super) async fn on(fleet: &Fleet, replicas: Arc<[Replica; 2]>, tenants: &[Tenant<'_>]) -> Self {
        let (stop, tally, mut people) = (CancellationToken::new(), Arc::<Tally>::default(), JoinSet::new());
        for tenant in tenants {
            let tokens = tenant.login().await;
            let signed_in = Person {
                slug: tenant.slug.clone(),
                bearer: tokens["access_token"].as_str().unwrap().into(),
                refresh_token: Some(tokens["refresh_token"].clone()),
                path: "/v1/projects",
            };
            let bearer = api_key(fleet, tenant).await;
            let program = Person { slug: tenant.slug.clone(), bearer, refresh_token: None, path: "/v1/auth/me" };
            for person in [signed_in, program] {
                let work = person.ask(replicas.clone(), tally.clone());
                let stop = stop.clone();
                people.spawn_on(
                    async move { stop.run_until_cancelled(work).await.unwrap_or_default() },
                    RUNTIME.handle(),
                );
            }
        }
        Self { stop, people, tally }
    }

    /// Does something between two requests: nobody asks meanwhile.
    pub(super) async fn between_requests<T>(&self, work: impl Future<Output = T>) -> T {
        let _nobody_asks = self.tally.asking.write().await;
        work.await
    }

    /// Ends it; what came of it.
    pub(super) async fn end(mut self) -> Counts {
        self.stop.cancel();
        while let Some(ended) = self.people.join_next().await {
            ended.unwrap();
        }
        Counts {
            requests: self.tally.requests.load(Ordering::Relaxed),
            tokens: self.tally.tokens.load(Ordering::Relaxed),
            failures: std::mem::take(&mut self.tally.failures.lock().unwrap()),
        }
    }
}

/// A key of the tenant's first administrator. It grants nothing, and proves who asks.
async fn api_key(fleet: &Fleet, tenant: &Tenant<'_>) -> SecretString {
    let id = tenant.id.parse().unwrap();
    let user: uuid::Uuid = tenant.database().value("SELECT id FROM freehold.users LIMIT 1").await;
    let identity = fleet.replica.app().operations().identity.clone();
    let making = async move {
        let name: DisplayName = "load".parse().unwrap();
        api_keys::create(&identity, id, UserId::from_uuid(user), &name, &[]).await.unwrap()
    };
    RUNTIME.spawn(making).await.unwrap()
}

impl Person {
    async fn ask(mut self, replicas: Arc<[Replica; 2]>, tally: Arc<Tally>) {
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = u32::try_from(REFRESH.as_millis() / PACE.as_millis()).unwrap();
        for round in 1_u32.. {
            ticks.tick().await;
            let _asking = tally.asking.read().await;
            let replica = &replicas[usize::from(round % 2 == 0)];
            if round % rounds == 0 {
                // An odd number of pauses between two exchanges: either replica gets its turn.
                self.refresh(&replicas[usize::from(round / rounds % 2 == 0)], &tally).await;
            }
            let answer = replica.member(&self.slug, &self.bearer).get(self.path).await;
            tally.requests.fetch_add(1, Ordering::Relaxed);
            if answer.status() != 200 {
                tally.fail(format!("{}: {} {}", self.path, answer.status(), answer.text()));
            }
        }
    }

    async fn refresh(&mut self, replica: &Replica, tally: &Tally) {
        let Some(token) = &self.refresh_token else { return };
        let answer = replica.anonymous(&self.slug).refresh(token).await;
        if answer.status() != 200 {
            return tally.fail(format!("refresh: {} {}", answer.status(), answer.text()));
        }
        let tokens = answer.json();
        self.bearer = tokens["access_token"].as_str().unwrap().into();
        self.refresh_token = Some(tokens["refresh_token"].clone());
        tally.tokens.fetch_add(1, Ordering::Relaxed);
    }
}
