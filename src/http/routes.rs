//! The routes of a product, which stand beside Freehold's own on the public listener.
//!
//! Each is made with `utoipa_axum::routes!` and so is described: there is no way to add one that the OpenAPI document
//! does not have. [`Routes::faults`] says what keeps them from being served.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        path::{Operation, PathItem},
    },
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{AppState, problem::Problem, router};
use crate::{
    error::FieldError,
    types::{RESERVED_RESOURCES, is_reserved_operation, is_reserved_schema},
};

/// The routes of a product.
///
/// All lie below `/v1/` and name a resource that Freehold does not keep for itself (`auth`, `users`, …).
#[derive(Clone, Default)]
pub struct Routes {
    parts: Vec<UtoipaMethodRouter<AppState>>,
}

/// The methods that no handler of a product answers: GET's handlers answer HEAD, and preflights never get to a route.
const UNSERVED: [&str; 3] = ["HEAD", "OPTIONS", "TRACE"];

type Schemas = BTreeMap<String, RefOr<Schema>>;

impl Routes {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the handlers of one path: `.routes(routes!(list, create))`.
    #[must_use]
    pub fn routes(mut self, part: UtoipaMethodRouter<AppState>) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds those of another resource.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// The first path that can be read without knowing anything: an example for newcomers.
    pub(crate) fn example(&self) -> Option<&str> {
        let all = self.parts.iter().flat_map(|(_, paths, _)| &paths.paths);
        all.filter(|(path, item)| item.get.is_some() && !path.contains('{')).map(|(path, _)| path.as_str()).next()
    }

