//! Both streams of a tenant's database, always together: what a template is made of.

use super::{
    MigrationSet,
    schema::{FORM, fingerprint},
};
use crate::types::{SchemaVersions, Stream};

/// What a tenant's database is made of: a set of each stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSchema {
    /// Freehold's own, applied first.
    pub freehold: MigrationSet,
    /// The product's. It may be empty.
    pub product: MigrationSet,
}

impl TenantSchema {
    /// The set of one stream.
    #[must_use]
    pub const fn stream(&self, stream: Stream) -> &MigrationSet {
        match stream {
            Stream::Freehold => &self.freehold,
            Stream::Product => &self.product,
        }
    }

    /// The newest version of each.
    #[must_use]
    pub fn versions(&self) -> SchemaVersions {
        SchemaVersions { freehold: self.freehold.version(), product: self.product.version() }
    }

    /// How many undo files both sets have together.
    #[must_use]
    pub fn undo_files(&self) -> usize {
        self.freehold.undo_files() + self.product.undo_files()
    }

    /// Both sets as they were when `versions` were their newest.
    #[must_use]
    pub fn up_to(&self, versions: SchemaVersions) -> Self {
        Self { freehold: self.freehold.up_to(versions.freehold), product: self.product.up_to(versions.product) }
    }

    /// SHA-256 over both sets, in hexadecimal: equal pairs of sets have equal fingerprints. A release that describes
    /// schemas in another form has other fingerprints: it builds templates of its own, whose schemas it can compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let sets = Stream::ALL.map(|stream| self.stream(stream).fingerprint());
        fingerprint(sets.iter().map(String::as_bytes).chain([&FORM.to_be_bytes()[..]]))
    }

    /// The name of the template database that holds both: another text in either, another template.
    #[must_use]
    pub fn template_name(&self) -> String {
        let SchemaVersions { freehold, product } = self.versions();
        format!("freehold_template_{freehold}_{product}_{:.12}", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::MigrationFile;

    fn set(texts: &[&str]) -> MigrationSet {
        let file = |(version, sql): (i32, &&str)| MigrationFile { version, name: "change".into(), sql: (*sql).into() };
        MigrationSet::new((1..).zip(texts).map(file).collect()).unwrap()
    }

    fn schema(freehold: &[&str], product: &[&str]) -> TenantSchema {
        TenantSchema { freehold: set(freehold), product: set(product) }
    }

    #[test]
    fn a_template_is_named_after_both_streams() {
        let (one, none) = (schema(&["a"], &["b"]), schema(&["a"], &[]));
        let name = one.template_name();
        assert_eq!(name, format!("freehold_template_1_1_{}", &one.fingerprint()[..12]));
        assert_eq!(none.versions(), SchemaVersions { freehold: 1, product: 0 });
        for other in [&none, &schema(&["b"], &["a"]), &schema(&["a", "b"], &[]), &schema(&["a"], &["b", "c"])] {
            assert_ne!(other.template_name(), name);
        }
        assert!(name.len() < 64, "PostgreSQL would cut it off");
    }

    #[test]
    fn a_pair_goes_back_in_each_stream_by_itself() {
        let newest = schema(&["a", "b"], &["c", "d", "e"]);
        assert_eq!(newest.up_to(SchemaVersions { freehold: 1, product: 2 }), schema(&["a"], &["c", "d"]));
        assert_eq!(newest.up_to(SchemaVersions { freehold: 2, product: 0 }), schema(&["a", "b"], &[]));
    }
}
