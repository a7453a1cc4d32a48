//! Admission: finds out which tenant a request is for, whether that tenant is served, and who the caller is. One layer
//! around all routes of a tenant does this once for each request.
//!
//! The order is resolve → gate → authenticate → scope ([`examine`]). Limits belong between these steps: those of the
//! address and of the tenant before a secret is checked, those of the user and of the key once they are known. The
//! result is one value, the [`Scope`]. Extractors read it and check what they require.
//!
//! What is true of every answer of a tenant is done where [`observe`](super::observe) reads the [`Payer`]: counting,
//! the log line with the plan, and headers that all answers shall have. That place is outermost. It sees also what
//! admission does not: 413 of a body that announces its size, a request that took too long, a panic. A refused request
//! has a payer as well, once its tenant is known.
//!
//! The OpenAPI description of an operation says whether it requires authentication: `security(())` means that it does
//! not. A refused request ends at [`turn_away`], whatever extractors the handler has. A request without a route gets
//! 404 or 405, whoever sends it. Admission then only records its tenant.

use std::{
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        Extensions, HeaderMap, StatusCode, Uri,
        header::{AUTHORIZATION, USER_AGENT},
        request::Parts,
        uri::PathAndQuery,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Span;

use super::{
    AppState, metered,
    openapi::{Asks, Operations},
    problem::Problem,
    proxies::ClientAddress,
    request_id::RequestId,
};
use crate::{
    control::{
        plans::Plan,
        tenants::{Tenant, TenantState},
    },
    error::{Error, Result},
    identity::{self, Client, Principal},
    telemetry::meters::Meter,
    tenancy::{self, resolve::Rules},
    types::Slug,
};

/// The result of admission. It is an extension of every request on a tenant's route.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The tenant, which exists and is served.
    pub tenant: Arc<Tenant>,
    /// The plan that it is on.
    pub plan: Arc<Plan>,
    /// The caller; `None` on operations that need no authentication.
    pub caller: Option<Arc<Principal>>,
    /// The client's address, user agent and request id.
    pub client: Client,
    /// Counts what is done for the tenant.
    pub meter: Meter,
}

/// What the layer needs, on every request: shared, and not copied.
pub(super) struct Admission {
    state: AppState,
    operations: Arc<Operations>,
}

impl Admission {
    pub(super) fn new(state: &AppState, operations: Arc<Operations>) -> Arc<Self> {
        Arc::new(Self { state: state.clone(), operations })
    }

    pub(super) const fn state(&self) -> &AppState {
        &self.state
    }

    /// What is answered before admission, or by no route, costs no look at the control database: the tenant is noted if
    /// it is known here.
    pub(super) fn note_stray(&self, extensions: &Extensions) {
        let tenancy = &self.state.tenancy;
        let known = match extensions.get() {
            Some(TenantName::Platform) => tenancy.known_platform(),
            Some(TenantName::Slug(slug)) => tenancy.known(slug),
            Some(TenantName::Nobody | TenantName::Ambiguous(_)) | None => None,
        };
        if let Some(tenant) = known {
            // Only an admitted request needs its plan to be known.
            let _ = note(&self.state, extensions, &tenant);
        }
    }
}

/// The verdict about a request, on its way from [`admit`] to [`turn_away`].
#[derive(Clone)]
struct Verdict(Result<Scope, Problem>);

/// What is known of the tenant that a request turned out to be for: written by admission, and read by whoever finishes
/// the answer, which may be given up or panic further in.
#[derive(Clone, Debug, Default)]
pub(super) struct Payer(Arc<OnceLock<Known>>);

/// See [`Payer`].
#[derive(Debug)]
pub(super) struct Known {
    /// Counts what is done for the tenant.
    pub(super) meter: Meter,
    /// The plan that it is on, unless this replica does not know the plan.
    pub(super) plan: Option<Arc<Plan>>,
}

impl Payer {
    pub(super) fn known(&self) -> Option<&Known> {
        self.0.get()
    }
}

