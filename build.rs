//! Rebuilds the crate when a migration is added or changed: the macro that embeds them does not see new files. Tells
//! the macros of sqlx to read `.sqlx/` only: a team that builds a product may have a `DATABASE_URL` of its own, in its
//! environment or in an `.env` in some folder above, and that database knows nothing of Freehold's tables.

fn main() {
    println!("cargo::rerun-if-changed=control-migrations");
    println!("cargo::rerun-if-changed=tenant-migrations/freehold");
    println!("cargo::rustc-env=SQLX_OFFLINE=true");
}
