//! A product as a value: what a SaaS team hands to [`freehold::main`](crate::main).
//!
//! Freehold knows no product beside this value. It is judged once, when the program starts; all that is wrong with it
//! is said at once, and nothing is served.

use std::{fmt, pin::Pin, rc::Rc};

use serde_json::Value;

use crate::{
    error::{Error, FieldError, Result},
    http::Routes,
    identity::Permissions,
    migrations::MigrationSet,
    types::{ID_PREFIXES, Permission, RESERVED_PREFIXES, Stream, TableName},
};

/// What a SaaS product adds to Freehold.
///
/// Say what it has and take the rest from [`Product::default`], so that a later Freehold may ask for more:
///
/// ```text
/// Product { name: "Notes", routes: notes::routes(), ..Product::default() }
/// ```
#[derive(Clone, Default)]
pub struct Product {
    /// Its name for people: the title of its API's document, `<name> tenant API`.
    pub name: &'static str,
    /// Its version, as the document tells it: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// Its routes, below `/v1/` on the public listener.
    pub routes: Routes,
    /// Its permissions, as [`permissions!`](crate::permissions) declares them, with the built-in roles that hold them.
    pub permissions: Vec<Permission>,
    /// The prefixes of its kinds of ids, as [`typed_id!`](crate::typed_id) declares them.
    pub id_prefixes: Vec<&'static str>,
    /// Its migrations, as [`migrations!`](crate::migrations!) compiles them in: each file's name and text. They make
    /// the schema `public` of every tenant's database.
    pub migrations: Vec<(&'static str, &'static str)>,
    /// The oldest version of its migrations whose tables this release can work with; 0 for all. Requests of a tenant
    /// whose database is older are refused with 503 `tenant_schema_outdated` until a rollout has migrated it.
    pub oldest_version: i32,
    /// Its tables in the schema `public` that a clone of a tenant gets without their rows: those that give access (hashes
    /// of tokens) or record what people did. No other table may refer to one of them.
    pub left_behind: Vec<&'static str>,
    /// Fills a demo tenant of `freehold dev`.
    pub seed: Option<Seed>,
}

/// Makes demo data in a tenant, through the product's own API.
pub type Seed = fn(DemoTenant) -> Answer<()>;

/// What is there in a moment, or why it is not.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

type Post = dyn Fn(String, Value) -> Answer<Value>;

/// A demo tenant that is to be filled, seen by its administrator. Clones are the same tenant.
#[derive(Clone)]
pub struct DemoTenant {
    post: Rc<Post>,
}

impl DemoTenant {
    /// The tenant that `post` posts a body to a path of.
    pub fn new(post: impl Fn(String, Value) -> Answer<Value> + 'static) -> Self {
        Self { post: Rc::new(post) }
    }

    /// Posts `body` to `path`; what was made.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn create(&self, path: impl Into<String>, body: Value) -> Result<Value> {
        (self.post)(path.into(), body).await
    }
}

/// What the parts of a replica are told of a product, once it is judged.
pub(super) struct Checked {
    pub(super) permissions: Permissions,
    pub(super) migrations: MigrationSet,
    pub(super) left_behind: Vec<TableName>,
    pub(super) oldest_version: i32,
}

/// Why a product is not served.
#[derive(Debug)]
pub struct Unfit {
    name: &'static str,
    faults: Vec<String>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the product {:?} cannot be served:", self.name)?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Unfit {}

impl Product {
    /// Judges the product.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), Unfit> {
        self.checked().map(drop)
    }

    pub(super) fn checked(&self) -> Result<Checked, Unfit> {
        let mut faults = self.routes.faults();
        faults.extend(self.faults_of_prefixes());
        if self.name.trim().is_empty() {
            faults.push("it has no name".to_owned());
        }
        let permissions = Permissions::new(&self.permissions).map_err(|more| faults.extend(more));
        let migrations = self.set().map_err(|more| faults.extend(more));
        if migrations.as_ref().is_ok_and(|set| !(0..=set.version()).contains(&self.oldest_version)) {
            faults
                .push(format!("the oldest version that it serves, {}, is none of its migrations", self.oldest_version));
        }
        match (permissions, migrations) {
            (Ok(permissions), Ok(migrations)) if faults.is_empty() => {
                let left_behind = self.left_behind.iter().map(|name| TableName::of(Stream::Product, name)).collect();
                Ok(Checked { permissions, migrations, left_behind, oldest_version: self.oldest_version })
            }
            _ => Err(Unfit { name: self.name, faults }),
        }
    }

