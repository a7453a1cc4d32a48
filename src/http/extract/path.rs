//! Typed path parameters: an id of one kind is refused where another is meant.

use axum::{
    extract::{FromRequestParts, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::{error::Error, http::problem::Problem, types::split_rejection};

/// The parameters of the route's template.
///
/// A malformed one is 400 `invalid_id`, not 404: no asker learns more from it than the documentation says, and
/// one who mixed up two kinds of id is told so.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(
    /// The parameter, or a tuple of them in the template's order.
    pub T,
);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(rejection) => Err(refuse(rejection).into()),
        }
    }
}

fn refuse(rejection: PathRejection) -> Error {
    let PathRejection::FailedToDeserializePathParams(failure) = rejection else {
        return Error::internal(rejection);
    };
    let sentence = match failure.kind() {
        ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => message.as_str(),
        ErrorKind::WrongNumberOfParameters { .. } | ErrorKind::UnsupportedType { .. } => {
            return Error::internal(failure);
        }
        _ => "",
    };
    let detail = split_rejection(sentence)
        .map_or("the path names nothing that can exist".to_owned(), |(_, message)| {
            format!("the id in the path {message}")
        });
    Error::BadRequest { code: "invalid_id", detail }
}
