//! Who asks, and by what right: the signature of a handler shows both.
//!
//! `Member<R>` is somebody of the tenant that the request names, `Operator<R>` somebody of the platform tenant,
//! both with the right `R`, and `Watched<R>` an operator whose right is asked for again and again; [`SignedIn`] is
//! anybody known, on either listener. A handler that takes none of them is open to everybody and says so with
//! [`Tenant`] or nothing.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{header::AUTHORIZATION, request::Parts},
};
use serde::Serialize;

use super::{From, IdempotencyKey, Tenant};
use crate::{
    control::{audit::Origin, tenants},
    error::{Error, Result},
    http::{AppState, problem::Problem},
    identity::{self, Client, Principal},
    types::{Idempotency, Right},
};

/// Somebody who proved who they are, at the tenant that the request names.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The tenant.
    pub tenant: Arc<tenants::Tenant>,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// How they came.
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

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, state).await?;
        let Ok(From(client)) = From::from_request_parts(parts, state).await;
        let token = bearer(parts)?;
        let principal = identity::authenticate(&state.identity, &tenant, token, client.ip).await?;
        Ok(Self { tenant, principal, client })
    }
}

/// The one bearer token of a request (RFC 6750 §2.1).
fn bearer(parts: &Parts) -> Result<&str> {
    let missing = || Error::Unauthenticated {
        code: "authentication_required",
        detail: "send an access token or API key as a bearer token",
    };
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else { return Err(missing()) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
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

        impl<R: Right> FromRequestParts<AppState> for $name<R> {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
                let caller = SignedIn::from_request_parts(parts, state).await?;
                if caller.tenant.is_platform != $is_platform {
                    return Err(Error::defect("the route is on the wrong listener").into());
                }
                caller.principal.require(R::PERMISSION)?;
                Ok(Self { caller, right: PhantomData })
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

/// Looks again whether somebody may see what they see: for an answer that goes on for longer than a request, and would
/// outlast a sign-out, a key's end or a role that was taken away.
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
        Operator::<R>::from_request_parts(&mut self.parts.clone(), state).await.map(drop)
    }
}

impl<R: Right> FromRequestParts<AppState> for Watched<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let watched = Self { parts: parts.clone(), right: PhantomData };
        watched.check(state).await?;
        Ok(watched)
    }
}
