//! The control database: what Freehold knows about servers, tenants and the work under way. The only sqlx.
//!
//! One file a table. Functions take a connection and do one thing; the use case that calls them opens and ends
//! the transaction, and `_in_txn` says that a function needs one. Statements are checked against the schema
//! when Freehold is compiled. A missing row is an `Option`; a broken constraint becomes the error of its field
//! right here. It holds no customer data and, but for what [`sealing`] sealed, no secrets.

pub mod adoptions;
pub mod archives;
pub mod audit;
pub mod checks;
pub mod data_keys;
pub mod deletion_certificates;
pub mod drifts;
pub mod idempotency;
pub mod janitor;
pub mod jobs;
pub mod key_rings;
pub mod listener;
pub mod migration_files;
pub mod operation_claims;
pub mod operation_states;
pub mod operation_steps;
pub mod operations;
pub mod plans;
pub mod rehearsals;
pub mod replicas;
pub mod rollout_claims;
pub mod rollout_plan;
pub mod rollout_states;
pub mod rollout_tenants;
pub mod rollout_waves;
pub mod rollouts;
pub mod schedules;
pub mod sealed;
pub mod sealing;
pub mod secrets;
pub mod servers;
pub mod signing_keys;
pub mod slugs;
pub mod templates;
pub mod tenant_keys;
pub mod tenant_states;
pub mod tenants;
pub mod visits;
pub mod warm_databases;

mod errors;
mod pool;
mod words;

pub use pool::{ControlDb, Keeper, Lent, Settings, bounded, describe_metrics};
