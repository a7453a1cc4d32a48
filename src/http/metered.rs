//! Bodies whose bytes are counted as they pass, on the meter of a tenant.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::telemetry::meters::Meter;

/// A request's body.
pub(super) fn received(body: Body, meter: &Meter) -> Body {
    counted(body, meter, Meter::received)
}

/// An answer's body.
pub(super) fn sent(body: Body, meter: &Meter) -> Body {
    counted(body, meter, Meter::sent)
}

fn counted(body: Body, meter: &Meter, count: fn(&Meter, u64)) -> Body {
    if body.is_end_stream() { body } else { Body::new(Counted { body, meter: meter.clone(), count }) }
}

/// The same body in every other respect, its announced length included.
struct Counted {
    body: Body,
    meter: Meter,
    count: fn(&Meter, u64),
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            (self.count)(&self.meter, u64::try_from(data.len()).unwrap_or(u64::MAX));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
