//! Query strings: unknown or repeated parameters and bad values are 422, like fields of a body.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

use super::field;
use crate::{error::Error, http::problem::Problem};

/// The parsed query. `T` says `#[serde(deny_unknown_fields)]` and flattens nothing: lists take
/// [`List`](super::List).
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(
    /// The value.
    pub T,
);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self).map_err(Problem::from)
    }
}

pub(super) fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    if let Some((name, _)) = pairs.clone().find(|(_, value)| value.contains('\0')) {
        return Err(field::nul(name, 1).into());
    }
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
        .map_err(|error| field::describe(&error).into())
}
