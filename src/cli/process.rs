//! What a command that runs needs of its process: a runtime, and to hear when it shall end.

use std::{process::exit, time::Duration};

use anyhow::Context;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// How long work on blocking threads may go on once everything else has ended.
const BLOCKING: Duration = Duration::from_secs(5);

/// What a shell reports of a program that was ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Runs a command that waits for answers more than it works.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    finish(Builder::new_current_thread().enable_all().build(), command)
}

/// Runs a replica: on all cores. The runtime is made after logging has begun, so that its threads report too.
pub(super) fn block_on_all_cores<T>(replica: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    finish(Builder::new_multi_thread().enable_all().build(), replica)
}

fn finish<T>(runtime: std::io::Result<Runtime>, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKING);
    outcome
}

/// Cancelled by the first SIGTERM or SIGINT. A second one ends the process where it stands.
pub(super) fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(listen(terminate, interrupt, stop.clone()));
    Ok(stop)
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping; a second signal stops at once");
    stop.cancel();
    next(&mut terminate, &mut interrupt).await;
    leave();
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever signals twice does not want to wait for an orderly end")]
fn leave() {
    telemetry::flush();
    exit(INTERRUPTED);
}