    /// The migrations as a set.
    fn set(&self) -> Result<MigrationSet, Vec<String>> {
        let texts = self.migrations.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()));
        MigrationSet::parse(texts).map_err(|error| match error {
            Error::Validation(fields) => fields.iter().map(|fault| self.told(fault)).collect(),
            other => vec![other.to_string()],
        })
    }

    /// What is wrong with a migration: by its name, when it is the name that is wrong.
    fn told(&self, FieldError { field, code, message }: &FieldError) -> String {
        let number = field.strip_prefix("files[").and_then(|rest| rest.split_once(']')?.0.parse::<usize>().ok());
        match number.and_then(|number| self.migrations.get(number)) {
            Some((name, _)) if code == "invalid_file_name" => format!("the migration {name:?} {message}"),
            _ => format!("of its migrations, {field} {message}"),
        }
    }

    fn faults_of_prefixes(&self) -> Vec<String> {
        let fault = |(at, prefix): (usize, &&str)| {
            let is_good = (2..=8).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_lowercase());
            if !is_good {
                Some(format!("the id prefix {prefix:?} must be 2 to 8 lower-case letters"))
            } else if ID_PREFIXES.contains(prefix) || RESERVED_PREFIXES.contains(prefix) {
                Some(format!("the id prefix {prefix} is Freehold's own: choose another one"))
            } else if self.id_prefixes.iter().take(at).any(|other| other == prefix) {
                Some(format!("the id prefix {prefix} is there twice"))
            } else {
                None
            }
        };
        self.id_prefixes.iter().enumerate().filter_map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let product = Product {
            name: "Notes",
            id_prefixes: vec!["note", "usr", "note", "N"],
            permissions: vec![Permission::new(crate::types::Plane::Tenant, "notes", &[])],
            migrations: vec![("V1_notes.sql", "SELECT 1")],
            ..Product::default()
        };
        let words = product.check().unwrap_err().to_string();
        let expected = [
            "\"Notes\" cannot be served",
            "usr is Freehold's own",
            "note is there twice",
            "\"N\" must",
            "\"notes\" must",
            "\"V1_notes.sql\" must",
        ];
        assert!(expected.iter().all(|part| words.contains(part)), "{words}");
        assert_eq!(words.lines().count(), 6, "{words}");
    }

    #[test]
    fn each_reserved_prefix_is_refused() {
        for prefix in [ID_PREFIXES, RESERVED_PREFIXES].concat() {
            let words = Product { name: "Notes", id_prefixes: vec![prefix], ..Product::default() }.check().unwrap_err();
            assert!(words.to_string().contains(&format!("{prefix} is Freehold's own")), "{words}");
        }
    }

    #[test]
    fn versions_of_migrations_have_no_gaps() {
        let migrations = vec![("V1__notes.sql", "SELECT 1"), ("V3__pins.sql", "SELECT 1")];
        let words = Product { name: "Notes", migrations, ..Product::default() }.check().unwrap_err().to_string();
        assert!(words.contains("of its migrations, files[1].name"), "{words}");
    }

    #[test]
    fn the_oldest_version_is_one_of_its_own() {
        let product = |oldest_version| Product {
            name: "Notes",
            migrations: vec![("V1__notes.sql", "SELECT 1")],
            oldest_version,
            ..Product::default()
        };
        assert!((0..=1).all(|oldest| product(oldest).check().is_ok()));
        for oldest in [-1, 2] {
            let words = product(oldest).check().unwrap_err().to_string();
            assert!(words.contains(&format!("serves, {oldest}, is none")), "{words}");
        }
    }

    #[test]
    fn a_product_needs_a_name_and_nothing_else() {
        assert!(Product { name: "Nothing", ..Product::default() }.check().is_ok());
        assert!(Product::default().check().unwrap_err().to_string().contains("no name"));
    }
}
