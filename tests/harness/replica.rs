//! One running replica in this process, on ports of its own.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use freehold::{
    Product,
    app::{App, Sockets},
    config::Config,
    error::Error,
    types::Clock,
};
use secrecy::SecretString;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    actors::{Anonymous, Caller, Member, Operator},
    fleet::METRICS,
};

/// How long a replica may take to be ready, and how often it is asked.
const READY: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// A replica; it stops when this is dropped.
pub(crate) struct Replica {
    app: App,
    sockets: Option<Sockets>,
    public: SocketAddr,
    admin: SocketAddr,
    stop: Option<DropGuard>,
    served: Option<JoinHandle<()>>,
}

impl Replica {
    /// Puts a replica together and opens its sockets.
    pub(crate) async fn make(settings: &BTreeMap<String, String>, clock: Clock) -> Self {
        Self::make_of(freehold::product::product(), settings, clock).await
    }

    /// As [`Replica::make`], of another product.
    pub(crate) async fn make_of(product: Product, settings: &BTreeMap<String, String>, clock: Clock) -> Self {
        let config = Config::load(settings, None).unwrap();
        let sockets = Sockets::bind(&config).await.unwrap();
        let (public, admin) = (sockets.public.local_addr().unwrap(), sockets.admin.local_addr().unwrap());
        let app = App::new(config, product, METRICS.clone(), clock).unwrap();
        Self { app, sockets: Some(sockets), public, admin, stop: None, served: None }
    }

    /// Serves until it is dropped; answers when it is ready. Runs on the runtime that it is called on.
    pub(crate) async fn serve(mut self) -> Self {
        let (app, sockets, stop) = (self.app.clone(), self.sockets.take().unwrap(), CancellationToken::new());
        self.stop = Some(stop.clone().drop_guard());
        self.served = Some(tokio::spawn(async move { app.serve(sockets, stop).await.unwrap() }));
        let anonymous = self.admin_anonymous();
        let deadline = Instant::now() + READY;
        loop {
            let answer = anonymous.get("/health/ready").await;
            if answer.status() == 200 {
                return self;
            }
            assert!(Instant::now() < deadline, "a replica is not ready in time: {}", answer.text());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Serves, which it must refuse to: answers why.
    pub(crate) async fn refused(mut self) -> Error {
        let sockets = self.sockets.take().unwrap();
        let served = tokio::time::timeout(READY, self.app.serve(sockets, CancellationToken::new())).await;
        served.expect("a replica that refuses to serve").unwrap_err()
    }

    /// Stops it, and answers when nothing of it runs any more.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.served.take().unwrap().await.unwrap();
    }

    /// The replica's parts. Only for use on the runtime that it was made on.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Somebody unknown who asks for the host of the tenant `slug`.
    pub(crate) fn anonymous(&self, slug: &str) -> Anonymous {
        Caller::new(self.public, format!("{slug}.localhost")).into()
    }

    /// Somebody unknown on the public listener whose request names `host`.
    pub(crate) fn stranger(&self, host: &str) -> Anonymous {
        Caller::new(self.public, host.to_owned()).into()
    }

    /// Somebody unknown on the admin listener.
    pub(crate) fn admin_anonymous(&self) -> Anonymous {
        Caller::new(self.admin, self.admin.to_string()).into()
    }

    /// Somebody with an access token or key of the tenant `slug`.
    pub(crate) fn member(&self, slug: &str, bearer: &SecretString) -> Member {
        Caller::new(self.public, format!("{slug}.localhost")).with(bearer).into()
    }

    /// Somebody with an access token or key, on the admin listener.
    pub(crate) fn operator(&self, bearer: &SecretString) -> Operator {
        Caller::new(self.admin, self.admin.to_string()).with(bearer).into()
    }

    /// The public listener's socket, for requests that no HTTP client would send.
    pub(crate) fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where its admin listener is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }
}
