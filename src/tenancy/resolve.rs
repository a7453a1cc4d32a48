//! Finds out which tenant a request names: by its host, or by a path prefix where that is enabled.
//!
//! The result depends only on the request and the configuration. If a request names two tenants it is refused, and
//! neither has precedence: somebody who can add a header must not be able to choose another tenant. Headers such as
//! `X-Forwarded-Host` are never read.

use axum::http::{HeaderMap, Uri, header::HOST};

use crate::{
    error::{Error, Result},
    types::Slug,
};

/// The prefix of paths that name a tenant, where that is enabled.
const PATH_PREFIX: &str = "/t/";

/// How requests name tenants.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The domain under which tenants have their hosts, in lower case.
    pub base_domain: String,
    /// Whether `/t/<slug>/…` names a tenant too.
    pub path_prefix: bool,
}

/// What a request says about its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The slug, if the request names one that is well-formed.
    pub slug: Option<Slug>,
    /// The path and query without the tenant's prefix, if the path had one.
    pub stripped: Option<String>,
}

impl Rules {
    /// Reads the tenant's name from a request.
    ///
    /// # Errors
    /// `ambiguous_tenant` when the request names two: two `Host` headers, a target with another authority than
    /// the host's, a host and a path that disagree.
    pub fn resolve(&self, uri: &Uri, headers: &HeaderMap) -> Result<Named> {
        let by_host = self.label(&authority(uri, headers)?);
        let Some((segment, rest)) = self.prefixed(uri) else {
            return Ok(Named { slug: by_host.and_then(|label| parse(&label)), stripped: None });
        };
        if by_host.is_some_and(|label| label != segment) {
            return Err(ambiguous("the host and the path name different tenants"));
        }
        Ok(Named { slug: parse(segment), stripped: Some(rest) })
    }

    /// The part of the host before the base domain, in lower case.
    fn label(&self, authority: &str) -> Option<String> {
        let host = without_port(authority).to_ascii_lowercase();
        // A full name of DNS may end with one dot.
        let host = host.strip_suffix('.').unwrap_or(&host);
        let label = host.strip_suffix(&self.base_domain)?.strip_suffix('.')?;
        (!label.is_empty()).then(|| label.to_owned())
    }

    /// The path segment after `/t/`, and the remaining path and query.
    fn prefixed<'a>(&self, uri: &'a Uri) -> Option<(&'a str, String)> {
        let rest = uri.path().strip_prefix(PATH_PREFIX).filter(|_| self.path_prefix)?;
        let (segment, path) = rest.split_once('/').unwrap_or((rest, ""));
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some((segment, format!("/{path}{query}")))
    }
}

/// A label that cannot be a slug names no tenant. Reserved slugs can be parsed, but no tenant has one.
fn parse(label: &str) -> Option<Slug> {
    label.parse().ok()
}

/// The one authority that the request names (RFC 9112 §3.2, RFC 9113 §8.3.1), or an empty string.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<String> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|value| value.to_str().map_err(|_| ambiguous("the Host header is not readable")));
    let host = host.transpose()?;
    if hosts.next().is_some() {
        return Err(ambiguous("there is more than one Host header"));
    }
    let target = uri.authority().map(axum::http::uri::Authority::as_str);
    if host.into_iter().chain(target).any(|text| text.contains(['@', ',', ' '])) {
        return Err(ambiguous("the host holds characters that no host has"));
    }
    match (host, target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            Err(ambiguous("the Host header and the request's target differ"))
        }
        (Some(host), _) => Ok(host.to_owned()),
        (None, target) => Ok(target.unwrap_or_default().to_owned()),
    }
}

/// An IPv6 literal keeps its brackets; it is no tenant's host either way.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn ambiguous(detail: &str) -> Error {
    Error::BadRequest { code: "ambiguous_tenant", detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(target: &str, hosts: &[&str]) -> Result<Option<String>, &'static str> {
        let rules = Rules { base_domain: "example.com".into(), path_prefix: true };
        let mut map = HeaderMap::new();
        for host in hosts {
            map.append(HOST, host.parse().unwrap());
        }
        let named = rules.resolve(&target.parse().unwrap(), &map).map_err(|error| error.code())?;
        Ok(named.slug.map(|slug| slug.to_string()))
    }

    #[test]
    fn a_host_names_its_tenant_whatever_its_case_port_or_trailing_dot() {
        for host in [
            "acme.example.com",
            "ACME.Example.COM",
            "acme.example.com:8080",
            "acme.example.com.",
            "acme.example.com.:80",
        ] {
            assert_eq!(resolve("/v1/projects", &[host]), Ok(Some("acme".into())), "{host}");
        }
        for host in [
            "example.com",
            "evil.com",
            "acme.evil.com",
            "acmeexample.com",
            "a.b.example.com",
            "www.example.com",
            ".example.com",
            "acme.example.com..",
            "acme.example.com..:80",
            "acme..example.com",
            "..example.com",
            "[::1]:80",
            "",
        ] {
            assert_eq!(resolve("/v1/projects", &[host]), Ok(None), "{host}");
        }
    }

    #[test]
    fn a_path_names_its_tenant_too_and_must_agree() {
        assert_eq!(resolve("/t/acme/v1/projects", &["localhost"]), Ok(Some("acme".into())));
        assert_eq!(resolve("/t/acme/v1/projects", &["acme.example.com"]), Ok(Some("acme".into())));
        assert_eq!(resolve("/t/acme/v1", &["globex.example.com"]), Err("ambiguous_tenant"));
        assert_eq!(resolve("/t/ACME/v1", &["acme.example.com"]), Err("ambiguous_tenant"));
    }

    #[test]
    fn two_statements_about_the_host_are_refused() {
        assert_eq!(resolve("/", &["acme.example.com", "globex.example.com"]), Err("ambiguous_tenant"));
        assert_eq!(resolve("/", &["acme.example.com", "acme.example.com"]), Err("ambiguous_tenant"));
        assert_eq!(resolve("http://globex.example.com/", &["acme.example.com"]), Err("ambiguous_tenant"));
        assert_eq!(resolve("http://acme.example.com/", &["acme.example.com"]), Ok(Some("acme".into())));
        assert_eq!(resolve("/", &["acme.example.com,globex.example.com"]), Err("ambiguous_tenant"));
        assert_eq!(resolve("/", &["x@acme.example.com"]), Err("ambiguous_tenant"));
    }

    #[test]
    fn the_prefix_is_taken_off_the_path() {
        let rules = Rules { base_domain: "example.com".into(), path_prefix: true };
        let named = rules.resolve(&"/t/acme/v1/tasks?limit=2".parse().unwrap(), &HeaderMap::new()).unwrap();
        assert_eq!(named.stripped.as_deref(), Some("/v1/tasks?limit=2"));
        let off = Rules { path_prefix: false, ..rules };
        let named = off.resolve(&"/t/acme/v1".parse().unwrap(), &HeaderMap::new()).unwrap();
        assert_eq!(named, Named { slug: None, stripped: None });
    }
}
