//! A service whose copies share what is inside of it.
//!
//! axum copies a service for each request, and each layer copies all that is inside of it: with `n` layers that is `n²/2`
//! copies of layers, and `n` of the handler. This one stands between two layers and ends that.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

/// See the module.
pub(super) struct Uncopied<S>(Arc<S>);

impl<S> Uncopied<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Arc::new(service))
    }
}

impl<S> Clone for Uncopied<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, R> Service<R> for Uncopied<S>
where
    S: Service<R, Error = Infallible> + Clone,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    /// At once: axum's services, and those of this folder, are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> S::Future {
        S::clone(&self.0).call(request)
    }
}
