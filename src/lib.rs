//! Freehold: a control plane for SaaS products that give every tenant its own PostgreSQL database.
//!
//! A team writes its product as a crate of its own, which depends on this one, and hands it over as a value, a
//! [`Product`]: [`main`] is then the whole program, with every command that Freehold has. README.md, "Use it for your
//! product", says what else such a crate holds. This is a whole one:
//!
//! ```ignore
#![doc = include_str!("../tests/guest/src/main.rs")]
//! ```
//!
//! # What a product uses
//!
//! | | |
//! |---|---|
//! | [`permissions!`], [`typed_id!`], [`text_value!`], [`migrations!`](crate::migrations!) | declare what the product has |
//! | [`http::Routes`], [`http::AppState`] | its routes, and what their handlers may ask for |
//! | [`http::extract`] | what handlers take: [`Member`](http::extract::Member), [`SignedIn`](http::extract::SignedIn), [`Json`](http::extract::Json), [`List`](http::extract::List), [`Path`](http::extract::Path), … |
//! | [`tenancy::Tenancy`], [`tenancy::TenantConn`], [`tenancy::Statements`] | the way to a tenant's data |
//! | [`tenancy::idempotency::once`] | one answer to a request that is sent twice |
//! | [`error::Error`], [`error::FieldError`] | what handlers refuse with |
//! | [`types`] | values that are parsed once: ids, names, addresses, the time, randomness |
//!
//! # The layer map
//! Data flows one way. `tests/layering.rs` reads the `use` lines and fails on any edge that is not written here, and on
//! written edges that no longer exist. `types` and `error` are open to everybody.
//!
//! ```text
//! main       -> cli, product
//! product    -> app, http, tenancy, servers, migrations
//! cli        -> app, config, mail, operations, servers, migrations, telemetry, faults
//! app        -> config, http, operations, identity, tenancy, limits, redis
//! app        -> rollouts, jobs, mail, archives, servers, migrations, control, telemetry, background
//! http       -> rollouts, operations, jobs, identity, tenancy, limits, servers, migrations, control, telemetry
//! rollouts   -> operations, servers, migrations, control, faults, background
//! operations -> archives, jobs, identity, tenancy, limits, redis, servers, migrations, control, faults, background
//! identity   -> jobs, mail, tenancy, limits, control
//! jobs       -> control, faults, background
//! tenancy    -> servers, control, background
//! limits     -> redis
//! config     -> archives, mail, servers
//! archives, background, mail, redis, servers, migrations, control, telemetry, faults -> (types and error only)
//! ```
//!
//! The rooms within `operations` have a map of their own. The engine knows no operation: it is handed a table of kinds.
//!
//! ```text
//! bootstrap  -> kinds, engine, tenants, fleet, schema, context
//! control    -> kinds, tenants, context
//! kinds      -> engine, tenants, fleet
//! checks     -> janitor, fleet, schema, context
//! janitor    -> tenants, fleet, context
//! tenants    -> engine, fleet, schema, labels, context
//! fleet      -> engine, schema, labels, memory, context
//! schema     -> memory, context
//! engine     -> context, pace
//! context    -> memory, pace
//! ```

use std::process::ExitCode;

pub use app::Product;

pub mod app;
pub mod archives;
pub mod background;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod faults;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod limits;
pub mod mail;
pub mod migrations;
pub mod operations;
pub mod product;
pub mod redis;
pub mod rollouts;
pub mod servers;
pub mod telemetry;
pub mod tenancy;
pub mod types;

/// The program of a product: reads the command line and the environment of this process, does what they say, and
/// answers with the exit code.
#[must_use]
pub fn main(product: Product) -> ExitCode {
    // A variable that is not UTF-8 is none of Freehold's: the others are read all the same.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    cli::main(product, std::env::args_os(), &environment)
}
