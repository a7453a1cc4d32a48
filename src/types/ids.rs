//! Identifiers: UUIDv7 inside, a typed prefix outside (`ten_0190…`), so that an id of one kind is refused
//! where another is meant. The hexadecimal part of a tenant's id is the name of its database.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::{Clock, Invalid, Random};

/// Declares a kind of id: `typed_id!(/// A bill. pub BillId = "bill")`, with the visibility that it shall have.
///
/// Its prefix goes into [`Product::id_prefixes`](crate::Product::id_prefixes), where a collision is found at start.
#[macro_export]
macro_rules! typed_id {
    ($(#[$doc:meta])* $vis:vis $name:ident = $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis struct $name($crate::types::expanded::Uuid);

        impl $name {
            /// What every id of this kind begins with.
            $vis const PREFIX: &'static str = $prefix;

            /// A new id (UUIDv7, RFC 9562): ordered by the time of its making, unguessable in 74 bits.
            #[must_use]
            $vis fn generate(clock: &$crate::types::Clock, random: $crate::types::Random) -> Self {
                Self($crate::types::expanded::new_uuid(clock, random))
            }

            /// The id that a database row holds.
            #[must_use]
            $vis const fn from_uuid(uuid: $crate::types::expanded::Uuid) -> Self {
                Self(uuid)
            }

            /// The id as database rows hold it.
            #[must_use]
            $vis const fn uuid(self) -> $crate::types::expanded::Uuid {
                self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::types::Invalid;

            fn from_str(text: &str) -> ::std::result::Result<Self, $crate::types::Invalid> {
                $crate::types::expanded::parse(text, $prefix).map(Self)
            }
        }

        $crate::text_value!(
            $name,
            concat!("^", $prefix, "_[0-9a-f]{32}$"),
            concat!($prefix, "_0190b6a4c1e87d3f8a2b5c6d7e8f9012")
        );
    };
}

/// A new UUIDv7 (RFC 9562).
#[must_use]
pub fn new_uuid(clock: &Clock, random: Random) -> Uuid {
    let millis = u64::try_from(clock.now().timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid()
}

/// The UUID of an id that begins with `prefix`.
///
/// # Errors
/// `invalid_id`.
pub fn parse(text: &str, prefix: &str) -> Result<Uuid, Invalid> {
    let invalid =
        || Invalid::new("invalid_id", format!("must be {prefix}_ followed by 32 lower-case hexadecimal digits"));
    let hex = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(invalid)?;
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(invalid());
    }
    Uuid::try_parse(hex).map_err(|_| invalid())
}

/// Freehold's own kinds of ids, and the list of their prefixes.
macro_rules! own_ids {
    ($($(#[$doc:meta])+ $name:ident = $prefix:literal;)+) => {
        $($crate::typed_id!($(#[$doc])+ pub $name = $prefix);)+

        /// The prefixes of Freehold's own ids. A product's are others.
        pub const ID_PREFIXES: &[&str] = &[$($prefix),+];
    };
}

own_ids! {
    /// A tenant. Its hexadecimal part also names the tenant's database and role: see [`DbName`].
    TenantId = "ten";
    /// A PostgreSQL server that holds tenant databases.
    ServerId = "srv";
    /// A durable change to one tenant.
    OperationId = "op";
    /// A rollout: the published migrations, carried to the tenants that exist.
    RolloutId = "rol";
    /// Work that nobody waits for.
    JobId = "job";
    /// An archive: one dump of one tenant's database. Names one attempt at writing it.
    ArchiveId = "arc";
    /// A person in one tenant's database.
    UserId = "usr";
    /// A sign-in of a user; the family of its refresh tokens.
    SessionId = "ses";
    /// One way in which a user proves who they are.
    CredentialId = "crd";
    /// An API key.
    ApiKeyId = "key";
    /// An invitation to join a tenant.
    InvitationId = "inv";
    /// An operator's visit to a tenant, as one of its people.
    VisitId = "vis";
    /// A line of an audit log.
    AuditEventId = "aud";
    /// A signing key of one tenant; the `kid` of its tokens.
    KeyId = "sig";
}

impl TenantId {
    /// The name of the tenant's database and of its role.
    #[must_use]
    pub fn db_name(self) -> DbName {
        DbName(self)
    }
}

/// The name of a tenant's database and of its login role: `tenant_` and the 32 hexadecimal digits of its id.
/// Opaque on purpose: every role of a server can read `pg_database`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DbName(TenantId);

impl DbName {
    /// What the names of all tenant databases and roles begin with.
    pub const PREFIX: &'static str = "tenant_";

    /// The tenant whose database this is.
    #[must_use]
    pub const fn tenant(self) -> TenantId {
        self.0
    }
}

impl fmt::Display for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0.0.simple())
    }
}

impl fmt::Debug for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DbName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse(text, "tenant").map(|uuid| Self(TenantId(uuid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form_and_refuses_another_kind() {
        let id = TenantId::generate(&Clock::default(), Random);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().parse::<UserId>().is_err());
        assert_eq!(id.db_name().to_string().parse::<DbName>().map(DbName::tenant), Ok(id));
    }

    #[test]
    fn only_the_canonical_form_is_accepted() {
        for text in [
            "",
            "ten_",
            "ten_0190B6A4C1E87D3F8A2B5C6D7E8F9012",
            "ten_0190b6a4-c1e8-7d3f-8a2b-5c6d7e8f9012",
            "0190b6a4c1e87d3f8a2b5c6d7e8f9012",
        ] {
            assert!(text.parse::<TenantId>().is_err(), "{text}");
        }
    }
}
