//! Freehold: a control plane for SaaS products that give every tenant its own PostgreSQL database.
//!
//! # The layer map
//! Data flows one way. `tests/layering.rs` reads the `use crate::` lines and fails on any edge that is not
//! written here, and on written edges that no longer exist. `types` and `error` are open to everybody.
//!
//! ```text
//! main       -> cli
//! cli        -> app, config, operations, servers, migrations, telemetry, faults
//! app        -> config, product, http, operations, identity, tenancy, limits, redis
//! app        -> archives, servers, migrations, control, telemetry, background
//! product    -> http, tenancy, servers
//! http       -> operations, identity, tenancy, limits, servers, migrations, control, telemetry
//! operations -> archives, identity, tenancy, limits, redis, servers, migrations, control, faults, background
//! identity   -> tenancy, limits, control
//! tenancy    -> servers, control, background
//! limits     -> redis
//! config     -> archives, servers
//! archives, background, redis, servers, migrations, control, telemetry, faults -> (types and error only)
//! ```

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
pub mod limits;
pub mod migrations;
pub mod operations;
pub mod product;
pub mod redis;
pub mod servers;
pub mod telemetry;
pub mod tenancy;
pub mod types;
