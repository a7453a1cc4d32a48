//! The integration tests: one binary, so that they link once and share their clusters.

#[cfg(test)]
#[cfg(feature = "crash-points")]
mod accounts;
#[cfg(test)]
mod admission;
#[cfg(test)]
mod adoption;
#[cfg(test)]
mod api_keys;
#[cfg(test)]
mod archives;
#[cfg(test)]
mod archiving;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod circles;
#[cfg(test)]
mod cloning;
#[cfg(test)]
mod control;
#[cfg(test)]
mod counted_hashes;
#[cfg(test)]
#[cfg(feature = "crash-points")]
mod crash_points;
#[cfg(test)]
mod dev_launcher;
#[cfg(test)]
mod documentation;
#[cfg(test)]
mod drift;
#[cfg(test)]
#[cfg(feature = "crash-points")]
mod engine;
#[cfg(test)]
mod exporting;
#[cfg(test)]
mod fingerprints;
#[cfg(test)]
mod foreign_keys;
#[cfg(test)]
mod fsck;
#[cfg(test)]
mod guessing;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http_conventions;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod identity_rooms;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod incidents;
#[cfg(test)]
mod invitations;
#[cfg(test)]
mod isolation;
#[cfg(test)]
#[cfg(feature = "crash-points")]
mod jobs;
#[cfg(test)]
#[cfg(feature = "crash-points")]
mod journey;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod linter;
#[cfg(test)]
mod lists;
#[cfg(test)]
#[cfg(feature = "crash-points")]
mod mail;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod migrating;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod people;
#[cfg(test)]
mod permissions;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod postgres_version;
#[cfg(test)]
mod preflight;
#[cfg(test)]
mod process_cli;
#[cfg(test)]
mod process_clients;
#[cfg(test)]
mod process_crash;
#[cfg(test)]
mod process_dev;
#[cfg(test)]
mod process_faults;
#[cfg(test)]
mod process_memory;
#[cfg(test)]
mod process_replicas;
#[cfg(test)]
mod process_warm;
#[cfg(test)]
mod product;
#[cfg(test)]
mod publication;
#[cfg(test)]
mod purging;
#[cfg(test)]
mod rehearsal;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod schema_changes;
#[cfg(test)]
mod server_admin;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod session_state;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod sign_ins;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod tenant_churn;
#[cfg(test)]
mod tenant_deletion;
#[cfg(test)]
mod tenant_states;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod visits;
#[cfg(test)]
mod warm;
