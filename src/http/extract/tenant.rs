//! Extractors for the results of admission other than the caller.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    control::tenants,
    error::{Error, Result},
    http::{AppState, admission::Scope, problem::Problem},
    identity::Client,
};

/// The tenant of a request, which exists and is served. The caller need not be authenticated.
#[derive(Clone, Debug)]
pub struct Tenant(pub Arc<tenants::Tenant>);

impl FromRequestParts<AppState> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Ok(Self(Arc::clone(&scope(parts)?.tenant)))
    }
}

/// How a client came: for throttling, sessions and audit logs.
#[derive(Clone, Debug)]
pub struct From(pub Client);

impl FromRequestParts<AppState> for From {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Ok(Self(scope(parts)?.client.clone()))
    }
}

/// What admission found out. Every handler of a tenant's routes has it, and no other.
pub(super) fn scope(parts: &Parts) -> Result<&Scope> {
    parts.extensions.get().ok_or_else(|| Error::defect("the route is not among those of a tenant"))
}
