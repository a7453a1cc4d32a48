//! Fields of a PATCH: an absent field stays as it is, which is not the same as null (RFC 7396).

use serde::{Deserialize, Deserializer};

/// What a PATCH does to one field. The request's type says `#[serde(default)]` for it; a field that can be
/// emptied is a `Change<Option<T>>`, so that null is refused for all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The field was not sent.
    #[default]
    Keep,
    /// The field was sent with this value.
    Set(T),
}

impl<T> Change<T> {
    /// Changes `field`, or leaves it.
    pub fn apply(self, field: &mut T) {
        if let Self::Set(value) = self {
            *field = value;
        }
    }

    /// The value, if the field was sent.
    pub fn sent(self) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::Set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct Patch {
        name: Change<String>,
        owner: Change<Option<u8>>,
    }

    fn patched(json: &str) -> (String, Option<u8>) {
        let patch: Patch = serde_json::from_str(json).unwrap();
        let (mut name, mut owner) = ("old".to_owned(), Some(1));
        patch.name.apply(&mut name);
        patch.owner.apply(&mut owner);
        (name, owner)
    }

    #[test]
    fn absent_is_not_null() {
        assert_eq!(patched("{}"), ("old".to_owned(), Some(1)));
        assert_eq!(patched(r#"{"owner":null}"#), ("old".to_owned(), None));
        assert_eq!(patched(r#"{"name":"new","owner":2}"#), ("new".to_owned(), Some(2)));
    }

    #[test]
    fn null_is_refused_where_a_field_cannot_be_empty() {
        assert!(serde_json::from_str::<Patch>(r#"{"name":null}"#).is_err());
    }
}
