//! A tenant's people, on both listeners: those of a customer's tenant on the public one, operators on the other. One file a
//! resource.
//!
//! A handler asks for its right by [`Insider`](super::extract::Insider), which is the same right on both planes.

mod api_keys;
mod audit_events;
mod imports;
mod invitations;
mod roles;
mod users;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;

use super::{
    AppState,
    extract::{ETag, IfMatch, Json},
};
use crate::{error::Result, identity::Made};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(users::routes())
        .merge(imports::routes())
        .merge(roles::routes())
        .merge(invitations::routes())
        .merge(api_keys::routes())
        .merge(audit_events::routes())
}

/// A resource with its entity tag.
struct Versioned<T> {
    item: T,
    version: i64,
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        (ETag(self.version), Json(self.item)).into_response()
    }
}

/// What identity checks a version with.
fn matching(expected: Option<IfMatch>) -> impl FnOnce(i64) -> Result<()> {
    move |version| expected.map_or(Ok(()), |expected| expected.check(ETag(version)))
}

/// 201 with the place of what was made.
fn created(made: Made, collection: &str) -> Response {
    created_with(made, collection, |_, _| ())
}

/// 201 with the place of what was made, and its secret where `show` puts it. No cache keeps the answer.
fn created_with(made: Made, collection: &str, show: impl FnOnce(&mut Map<String, Value>, &str)) -> Response {
    let Made { id, version, mut body, secret } = made;
    if let (Some(secret), Value::Object(fields)) = (secret, &mut body) {
        show(fields, secret.expose_secret());
    }
    let headers = [(header::LOCATION, format!("{collection}/{id}")), (header::CACHE_CONTROL, "no-store".to_owned())];
    (StatusCode::CREATED, headers, version.map(ETag), Json(body)).into_response()
}
