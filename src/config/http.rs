//! Listeners, hosts and CORS.

use std::net::SocketAddr;

use super::{Environment, source::Reader};
use crate::types::{Invalid, Network, NotANetwork, Slug};

/// Listeners, hosts and CORS.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address of the public listener (tenants).
    pub public_listen: SocketAddr,
    /// Address of the admin listener (operators, Prometheus): a private network only.
    pub admin_listen: SocketAddr,
    /// How a tenant's public address is made.
    pub public_url: PublicUrl,
    /// Whether `/t/<slug>/…` names a tenant too.
    pub path_prefix: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Which other origins' scripts may read answers.
    pub cors: Cors,
    /// How many connections a listener holds at once; more wait to be accepted.
    pub max_connections: u32,
}

/// Which origins CORS admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// None: no CORS headers at all.
    SameOrigin,
    /// These, as `scheme://host[:port]`.
    Origins(Vec<String>),
    /// Any; refused in production.
    Any,
}

/// How a tenant's public address is made: `scheme://<slug>.<base_domain>[:port]`.
#[derive(Clone, Debug)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The domain under which tenants have their hosts, in lower case.
    pub base_domain: String,
    /// The port that clients see, when it is not the scheme's own.
    pub port: Option<u16>,
}

impl PublicUrl {
    /// The address of `slug`, without a trailing slash. Also the issuer of its tokens.
    #[must_use]
    pub fn of(&self, slug: &Slug) -> String {
        let Self { scheme, base_domain, port } = self;
        match port {
            Some(port) => format!("{scheme}://{slug}.{base_domain}:{port}"),
            None => format!("{scheme}://{slug}.{base_domain}"),
        }
    }
}

impl HttpConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let production = environment == Environment::Production;
        let cors = reader.parsed("cors_origins", Cors::SameOrigin, parse_cors);
        if production && cors == Cors::Any {
            reader.problem("cors_origins", "must not be * in production: list the origins");
        }
        let scheme = reader.parsed("public_scheme", if production { "https" } else { "http" }, |text| match text {
            "http" => Ok("http"),
            "https" => Ok("https"),
            _ => Err(Invalid::new("invalid", "must be http or https")),
        });
        if production && scheme != "https" {
            reader.problem("public_scheme", "must be https in production");
        }
        let base_domain = reader.parsed("base_domain", "localhost".to_owned(), parse_domain);
        if production && base_domain == "localhost" {
            reader.problem("base_domain", "is required in production: the domain under which tenants have their hosts");
        }
        let port = reader.optional("public_port", |text| {
            text.parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| Invalid::new("invalid", "must be a port, 1 to 65535"))
        });
        let default_port = if scheme == "https" { 443 } else { 80 };
        Self {
            public_listen: listen(reader, "public_listen", 8080),
            admin_listen: listen(reader, "admin_listen", 8081),
            public_url: PublicUrl { scheme, base_domain, port: port.filter(|port| *port != default_port) },
            path_prefix: reader.boolean("path_prefix", false),
            trusted_proxies: reader.parsed("trusted_proxies", Vec::new(), |text| {
                let networks =
                    text.split(',').map(|network| network.trim().parse()).collect::<Result<_, NotANetwork>>();
                networks.map_err(|_| {
                    Invalid::new("invalid", "must be addresses or networks such as 10.0.0.0/8, separated by commas")
                })
            }),
            cors,
            max_connections: reader.number("max_connections", 10_000, 1..=1_000_000),
        }
    }
}

fn listen(reader: &mut Reader<'_>, name: &str, port: u16) -> SocketAddr {
    reader.text_as(name, SocketAddr::from(([127, 0, 0, 1], port)), "an address and a port, such as 0.0.0.0:8080")
}

fn parse_domain(text: &str) -> Result<String, Invalid> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() <= 189 && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Invalid::new("invalid", "must be a domain such as example.com, without scheme, port or trailing dot"))
    }
}

fn parse_cors(text: &str) -> Result<Cors, Invalid> {
    if text == "*" {
        return Ok(Cors::Any);
    }
    let origins: Vec<_> =
        text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
    let is_origin = |origin: &String| {
        url::Url::parse(origin)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *origin)
    };
    if origins.iter().all(is_origin) {
        Ok(if origins.is_empty() { Cors::SameOrigin } else { Cors::Origins(origins) })
    } else {
        Err(Invalid::new("invalid", "must be origins such as https://app.example.com, separated by commas, or *"))
    }
}
