//! What the schema of a tenant's database is made of: two streams of migrations, each in a PostgreSQL schema of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A sequence of migrations with versions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Freehold's own: people, credentials, sessions, keys, audit. It comes with the program.
    Freehold,
    /// The product's: everything else. It is the team's.
    Product,
}

impl Stream {
    /// Both, in the order in which they are applied: a product's tables may refer to Freehold's.
    pub const ALL: [Self; 2] = [Self::Freehold, Self::Product];

    /// As the control database and the interfaces spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freehold => "freehold",
            Self::Product => "product",
        }
    }

    /// The stream that is spelt like this, if one is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == text)
    }

    /// The PostgreSQL schema of its tables and of its history.
    #[must_use]
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Freehold => "freehold",
            Self::Product => "public",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The newest migration of each stream in a database, or in a pair of sets; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaVersions {
    /// Freehold's own.
    pub freehold: i32,
    /// The product's.
    pub product: i32,
}

impl SchemaVersions {
    /// That of one stream.
    #[must_use]
    pub const fn of(self, stream: Stream) -> i32 {
        match stream {
            Stream::Freehold => self.freehold,
            Stream::Product => self.product,
        }
    }

    /// The same, to be set.
    pub const fn of_mut(&mut self, stream: Stream) -> &mut i32 {
        match stream {
            Stream::Freehold => &mut self.freehold,
            Stream::Product => &mut self.product,
        }
    }

    /// Whether both streams go at least as far as in `other`.
    #[must_use]
    pub const fn reach(self, other: Self) -> bool {
        self.freehold >= other.freehold && self.product >= other.product
    }
}

impl fmt::Display for SchemaVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} of Freehold's stream and {} of the product's", self.freehold, self.product)
    }
}

/// A table of a tenant's database by its full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableName {
    /// Its PostgreSQL schema.
    pub schema: &'static str,
    /// Its name within that.
    pub name: &'static str,
}

impl TableName {
    /// A table of the stream's schema.
    #[must_use]
    pub const fn of(stream: Stream, name: &'static str) -> Self {
        Self { schema: stream.schema(), name }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_reach_others_only_in_both_streams() {
        let versions = |freehold, product| SchemaVersions { freehold, product };
        assert!(versions(2, 3).reach(versions(2, 3)) && versions(2, 3).reach(versions(1, 3)));
        assert!(!versions(2, 3).reach(versions(3, 1)) && !versions(2, 3).reach(versions(1, 4)));
    }

    #[test]
    fn a_stream_is_spelt_the_same_everywhere() {
        for stream in Stream::ALL {
            assert_eq!(serde_json::to_value(stream).unwrap(), stream.as_str());
            assert_eq!(Stream::parse(stream.as_str()), Some(stream));
        }
    }
}
