//! What a replica does besides answering: tasks that run until it stops.
//!
//! A task that [`Background::keep`] keeps is there for as long as the replica: one that panics begins again after a
//! pause, is counted and logged. It must therefore hold nothing that a panic leaves half done; everything here keeps
//! its state in the control database or can read it there anew.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Before a task that panicked begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// The tasks of one replica.
#[derive(Clone, Debug)]
pub struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// No tasks yet; those to come run until `stop`.
    #[must_use]
    pub fn until(stop: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), stop }
    }

    /// When all tasks are to end.
    #[must_use]
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs one task to its end.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Runs what `task` makes until it ends by itself, which it does on the stop that it is given. After a panic it
    /// is made again.
    pub fn keep<F>(&self, name: &'static str, task: impl Fn(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            while AssertUnwindSafe(task(stop.clone())).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a background task panicked and begins again");
                metrics::counter!("freehold_task_panics_total", "task" => name).increment(1);
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        });
    }

    /// Returns when all tasks have ended. None can be added to a replica that waits for that.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_counter!("freehold_task_panics_total", "panics of background tasks, which began again");
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_begins_again_until_the_stop() {
        let background = Background::until(CancellationToken::new());
        let (begun, is_there) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        background.keep("test", {
            let (begun, is_there) = (begun.clone(), is_there.clone());
            move |stop| {
                let (begun, is_there) = (begun.clone(), is_there.clone());
                async move {
                    assert!(begun.fetch_add(1, Ordering::SeqCst) > 0, "it panics once");
                    is_there.notify_one();
                    stop.cancelled().await;
                }
            }
        });
        is_there.notified().await;
        background.stop().cancel();
        background.ended().await;
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
