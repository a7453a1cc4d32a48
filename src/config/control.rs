//! The control database, and the server that holds the platform tenant.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{Environment, source::Reader};
use crate::{
    servers::{AdminUrl, Tls},
    types::Invalid,
};

/// The control database, and the server that holds the platform tenant.
#[derive(Debug)]
pub struct ControlConfig {
    /// The control database with the role that owns it. `None` only while the configuration is being judged.
    pub database: Option<AdminUrl>,
    /// The administrative address of the server for the platform tenant's database: `bootstrap` alone reads it.
    pub platform_server: Option<SecretString>,
    /// How many connections this replica holds to the control database.
    pub max_connections: u32,
    /// A PEM file with the authorities that sign the certificates of PostgreSQL servers, beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl ControlConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        Self {
            database: database(reader, environment),
            platform_server: reader
                .optional_secret("platform_server_url", |text| parse_url(text, environment).map(drop)),
            max_connections: reader.number("control_max_connections", 16, 4..=1_000),
            ca_file: reader.optional("database_ca_file", |text| {
                let path = PathBuf::from(text);
                if path.is_file() { Ok(path) } else { Err(Invalid::new("invalid", "must be a readable PEM file")) }
            }),
        }
    }
}

fn database(reader: &mut Reader<'_>, environment: Environment) -> Option<AdminUrl> {
    let mut given = false;
    let database = reader.optional("control_url", |text| {
        given = true;
        parse_url(text, environment)
    });
    if !given {
        reader
            .problem("control_url", "is required: postgres://ROLE:PASSWORD@HOST:PORT/DATABASE of the control database");
    }
    database
}

fn parse_url(text: &str, environment: Environment) -> Result<AdminUrl, Invalid> {
    let url = AdminUrl::parse(&SecretString::from(text))?;
    if environment == Environment::Production && url.address.tls == Tls::Disable {
        return Err(Invalid::new("plaintext_refused", "must not disable TLS in production: use sslmode=verify-full"));
    }
    Ok(url)
}
