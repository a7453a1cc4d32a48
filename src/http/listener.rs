//! A listening socket: accepts connections, limits their number, size and time, and drains them at the end.
//!
//! `axum::serve` is not used: it sets no timer, so that a client which never finishes its headers holds a
//! connection for ever, and its graceful shutdown waits for open streams without end. HTTP/1.1 and HTTP/2
//! with prior knowledge are told apart by their first bytes. Input that is not HTTP is answered by hyper itself,
//! with 400 or 431 and an empty body.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// After an error of the system (no file descriptors), accepting pauses this long instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// HTTP/2 connections are pinged this often, and closed without an answer within the same time.
const PING: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// The bounds of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a connection may take to send a request's headers, and how long it may idle between requests.
    pub header_timeout: Duration,
    /// Connections at once; more wait in the system's backlog.
    pub max_connections: usize,
    /// The largest head of a request, in bytes; at least 8,192.
    pub max_header_bytes: u32,
    /// How long accepted requests may take to end once the listener stops.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            max_header_bytes: 32 * 1024,
            drain: Duration::from_secs(30),
        }
    }
}

/// What all connections of a listener share.
struct Shared {
    router: Router,
    bounds: Bounds,
    http: Builder<TokioExecutor>,
    /// No new requests.
    stop: CancellationToken,
    /// No requests at all.
    abort: CancellationToken,
}

/// Serves `router` on `socket` until `stop`; then stops accepting, lets accepted requests and `tasks` (those
/// that outlived their connection) end for at most [`Bounds::drain`], and closes what is left.
pub async fn serve(socket: TcpListener, router: Router, bounds: Bounds, tasks: TaskTracker, stop: CancellationToken) {
    let shared = Arc::new(Shared { router, bounds, http: protocol(bounds), stop, abort: CancellationToken::new() });
    let slots = Arc::new(Semaphore::new(bounds.max_connections));
    while let Some((stream, peer, slot)) = shared.stop.run_until_cancelled(accept(&socket, &slots)).await.flatten() {
        tasks.spawn(connection(Arc::clone(&shared), stream, peer, slot));
    }
    drop(socket);
    tasks.close();
    if tokio::time::timeout(bounds.drain, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "closing connections that did not drain in time");
        shared.abort.cancel();
    }
}

fn protocol(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(usize::try_from(bounds.max_header_bytes).unwrap_or(usize::MAX));
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(bounds.max_header_bytes)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    http
}

/// The next connection, once there is a slot for it. None only when the slots are closed, which nobody does.
async fn accept(socket: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, slot)),
            Err(error) if is_peers(&error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors of one connection, where the next may be fine.
fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, _slot: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let first_request = CancellationToken::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        first_request.cancel();
        request.extensions_mut().insert(ConnectInfo(peer));
        shared.router.clone().call(request)
    });
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(stream), service));
    // hyper's header timeout begins after the protocol is known; this one also bounds the bytes before that.
    let mut silent = pin!(async {
        let wait = tokio::time::timeout(shared.bounds.header_timeout, first_request.cancelled());
        if wait.await.is_ok() {
            std::future::pending::<()>().await;
        }
    });
    let mut stopping = pin!(shared.stop.cancelled());
    let mut stopped = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                return if let Err(error) = result {
                    tracing::debug!(error = %error, client.address = %peer, "a connection broke");
                };
            }
            () = stopping.as_mut(), if !stopped => {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.abort.cancelled() => return,
            () = silent.as_mut() => return,
        }
    }
}
