//! Extractors for the caller and the permission that a handler requires. [`admission`] has
//! authenticated the caller before. The extractors here check the permission.
//!
//! `Insider<R>` is a user of whichever tenant, with a permission that both planes have.
//! `Member<R>` is a user of the tenant that the request names, with the permission `R`. `Operator<R>` is a user of the
//! platform tenant, with the permission `R`. `Watched<R>` is an operator whose permission is checked again during a
//! streaming response. [`SignedIn`] is any authenticated caller, on either listener. An operation without
//! authentication says `security(())`, and its handler takes [`Tenant`](super::Tenant) or nothing.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::Serialize;

use super::{IdempotencyKey, tenant::scope};
use crate::{
    control::{audit::Origin, tenants},
    error::{Error, Result},
    http::{
        AppState,
        admission::{self, Scope},
        openapi::Asks,
        problem::Problem,
    },
    identity::{self, Client, Principal, people_right::SharedRight},
    types::{Idempotency, Plane, Right},
};

/// An authenticated user of the tenant that the request names.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The tenant.
    pub tenant: Arc<tenants::Tenant>,
    /// The caller.
    pub principal: Arc<Principal>,
    /// The client's address, user agent and request id.
    pub client: Client,
}

impl SignedIn {
    /// What makes a repetition of this request known, if its client wants that. `asked` is all that makes two requests
    /// the same.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn idempotency(
        &self,
        key: Option<IdempotencyKey>,
        route: &'static str,
        asked: &impl Serialize,
    ) -> Result<Option<Idempotency>> {
        let known = |key| Idempotency::new(self.principal.id_text(), route, key, asked);
        key.map(IdempotencyKey::into_text).map(known).transpose().map_err(Error::internal)
    }

    /// For changes of identity.
    pub(in crate::http) fn caller(&self) -> identity::Caller<'_> {
        identity::Caller { tenant: &self.tenant, principal: &self.principal, client: &self.client }
    }

    /// For audit logs.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            actor: self.principal.id_text(),
            ip: Some(self.client.ip),
            user_agent: self.client.user_agent.clone(),
            request_id: self.client.request_id.clone(),
        }
    }
}

impl SignedIn {
    /// Who it is that was admitted.
    pub(in crate::http) fn of(scope: &Scope) -> Result<Self> {
        let unasked = || Error::defect("an operation that is for whoever comes wants to know who came");
        let principal = scope.caller.clone().ok_or_else(unasked)?;
        Ok(Self { tenant: Arc::clone(&scope.tenant), principal, client: scope.client.clone() })
    }
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Ok(Self::of(scope(parts)?)?)
    }
}

macro_rules! caller {
    ($(#[$doc:meta])* $name:ident, $is_platform:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name<R> {
            caller: SignedIn,
            right: PhantomData<R>,
        }

        impl<R> Deref for $name<R> {
            type Target = SignedIn;

            fn deref(&self) -> &SignedIn {
                &self.caller
            }
        }

        impl<R: Right> $name<R> {
            fn of(scope: &Scope) -> Result<Self> {
                let caller = SignedIn::of(scope)?;
                if caller.tenant.is_platform != $is_platform {
                    return Err(Error::defect("the route is on the wrong listener"));
                }
                caller.principal.require(R::PERMISSION)?;
                Ok(Self { caller, right: PhantomData })
            }
        }

        impl<R: Right> FromRequestParts<AppState> for $name<R> {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
                Ok(Self::of(scope(parts)?)?)
            }
        }
    };
}

caller!(
    /// Somebody of the tenant that the request names, with the right `R`.
    Member,
    false
);
caller!(
    /// Somebody of the platform tenant, with the right `R`.
    Operator,
    true
);

/// Somebody of the tenant that the request names, be it a customer's or the platform tenant, with the right `R`.
#[derive(Clone, Debug)]
pub struct Insider<R> {
    caller: SignedIn,
    right: PhantomData<R>,
}

impl<R> Deref for Insider<R> {
    type Target = SignedIn;

    fn deref(&self) -> &SignedIn {
        &self.caller
    }
}

impl<R: SharedRight> FromRequestParts<AppState> for Insider<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        let caller = SignedIn::of(scope(parts)?)?;
        let plane = if caller.tenant.is_platform { Plane::Platform } else { Plane::Tenant };
        caller.principal.require(R::permission(plane))?;
        identity::require_schema(&caller.tenant, R::SINCE)?;
        Ok(Self { caller, right: PhantomData })
    }
}

/// Checks the caller's permission again during a streaming response, which could otherwise outlast a sign-out, the end
/// of a key or the loss of a role.
pub struct Watched<R> {
    parts: Parts,
    right: PhantomData<fn() -> R>,
}

impl<R: Right> Watched<R> {
    /// Refuses those who may not any more, as if they had asked now.
    ///
    /// # Errors
    /// As for a request.
    pub async fn check(&self, state: &AppState) -> Result<(), Problem> {
        let scope = admission::examine(state, &self.parts, Asks::WhoComes).await?;
        Operator::<R>::of(&scope)?;
        Ok(())
    }
}

impl<R: Right> FromRequestParts<AppState> for Watched<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Operator::<R>::of(scope(parts)?)?;
        Ok(Self { parts: parts.clone(), right: PhantomData })
    }
}
