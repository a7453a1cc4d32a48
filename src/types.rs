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
mod random;
mod schema;
mod slug;

pub use clock::Clock;
pub use email::Email;
pub use idempotency::Idempotency;
pub use ids::{
    ApiKeyId, ArchiveId, AuditEventId, CredentialId, DbName, InvitationId, KeyId, OperationId, ProjectId, ServerId,
    SessionId, TaskId, TenantId, UserId,
};
pub(crate) use name::is_steering;
pub use name::{DisplayName, Reason};
pub use network::{Network, NotANetwork};
pub use random::Random;
pub use schema::{SchemaVersions, Stream, TableName};
pub use slug::{RESERVED_SLUGS, Slug};

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

/// Serialises, parses and describes (OpenAPI) a parsed text type through `Display` and `FromStr`.
macro_rules! text_value {
    ($name:ident, $pattern:expr, $example:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(|invalid: $crate::types::Invalid| serde::de::Error::custom(invalid.rejection()))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .examples([serde_json::json!($example)])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use text_value;
