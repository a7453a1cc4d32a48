//! Gives each request its id and span, counts it and logs it. This is the outermost layer, so it sees every response.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request},
    http::{HeaderMap, Method},
    response::Response,
};
use sentry::{Hub, SentryFutureExt};
use tracing::{Instrument, Span, field::Empty};

use super::{
    Listener,
    admission::Payer,
    middleware::Layers,
    problem::ProblemCode,
    proxies::ClientAddress,
    request_id::{RequestId, X_REQUEST_ID},
};
use crate::telemetry::metrics::Answered;

/// The route label of requests that no route matches: their paths are the client's to choose.
const UNMATCHED: &str = "unmatched";

pub(super) async fn observe(
    Layers { listener, in_flight, settings, requests, .. }: &Layers,
    mut request: Request,
    answer: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let listener = *listener;
    let started = Instant::now();
    let _in_flight = in_flight.begin();
    let id = RequestId::accept(request.headers());
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let client = peer.map(|peer| settings.trusted_proxies.client(peer, request.headers()));
    let span = span(listener, method, route, &id);
    if let Some(trace) = trace_id(request.headers()) {
        span.record("trace.id", trace);
    }
    request.extensions_mut().insert(id.clone());
    let payer = Payer::default();
    request.extensions_mut().insert(payer.clone());
    if let Some(client) = client {
        request.extensions_mut().insert(ClientAddress(client));
    }

    let work = id.clone().scope(answer(request).instrument(span.clone()));
    let mut response = match hub(&id, method, route) {
        Some(hub) => work.bind_hub(hub).await,
        None => work.await,
    };

    response.headers_mut().insert(X_REQUEST_ID, id.header());
    let answered = Answered {
        listener: listener.name(),
        method,
        route,
        status: response.status().as_u16(),
        elapsed: started.elapsed(),
    };
    answered.record(requests);
    // Every answer of a tenant passes here, whoever made it: what all of them shall have belongs here.
    if let Some(known) = payer.known() {
        known.meter.answered(answered.status);
    }
    let plan = payer.known().and_then(|known| known.plan.as_ref()).map(|plan| plan.name.as_str());
    span.in_scope(|| log(&answered, (client, plan), &response));
    response
}

/// The span whose fields every log line of the request carries. `tenant.id` is recorded once it is known.
fn span(listener: Listener, method: &'static str, route: &str, id: &RequestId) -> Span {
    tracing::info_span!(
        "request",
        http.listener = listener.name(),
        http.method = method,
        http.route = route,
        request.id = id.as_str(),
        trace.id = Empty,
        tenant.id = Empty,
    )
}

/// A Sentry scope of the request's own, so that a report names the request that it came from and no other. None while
/// nothing is reported.
fn hub(id: &RequestId, method: &'static str, route: &str) -> Option<Arc<Hub>> {
    let current = Hub::current();
    current.client()?;
    let hub = Hub::new_from_top(current);
    hub.configure_scope(|scope| {
        scope.set_tag("request.id", id.as_str());
        scope.set_transaction(Some(&format!("{method} {route}")));
    });
    Some(Arc::new(hub))
}

/// Logs one line for each request. Probes and scrapes are frequent, so they are logged at level debug.
fn log(answered: &Answered<'_>, (client, plan): (Option<std::net::IpAddr>, Option<&str>), response: &Response) {
    let code = response.extensions().get::<ProblemCode>().map(|ProblemCode(code)| *code);
    let client = client.map(tracing::field::display);
    let millis = answered.elapsed.as_secs_f64() * 1_000.0;
    if answered.route.starts_with("/health") || answered.route == "/metrics" {
        tracing::debug!(
            http.status = answered.status,
            http.duration_ms = millis,
            error.code = code,
            "answered a probe"
        );
    } else {
        tracing::info!(
            http.status = answered.status,
            http.duration_ms = millis,
            error.code = code,
            client.address = client,
            tenant.plan = plan,
            "answered a request"
        );
    }
}

/// From a closed set: clients may send any token as a method, and labels must stay few.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The trace id of a well-formed W3C `traceparent` (version 00): `00-<32 hex>-<16 hex>-<2 hex>`, not all zero.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get("traceparent")?.to_str().ok()?.split('-');
    let mut hex = |length: usize| {
        let field = fields.next()?;
        let lower_hex = field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (field.len() == length && lower_hex).then_some(field)
    };
    let (version, trace, parent, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let zero = |field: &str| field.bytes().all(|b| b == b'0');
    (version == "00" && !zero(trace) && !zero(parent) && fields.next().is_none()).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_names_a_trace() {
        let trace = |value: &str| {
            let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())]);
            trace_id(&headers).map(str::to_owned)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for bad in [
            "",
            "00",
            &format!("00-{id}-00f067aa0ba902b7"),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{id}-00f067aa0ba902b7-01-more"),
        ] {
            assert_eq!(trace(bad), None, "{bad}");
        }
    }
}