    /// The reasons why the routes cannot be served, one sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.parts.iter().filter_map(|(_, paths, _)| fault_of_part(&paths.paths)).collect();
        faults.extend(self.items().filter_map(|(path, _)| fault_of_path(path)).collect::<BTreeSet<_>>());
        faults.extend(self.unserved_methods());
        faults.extend(self.repeated_routes());
        faults.extend(self.unfit_ids());
        faults.extend(self.ambiguous_schemas());
        faults
    }

    pub(super) fn into_router(self) -> OpenApiRouter<AppState> {
        self.parts.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::routes)
    }

    fn items(&self) -> impl Iterator<Item = (&String, &PathItem)> {
        self.parts.iter().flat_map(|(_, paths, _)| &paths.paths)
    }

    fn unserved_methods(&self) -> Vec<String> {
        let routes = self.items().flat_map(|(path, item)| operations(item).map(move |(method, _)| (method, path)));
        let unserved = routes.filter(|(method, _)| UNSERVED.contains(method));
        let fault = |(method, path): (&str, &String)| {
            format!(
                "the route {method} {path} is not served: a product has handlers for GET, POST, PUT, PATCH and DELETE"
            )
        };
        unserved.map(fault).collect()
    }

    fn repeated_routes(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let routes = self.items().flat_map(|(path, item)| operations(item).map(move |(method, _)| (method, path)));
        let twice = routes.filter(|(method, path)| !seen.insert((*method, shape(path))));
        twice.map(|(method, path)| format!("the route {method} {path} is there twice")).collect()
    }

    fn unfit_ids(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let fault = |id: String| {
            if is_reserved_operation(&id) {
                return Some(format!("the operation_id {id} is Freehold's own: choose another one"));
            }
            (!seen.insert(id.clone())).then(|| format!("the operation_id {id} is there twice"))
        };
        self.items().flat_map(|(_, item)| ids(item)).filter_map(fault).collect()
    }

    fn ambiguous_schemas(&self) -> Vec<String> {
        let own = router::own_public().into_openapi();
        let mut known: Schemas = own.components.map(|components| components.schemas).unwrap_or_default();
        known.insert(Problem::name().into_owned(), Problem::schema());
        known.insert(FieldError::name().into_owned(), FieldError::schema());
        let mut faults = BTreeSet::new();
        for (name, schema) in self.parts.iter().flat_map(|(schemas, ..)| schemas) {
            if is_reserved_schema(name) && !known.contains_key(name) {
                faults.insert(format!("the schema {name} is Freehold's own: give it another name, #[schema(as = …)]"));
                continue;
            }
            let first = known.entry(name.clone()).or_insert_with(|| schema.clone());
            if first != schema {
                faults.insert(format!("two different schemas are called {name}: give one #[schema(as = …)]"));
            }
        }
        faults.into_iter().collect()
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let all = [
        ("GET", &item.get),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("DELETE", &item.delete),
        ("PATCH", &item.patch),
        ("HEAD", &item.head),
        ("OPTIONS", &item.options),
        ("TRACE", &item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn ids(item: &PathItem) -> impl Iterator<Item = String> {
    operations(item).filter_map(|(_, operation)| operation.operation_id.clone())
}

/// The path as the router tells it from others: whatever its parameters are called.
fn shape(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// One call of `routes!` makes one path: its handlers would answer on all paths otherwise.
fn fault_of_part(paths: &utoipa::openapi::path::PathsMap<String, PathItem>) -> Option<String> {
    let all: Vec<_> = paths.keys().map(String::as_str).collect();
    (all.len() != 1).then(|| format!("one routes!(…) holds handlers of several paths ({}): one each", all.join(", ")))
}

fn fault_of_path(path: &str) -> Option<String> {
    let Some(rest) = path.strip_prefix("/v1/") else {
        return Some(format!("the route {path} must lie below /v1/"));
    };
    let is_literal = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    };
    let name = |part: &str| part.strip_prefix('{')?.strip_suffix('}').map(str::to_owned);
    let is_parameter = |part: &str| name(part).is_some_and(|name| is_literal(&name));
    let mut parts = rest.split('/');
    let resource = parts.next().unwrap_or_default();
    if !is_literal(resource) {
        return Some(format!("the route {path} must name a resource right after /v1/"));
    }
    if RESERVED_RESOURCES.contains(&resource) {
        return Some(format!("the route {path} collides with /v1/{resource}, which Freehold keeps for itself"));
    }
    let bad = parts.find(|part| !is_literal(part) && !is_parameter(part))?;
    Some(format!("the route {path} holds {bad:?}, which is neither a plain word nor a {{parameter}}"))
}

#[cfg(test)]
mod tests {
    use utoipa_axum::routes;

    use super::*;
    use crate::types::{RESERVED_NOUNS, RESERVED_OPERATIONS};

    macro_rules! handler {
        ($name:ident, $method:ident, $path:literal) => {
            #[utoipa::path($method, path = $path)]
            async fn $name() {}
        };
    }

    handler!(list_notes, get, "/v1/notes");
    handler!(get_note, get, "/v1/notes/{id}");
    handler!(read_note, get, "/v1/notes/{note}");
    handler!(login, post, "/v1/notes/login");
    handler!(outside, get, "/notes");
    handler!(sign_in, post, "/v1/auth/sign-in");
    handler!(anything, get, "/v1/{anything}");
    handler!(swallow, get, "/v1/all/{*rest}");
    handler!(trailing, get, "/v1/notes/");
    handler!(peek, head, "/v1/notes/peeks");
    handler!(ask, options, "/v1/notes/questions");
    handler!(follow, trace, "/v1/notes/traces");

    fn good() -> Routes {
        Routes::new().routes(routes!(list_notes)).routes(routes!(get_note))
    }

    fn assert_refused(routes: &Routes, words: &str) {
        let faults = routes.faults();
        assert!(matches!(&faults[..], [fault] if fault.contains(words)), "{words}: {faults:?}");
    }

    #[test]
    fn routes_below_v1_are_served_and_the_first_list_is_the_example() {
        assert!(good().faults().is_empty());
        assert_eq!(good().example(), Some("/v1/notes"));
        assert_eq!(Routes::new().routes(routes!(get_note)).example(), None);
        assert_eq!(good().into_router().into_openapi().paths.paths.len(), 2);
    }

    #[test]
    fn what_lies_elsewhere_or_collides_is_refused() {
        assert_refused(&good().routes(routes!(outside)), "/notes must lie below /v1/");
        assert_refused(&good().routes(routes!(sign_in)), "collides with /v1/auth");
        assert_refused(&good().routes(routes!(anything)), "must name a resource");
        assert_refused(&good().routes(routes!(swallow)), "{*rest}");
        assert_refused(&good().routes(routes!(trailing)), "\"\"");
        assert_refused(&good().routes(routes!(read_note)), "GET /v1/notes/{note} is there twice");
        assert_refused(&good().routes(routes!(login)), "operation_id login is Freehold's own");
        assert_refused(&good().routes(routes!(peek)), "HEAD /v1/notes/peeks is not served");
        assert_refused(&good().routes(routes!(ask)), "OPTIONS /v1/notes/questions is not served");
        assert_refused(&good().routes(routes!(follow)), "TRACE /v1/notes/traces is not served");
        let part = routes!(trailing, login);
        assert!(Routes::new().routes(part).faults().iter().any(|fault| fault.contains("several paths")));
    }

    #[test]
    fn one_name_stands_for_one_schema() {
        let (_, paths, handlers) = routes!(list_notes);
        let schema = |name: &str| vec![(name.to_owned(), String::schema())];
        let part = |name: &str| (schema(name), paths.clone(), handlers.clone());
        assert!(Routes::new().routes(part("Note")).faults().is_empty());
        assert_refused(&Routes::new().routes(part("Problem")), "called Problem");
    }

    #[test]
    fn each_reserved_name_is_refused() {
        for resource in RESERVED_RESOURCES {
            assert!(fault_of_path(&format!("/v1/{resource}/{{id}}")).unwrap().contains("collides"), "{resource}");
        }
        let (_, paths, handlers) = routes!(list_notes);
        let camel = |noun: &str| {
            let word = |word: &str| word[..1].to_uppercase() + &word[1..];
            noun.split('_').map(word).collect::<String>()
        };
        for noun in RESERVED_NOUNS {
            for name in [camel(noun), format!("New{}", camel(noun)), format!("{}Patch", camel(noun))] {
                let part = (vec![(name.clone(), Vec::<bool>::schema())], paths.clone(), handlers.clone());
                let faults = Routes::new().routes(part).faults();
                // Freehold may have it already.
                let told = [format!("schema {name} is Freehold's own"), format!("schemas are called {name}")];
                assert!(matches!(&faults[..], [fault] if told.iter().any(|told| fault.contains(told))), "{faults:?}");
            }
        }
        let verbs = RESERVED_NOUNS.iter().flat_map(|noun| [format!("get_{noun}"), format!("list_{noun}s")]);
        for id in verbs.chain(RESERVED_OPERATIONS.iter().map(|&id| id.to_owned())) {
            let mut paths = paths.clone();
            let operation = paths.paths.get_mut("/v1/notes").and_then(|item| item.get.as_mut()).unwrap();
            operation.operation_id = Some(id.clone());
            let routes = Routes::new().routes((Vec::new(), paths, handlers.clone()));
            assert_refused(&routes, &format!("operation_id {id} is Freehold's own"));
        }
    }

    /// A name that is not reserved may be some product's: Freehold must not take it in a later release.
    #[test]
    fn freehold_has_no_name_that_a_product_may_have() {
        let own = router::own_public().into_openapi();
        let free: Vec<_> = own.paths.paths.values().flat_map(ids).filter(|id| !is_reserved_operation(id)).collect();
        assert!(free.is_empty(), "write what these are about into types/reserved.rs: {free:?}");
        let schemas = own.components.unwrap().schemas;
        let free: Vec<_> = schemas.keys().filter(|name| !is_reserved_schema(name)).collect();
        assert_eq!(free, FROM_THE_FIRST_RELEASE, "write what new ones are about into types/reserved.rs");
    }

    /// The schemas that were there before products were, under names that nobody else would think of as Freehold's.
    const FROM_THE_FIRST_RELEASE: [&str; 9] = [
        "Acceptance",
        "Dependency",
        "DependencyStatus",
        "FieldError",
        "Problem",
        "Refresh",
        "ServiceStatus",
        "Slug",
        "Summary",
    ];
}
