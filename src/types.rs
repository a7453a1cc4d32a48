//! The values that every layer speaks in: identifiers, names, addresses, time and randomness.
//!
//! Each type is parsed once, at the edge, and carries its proof from then on: there is no way to hold an
//! invalid [`Slug`] or to pass a user's id where a tenant's is meant. Nothing here does I/O, and nothing
//! here knows HTTP or SQL.

mod clock;
mod email;
mod idempotency;
mod ids;
mod name;
mod network;
mod permission;
mod random;
mod reserved;
mod role_name;
mod schema;
mod search;
mod slug;

pub use clock::Clock;
pub use email::Email;
pub use idempotency::Idempotency;
pub use ids::{
    ApiKeyId, ArchiveId, AuditEventId, CredentialId, DbName, ID_PREFIXES, InvitationId, JobId, KeyId, OperationId,
    RolloutId, ServerId, SessionId, TenantId, UserId, VisitId,
};
pub(crate) use name::is_steering;
pub use name::{DisplayName, Reason};
pub use network::{Network, NotANetwork};
pub use permission::{Permission, Plane, Right, Role};
pub use random::Random;
pub use reserved::{
    RESERVED_NOUNS, RESERVED_OPERATIONS, RESERVED_PREFIXES, RESERVED_RESOURCES, is_reserved_operation,
    is_reserved_schema,
};
pub use role_name::RoleName;
pub use schema::{SchemaVersions, Stream, TableName};
pub use search::Search;
pub use slug::{RESERVED_SLUGS, Slug};

#[doc(no_inline)]
pub use super::{permissions, text_value, typed_id};

/// What the macros of this crate expand to in another one.
#[doc(hidden)]
pub mod expanded {
    pub use serde;
    pub use serde_json;
    pub use utoipa;
    pub use uuid::Uuid;

    pub use super::ids::{new_uuid, parse};
}

/// Why a text is not the value it was meant to be: a stable code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Stable and documented (docs/API.md), for programs.
    pub code: &'static str,
    /// For people; says what would be accepted. Never repeats the rejected value.
    pub message: String,
}

impl Invalid {
    /// An invalid value with its stable `code` and a sentence that says what would be accepted.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `code: message`: how a rejected value crosses serde, whose errors are text. [`split_rejection`] reads it.
    #[must_use]
    pub fn rejection(&self) -> String {
        format!("{}: {}", self.code, self.message)
    }
}

/// The code and the message of an [`Invalid::rejection`]; none for serde's own sentences, whose first words are
/// followed by a space (`invalid type: …`) where a code is one word of lower-case letters and underscores.
#[must_use]
pub fn split_rejection(text: &str) -> Option<(&str, &str)> {
    let (code, message) = text.split_once(": ")?;
    let is_code = !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_code.then_some((code, message))
}

/// Serialises, parses and describes (OpenAPI) a parsed text type through its `Display` and `FromStr`:
/// `text_value!(Colour, "^#[0-9a-f]{6}$", "#3366ff")`, with the pattern and an example for the document.
///
/// `FromStr::Err` is [`Invalid`]: a value that is refused is a field's error, with its code.
#[macro_export]
macro_rules! text_value {
    ($name:ident, $pattern:expr, $example:expr) => {
        impl $crate::types::expanded::serde::Serialize for $name {
            fn serialize<S: $crate::types::expanded::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> $crate::types::expanded::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::types::expanded::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                use $crate::types::expanded::serde::{Deserialize, de::Error};
                let text = <::std::borrow::Cow<'de, str> as Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(|invalid: $crate::types::Invalid| D::Error::custom(invalid.rejection()))
            }
        }

        impl $crate::types::expanded::utoipa::PartialSchema for $name {
            fn schema()
            -> $crate::types::expanded::utoipa::openapi::RefOr<$crate::types::expanded::utoipa::openapi::schema::Schema>
            {
                $crate::types::expanded::utoipa::openapi::ObjectBuilder::new()
                    .schema_type($crate::types::expanded::utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .examples([$crate::types::expanded::serde_json::Value::from($example)])
                    .into()
            }
        }

        impl $crate::types::expanded::utoipa::ToSchema for $name {}
    };
}
