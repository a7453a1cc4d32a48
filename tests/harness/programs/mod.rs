//! Programs as users run them, with real servers and real faults.
//!
//! A [`Dev`] is one `freehold dev` in a folder of its own; [`Replica`]s are further `freehold serve` over the same
//! servers. Everything runs below that folder, and ends with it when the test ends, however that ends. Tests look through
//! the front doors (HTTP, the command line) and, as a second witness, into the databases. They never reach into the
//! program's memory.

mod client;
mod dev;
mod faults;
mod ledger;
mod program;

#[cfg(feature = "crash-points")]
pub(crate) use dev::free_addresses;
pub(crate) use dev::{Dev, Replica, connect};
pub(crate) use faults::{processes_in, send_signal, start_postgres, start_redis, stop_postgres};
pub(crate) use ledger::{Ledger, assert_clean, claimed};
pub(crate) use program::{Program, Variables, run, run_as};
