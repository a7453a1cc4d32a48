//! Rebuilds the crate when a migration is added or changed: the macro that embeds them does not see new files.

fn main() {
    println!("cargo::rerun-if-changed=control-migrations");
    println!("cargo::rerun-if-changed=tenant-migrations/freehold");
}
