//! What a tenant has decided about its people: one row for each decision, with the defaults written when the
//! database is made.
//!
//! A decision is read where it counts, in the statement that goes by it, so that no replica goes by an older one.

mod store;

pub(super) use store::lets_unverified_in;
