//! The `freehold` program: Freehold with its example product.

use std::process::ExitCode;

fn main() -> ExitCode {
    freehold::main(freehold::product::product())
}
