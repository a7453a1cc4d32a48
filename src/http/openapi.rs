//! The OpenAPI 3.1 document of a listener, made from its handlers, and Swagger UI over it.
//!
//! Handlers describe what is theirs; what holds for all of them (the bearer scheme, the problem answers) is
//! added here, once. The page and its scripts come from this binary: no other host is contacted.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Content, Info, License, OpenApi, Ref, RefOr, ResponseBuilder, Server,
        path::{Operation, ParameterIn, PathItem},
        schema::Components,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::Config;

use super::{
    extract::{Json, Path},
    problem::{MEDIA_TYPE, Problem},
};
use crate::error::{Error, FieldError, Result};

/// Swagger UI runs its own scripts and shows icons from data URLs. It also puts one inline style on its logo, which
/// it does not need: that stays refused, and the browser notes it.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether a problem may come of an operation, which changes something or only reads.
type Applies = fn(&Operation, Effect) -> bool;

/// What an operation's method says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Changes,
}

/// The problems that any operation may answer with, where they apply.
const PROBLEMS: &[(&str, &str, Applies)] = &[
    ("400", "The request cannot be understood", |_, _| true),
    ("401", "Nobody known is asking", |operation, _| needs_identity(operation)),
    ("403", "The one who asks may not", |operation, _| needs_identity(operation)),
    ("404", "There is no such thing, or none that the asker may know of", |operation, _| has_parameters(operation)),
    ("413", "The body is too large", |_, effect| effect == Effect::Changes),
    ("415", "The body is not application/json", |_, effect| effect == Effect::Changes),
    ("422", "A field or parameter is wrong, or unknown", takes_input),
    ("429", "Too many requests", |operation, _| needs_identity(operation)),
    ("500", "A defect, which has been reported", |_, _| true),
    ("503", "Something that is needed is away; come back after Retry-After", |_, _| true),
];

/// The document at `/openapi.json` and its page at `/docs`.
pub(super) fn routes<S>(document: OpenApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let document = Arc::new(document);
    // Without the validator, whose badge would be fetched from another host.
    let config = Arc::new(Config::new(["/openapi.json"]).validator_url("none"));
    let page = Arc::clone(&config);
    Router::new()
        .route("/openapi.json", get(async move || Json(document)))
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async move || asset("index.html", page)))
        .route("/docs/{*file}", get(async move |Path(file): Path<String>| asset(&file, config)))
}

/// What the document says of every operation, by its route's template and method.
#[derive(Default)]
pub(super) struct Operations(HashMap<String, HashMap<Method, Known>>);

struct Known {
    /// The names of its query parameters.
    parameters: Vec<String>,
    asks: Asks,
}

/// What an operation asks of those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing: it is for whoever comes.
    Nothing,
    /// A proof of who they are.
    WhoComes,
}

impl Operations {
    pub(super) fn of(document: &OpenApi) -> Self {
        let mut routes = HashMap::new();
        for (path, item) in &document.paths.paths {
            let mut known = HashMap::new();
            let methods = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::PUT, &item.put),
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in methods {
                let Some(operation) = operation else { continue };
                let all = operation.parameters.iter().flatten();
                let names = all.filter_map(|one| match one {
                    RefOr::T(one) if matches!(one.parameter_in, ParameterIn::Query) => Some(one.name.clone()),
                    _ => None,
                });
                let asks = if needs_identity(operation) { Asks::WhoComes } else { Asks::Nothing };
                known.insert(method, Known { parameters: names.collect(), asks });
            }
            routes.insert(path.clone(), known);
        }
        Self(routes)
    }

    /// What the operation asks of those who come; none if there is no such operation.
    pub(super) fn asks(&self, route: &str, method: &Method) -> Option<Asks> {
        self.known(route, method).map(|known| known.asks)
    }

    /// A parameter that an operation does not know is a mistake that must not go unnoticed: `?stat=active`. The document
    /// is what an operation knows, so handlers need not take a query only to refuse it.
    pub(super) fn examine(&self, request: &Request) -> Result<()> {
        let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Ok(()) };
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        match self.unknown(route, request.method(), query) {
            Some(name) => Err(FieldError::new(name, "unknown_field", "is not a parameter of this route").into()),
            None => Ok(()),
        }
    }

    /// The first parameter of `query` that the operation does not know.
    fn unknown(&self, route: &str, method: &Method, query: &str) -> Option<String> {
        let known = &self.known(route, method)?.parameters;
        let mut names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
        names.find(|name| !known.iter().any(|one| one == name)).map(std::borrow::Cow::into_owned)
    }

    fn known(&self, route: &str, method: &Method) -> Option<&Known> {
        // HEAD is answered by GET's handler.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.0.get(route)?.get(method)
    }
}

