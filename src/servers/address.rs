//! Where a server is and who logs in there: parsed once, held in parts.
//!
//! A connection string is never passed on: tokio-postgres and sqlx read `sslmode` differently, and the default
//! of the former falls back to plain text. A password lives in [`Credentials`] only, and is never shown.

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::Host;

use crate::types::Invalid;

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tls {
    /// The chain and the host name are checked (libpq's `verify-full`).
    VerifyFull,
    /// Plain text: for a server on the same machine or a trusted network; configuration refuses it in production.
    Disable,
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VerifyFull => "verify-full",
            Self::Disable => "disable",
        })
    }
}

impl FromStr for Tls {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "verify-full" => Ok(Self::VerifyFull),
            "disable" => Ok(Self::Disable),
            _ => Err(Invalid::new(
                "unsupported_sslmode",
                "sslmode must be verify-full (the certificate's chain and host name are checked) or disable; \
                 the modes between them do not protect against somebody who sits on the line",
            )),
        }
    }
}

/// A PostgreSQL server as the network sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A host name or an IP address; with TLS the name that the certificate must carry.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The role's name.
    pub role: String,
    /// Its password.
    pub password: SecretString,
}

/// The administrative access to a server, as an operator gives it at registration.
#[derive(Clone, Debug)]
pub struct AdminUrl {
    /// Where the server is.
    pub address: ServerAddress,
    /// The administrative credential.
    pub credentials: Credentials,
    /// The maintenance database: where administrative sessions connect and meet in advisory locks.
    pub database: String,
}

impl AdminUrl {
    /// Reads `postgres://role:password@host:port/database?sslmode=verify-full|disable`. The port defaults to
    /// 5432, the database to `postgres`, the mode to `verify-full`; role and password must be there.
    ///
    /// # Errors
    /// `invalid_url` or `unsupported_sslmode`. The text never repeats any part of the URL.
    pub fn parse(url: &SecretString) -> Result<Self, Invalid> {
        let (base, query) = match url.expose_secret().split_once('?') {
            Some((base, query)) => (base, Some(query)),
            None => (url.expose_secret(), None),
        };
        let tls = query.map_or(Ok(Tls::VerifyFull), sslmode)?;
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(invalid("must begin with postgres://"));
        }
        // tokio-postgres decodes the percent escapes; its own query parameters never get here.
        let parts: tokio_postgres::Config =
            base.parse().map_err(|_| invalid("must have the form postgres://role:password@host:port/database"))?;
        let password = parts.get_password().and_then(|password| std::str::from_utf8(password).ok());
        Ok(Self {
            address: ServerAddress { host: single_host(&parts)?, port: single_port(&parts)?, tls },
            credentials: Credentials {
                role: text(parts.get_user(), "role")?,
                password: text(password, "password")?.into(),
            },
            database: parts.get_dbname().unwrap_or("postgres").to_owned(),
        })
    }
}

fn invalid(message: impl Into<String>) -> Invalid {
    Invalid::new("invalid_url", message)
}

fn sslmode(query: &str) -> Result<Tls, Invalid> {
    match query.strip_prefix("sslmode=") {
        Some(mode) if !mode.contains('&') => mode.parse(),
        _ => Err(invalid("sslmode is the only parameter that it may carry")),
    }
}

fn text(part: Option<&str>, name: &str) -> Result<String, Invalid> {
    part.filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(|| invalid(format!("must name a {name}")))
}

fn single_host(parts: &tokio_postgres::Config) -> Result<String, Invalid> {
    match parts.get_hosts() {
        [Host::Tcp(host)] if !host.is_empty() => Ok(host.clone()),
        _ => Err(invalid("must name exactly one host, reached over TCP")),
    }
}

fn single_port(parts: &tokio_postgres::Config) -> Result<u16, Invalid> {
    match parts.get_ports() {
        [] => Ok(5432),
        [port] if *port > 0 => Ok(*port),
        _ => Err(invalid("must name at most one port, from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<AdminUrl, Invalid> {
        AdminUrl::parse(&url.into())
    }

    #[test]
    fn a_full_url_is_taken_apart_and_its_escapes_are_decoded() {
        let url = parse("postgres://adm%40in:p%2Fw%3Fd@db.example.com:6543/main?sslmode=disable").unwrap();
        assert_eq!(url.address, ServerAddress { host: "db.example.com".into(), port: 6543, tls: Tls::Disable });
        assert_eq!(url.credentials.role, "adm@in");
        assert_eq!(url.credentials.password.expose_secret(), "p/w?d");
        assert_eq!(url.database, "main");
    }

    #[test]
    fn what_is_left_out_is_the_safe_choice() {
        let url = parse("postgresql://admin:secret@[::1]").unwrap();
        assert_eq!(url.address, ServerAddress { host: "::1".into(), port: 5432, tls: Tls::VerifyFull });
        assert_eq!(url.database, "postgres");
    }

    #[test]
    fn what_is_unclear_or_unsafe_is_refused_without_repeating_it() {
        for (url, code) in [
            ("", "invalid_url"),
            ("host=db user=admin password=secret", "invalid_url"),
            ("mysql://admin:secret@db/x", "invalid_url"),
            ("postgres://admin@db/x", "invalid_url"),
            ("postgres://admin:@db/x", "invalid_url"),
            ("postgres://:secret@db/x", "invalid_url"),
            ("postgres://admin:secret@/x", "invalid_url"),
            ("postgres://admin:secret@a,b/x", "invalid_url"),
            ("postgres://admin:secret@%2Fvar%2Frun/x", "invalid_url"),
            ("postgres://admin:secret@db:0/x", "invalid_url"),
            ("postgres://admin:secret@db:port/x", "invalid_url"),
            ("postgres://admin:secret@db/x?connect_timeout=9", "invalid_url"),
            ("postgres://admin:secret@db/x?sslmode=disable&sslmode=verify-full", "invalid_url"),
            ("postgres://admin:secret@db/x?sslmode=prefer", "unsupported_sslmode"),
            ("postgres://admin:secret@db/x?sslmode=require", "unsupported_sslmode"),
            ("postgres://admin:secret@db/x?sslmode=verify-ca", "unsupported_sslmode"),
        ] {
            let refused = parse(url).expect_err(url);
            assert_eq!(refused.code, code, "{url}");
            assert!(!refused.message.contains("secret"), "{url}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let url = parse("postgres://admin:secret@db/x").unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }
}