/// The layer around all routes of a tenant, and around what no route answers.
pub(super) async fn admit(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    let Admission { state, operations } = &*admission;
    let (mut parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match operations.asks(route, &parts.method) {
        Some(asks) => {
            let verdict = examine(state, &parts, asks).await;
            parts.extensions.insert(Verdict(verdict));
        }
        None => admission.note_stray(&parts.extensions),
    }
    let Some(meter) = parts.extensions.get::<Payer>().and_then(Payer::known).map(|known| known.meter.clone()) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let body = metered::received(body, &meter);
    next.run(Request::from_parts(parts, body)).await.map(|body| metered::sent(body, &meter))
}

/// The innermost layer, around each handler. Returns the error of a refused request. A parameter that no such route has
/// is refused whoever sends it; all else waits for the verdict.
pub(super) async fn turn_away(State(operations): State<Arc<Operations>>, mut request: Request, next: Next) -> Response {
    if let Err(unknown) = operations.examine(&request) {
        return unknown.into_response();
    }
    match request.extensions_mut().remove() {
        Some(Verdict(Ok(scope))) => {
            request.extensions_mut().insert(scope);
            next.run(request).await
        }
        Some(Verdict(Err(problem))) => problem.into_response(),
        None => Error::defect("no document describes this route, so that nobody is admitted to it").into_response(),
    }
}

/// Finds out the tenant and the caller. Used for new requests, and again during a streaming response.
///
/// # Errors
/// In this order: `ambiguous_tenant` (400), `tenant_not_found` (404), `registry_unavailable` (503); `tenant_renamed`
/// (308); what [`tenancy::gate`] refuses, `tenant_not_ready` (503); and where the operation requires authentication,
/// `authentication_required` (401) and the errors of identity.
pub(super) async fn examine(state: &AppState, parts: &Parts, asks: Asks) -> Result<Scope, Problem> {
    let name = parts.extensions.get().unwrap_or(&TenantName::Nobody);
    let tenant = resolve(state, name).await?;
    let (meter, plan) = note(state, &parts.extensions, &tenant);
    if let Some(elsewhere) = moved(state, name, &tenant, &parts.uri) {
        return Err(elsewhere);
    }
    tenancy::gate(&tenant, state.settings.oldest_versions)?;
    let tenant = state.tenancy.settled(tenant).await?;
    let (plan, client) = (plan?, client(parts));
    // Limits of the address and of the tenant go here: no secret has been looked at.
    let caller = match asks {
        Asks::Nothing => None,
        Asks::WhoComes => Some(authenticate(state, &tenant, parts, &client).await?),
    };
    // Limits of the person and of the key go here.
    Ok(Scope { tenant, plan, caller, client, meter })
}

async fn resolve(state: &AppState, name: &TenantName) -> Result<Arc<Tenant>> {
    match name {
        TenantName::Platform => state.tenancy.platform().await,
        TenantName::Slug(slug) => state.tenancy.by_slug(slug).await,
        TenantName::Nobody => {
            let detail = "neither the host nor the path names a tenant".to_owned();
            Err(Error::NotFound { code: "tenant_not_found", detail })
        }
        TenantName::Ambiguous(detail) => Err(Error::BadRequest { code: "ambiguous_tenant", detail: detail.clone() }),
    }
}

/// From here on the request is this tenant's, in logs and metrics, whatever becomes of it.
fn note(state: &AppState, extensions: &Extensions, tenant: &Tenant) -> (Meter, Result<Arc<Plan>>) {
    Span::current().record("tenant.id", tracing::field::display(tenant.id));
    let (meter, plan) = (state.meters.of(tenant.id), state.tenancy.plan(tenant));
    if let Some(Payer(payer)) = extensions.get() {
        // A second look finds the same tenant.
        let _ = payer.set(Known { meter: meter.clone(), plan: plan.as_ref().ok().cloned() });
    }
    (meter, plan)
}

/// A renamed tenant is asked under its former name: the same request belongs to its new host.
fn moved(state: &AppState, name: &TenantName, tenant: &Tenant, target: &Uri) -> Option<Problem> {
    let is_former = matches!(name, TenantName::Slug(slug) if *slug != tenant.slug);
    if !is_former || matches!(tenant.state, TenantState::Deleting | TenantState::Deleted) {
        return None;
    }
    let (url, path) = ((state.public_url)(&tenant.slug), target.path_and_query().map_or("/", PathAndQuery::as_str));
    let detail = "this tenant has another name now; see Location";
    Some(Problem::new(StatusCode::PERMANENT_REDIRECT, "tenant_renamed", detail).at(format!("{url}{path}")))
}

/// The credential of a request. A session cookie would be another variant.
enum Proof<'a> {
    /// An access token or an API key.
    Bearer(&'a str),
}

/// Where credentials are looked for, in this order. The first one that is found counts.
const STRATEGIES: [fn(&HeaderMap) -> Option<Proof<'_>>; 1] = [bearer];

/// The one bearer token of a request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<Proof<'_>> {
    let mut headers = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(Proof::Bearer(token.trim()))
}

async fn authenticate(state: &AppState, tenant: &Tenant, parts: &Parts, client: &Client) -> Result<Arc<Principal>> {
    let proof = STRATEGIES.iter().find_map(|strategy| strategy(&parts.headers));
    match proof {
        Some(Proof::Bearer(token)) => identity::authenticate(&state.identity, tenant, token, client.ip).await,
        None => Err(Error::Unauthenticated {
            code: "authentication_required",
            detail: "send an access token or API key as a bearer token",
        }),
    }
}

fn client(parts: &Parts) -> Client {
    let address = parts.extensions.get::<ClientAddress>().map(|ClientAddress(address)| *address);
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    Client {
        // Only a request that came through no socket, as in tests, has none.
        ip: address.unwrap_or_else(|| Ipv4Addr::UNSPECIFIED.into()),
        user_agent: agent.map(|text| text.chars().take(512).collect()),
        request_id: parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned()),
    }
}

/// What a request says about its tenant; an extension of every request. It is read before routing, because a path
/// prefix has to be taken off first; whether there is such a tenant is asked by admission.
#[derive(Clone, Debug)]
pub(super) enum TenantName {
    /// The admin listener's: the platform tenant.
    Platform,
    /// The host or path names this one.
    Slug(Slug),
    /// Neither names one.
    Nobody,
    /// They name two different ones.
    Ambiguous(String),
}

impl TenantName {
    /// Reads the name from a request of the public listener and takes a path prefix off.
    pub(super) fn read(rules: &Rules, request: &mut Request) -> Self {
        match rules.resolve(request.uri(), request.headers()) {
            Ok(named) => {
                if let Some(path) = named.stripped.and_then(|path| path.parse::<Uri>().ok()) {
                    *request.uri_mut() = path;
                }
                named.slug.map_or(Self::Nobody, Self::Slug)
            }
            Err(error) => Self::Ambiguous(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
