//! The tenant that a request is about: named by its host or path on the public listener, and always the
//! platform tenant on the admin listener.
//!
//! The name is read before routing, because a path prefix has to be taken off first; whether it exists and may
//! be served is asked only by handlers that need a tenant.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request},
    http::{StatusCode, Uri, header::USER_AGENT, request::Parts, uri::PathAndQuery},
};
use tracing::Span;

use crate::{
    control::tenants::{self, TenantState},
    error::{Error, Result},
    http::{AppState, problem::Problem, proxies::ClientAddress, request_id::RequestId},
    identity::Client,
    tenancy::{self, resolve::Rules},
    types::Slug,
};

/// What a request says about its tenant; an extension of every request.
#[derive(Clone, Debug)]
pub(in crate::http) enum TenantName {
    /// The admin listener's: the platform tenant.
    Platform,
    /// The host or path names this one.
    Slug(Slug),
    /// Neither names one.
    Nobody,
    /// They name two.
    Ambiguous(String),
}

impl TenantName {
    /// Reads the name from a request of the public listener and takes a path prefix off.
    pub(in crate::http) fn read(rules: &Rules, request: &mut Request) -> Self {
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

/// The tenant of a request, known and open for requests. Says nothing about who asks.
#[derive(Clone, Debug)]
pub struct Tenant(pub Arc<tenants::Tenant>);

impl FromRequestParts<AppState> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let name = parts.extensions.get::<TenantName>().cloned().unwrap_or(TenantName::Nobody);
        let tenant = find(&name, state).await?;
        Span::current().record("tenant.id", tracing::field::display(tenant.id));
        if let TenantName::Slug(slug) = name
            && slug != tenant.slug
            && !matches!(tenant.state, TenantState::Deleting | TenantState::Deleted)
        {
            return Err(moved(&(state.public_url)(&tenant.slug), &parts.uri));
        }
        tenancy::gate(&tenant)?;
        Ok(Self(state.tenancy.settled(tenant).await?))
    }
}

/// A renamed tenant is asked under its former name: the same request belongs to its new host.
fn moved(url: &str, target: &Uri) -> Problem {
    let path = target.path_and_query().map_or("/", PathAndQuery::as_str);
    Problem::new(StatusCode::PERMANENT_REDIRECT, "tenant_renamed", "this tenant has another name now; see Location")
        .at(format!("{url}{path}"))
}

async fn find(name: &TenantName, state: &AppState) -> Result<Arc<tenants::Tenant>> {
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

/// How a client came: for throttling, sessions and audit logs. Never fails.
#[derive(Clone, Debug)]
pub struct From(pub Client);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ClientAddress>().map(|ClientAddress(address)| *address);
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self(Client {
            // Only a request that came through no socket, as in tests, has none.
            ip: address.unwrap_or_else(|| std::net::Ipv4Addr::UNSPECIFIED.into()),
            user_agent: agent.map(|text| text.chars().take(512).collect()),
            request_id: parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned()),
        }))
    }
}