/// Refuses what [`Operations::examine`] does.
pub(super) async fn refuse_unknown_parameters(
    State(operations): State<Arc<Operations>>,
    request: Request,
    next: Next,
) -> Response {
    match operations.examine(&request) {
        Ok(()) => next.run(request).await,
        Err(unknown) => unknown.into_response(),
    }
}

/// A file of Swagger UI.
fn asset(name: &str, config: Arc<Config<'static>>) -> Result<Response> {
    let file = utoipa_swagger_ui::serve(name, config).map_err(|error| Error::defect(error.to_string()))?;
    let file = file.ok_or_else(|| Error::not_found("file"))?;
    let encoding = file.gzpipped.then_some([(header::CONTENT_ENCODING, "gzip")]);
    let headers = [(header::CONTENT_TYPE, file.content_type.as_str()), (header::CONTENT_SECURITY_POLICY, DOCS_POLICY)];
    Ok((headers, encoding, file.bytes.into_owned()).into_response())
}

/// The document of a listener: what its handlers say, and what holds for all of them.
pub(super) fn complete(info: Info, mut document: OpenApi) -> OpenApi {
    document.info = info;
    document.info.license = Some(License::new("Apache-2.0"));
    document.servers = Some(vec![Server::new("/")]);
    document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    complete_components(document.components.get_or_insert_default());
    for (effect, operation) in document.paths.paths.values_mut().flat_map(operations) {
        let applicable: Vec<_> = PROBLEMS.iter().filter(|(_, _, applies)| applies(operation, effect)).collect();
        for (status, ..) in applicable {
            let shared = RefOr::Ref(Ref::from_response_name(format!("Problem{status}")));
            operation.responses.responses.entry((*status).to_owned()).or_insert(shared);
        }
        operation.responses.responses.values_mut().for_each(name_media_type);
        if needs_identity(operation) {
            // Beside a scheme, `()` would tell clients that they need none.
            operation.security.iter_mut().for_each(|all| all.retain(|one| *one != SecurityRequirement::default()));
        }
    }
    document
}

/// A handler says `body = Problem`; that every problem is of one media type is known here.
fn name_media_type(response: &mut RefOr<utoipa::openapi::Response>) {
    let RefOr::T(response) = response else { return };
    let problem = RefOr::Ref(Ref::from_schema_name(Problem::name()));
    let is_problem =
        |content: &RefOr<Content>| matches!(content, RefOr::T(one) if one.schema.as_ref() == Some(&problem));
    let named = std::mem::take(&mut response.content).into_iter().map(|(media_type, content)| {
        let media_type = if is_problem(&content) { MEDIA_TYPE.to_owned() } else { media_type };
        (media_type, content)
    });
    response.content = named.collect();
}

fn complete_components(components: &mut Components) {
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert("bearer".to_owned(), bearer.into());
    for (status, description, _) in PROBLEMS {
        components.responses.insert(format!("Problem{status}"), problem(description).into());
    }
}

fn problem(description: &str) -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name(Problem::name());
    ResponseBuilder::new().description(description).content(MEDIA_TYPE, Content::new(Some(schema))).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Effect, &mut Operation)> {
    let changing = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten();
    let reading = item.get.iter_mut().map(|operation| (Effect::Reads, operation));
    reading.chain(changing.map(|operation| (Effect::Changes, operation)))
}

/// Anonymous operations say `security(())`, and nothing else: an operation that names a scheme, even beside `()`, asks
/// for a proof, as one does that says nothing.
fn needs_identity(operation: &Operation) -> bool {
    let nothing = SecurityRequirement::default();
    operation.security.as_ref().is_none_or(|required| required.iter().any(|one| *one != nothing))
}

fn has_parameters(operation: &Operation) -> bool {
    operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty())
}

/// Also an operation that takes no body refuses one.
fn takes_input(operation: &Operation, effect: Effect) -> bool {
    effect == Effect::Changes || has_parameters(operation)
}
