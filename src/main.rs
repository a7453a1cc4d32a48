//! The `freehold` program: hands arguments and environment to the command line, and its answer to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A variable that is not UTF-8 is none of Freehold's: the others are read all the same.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    freehold::cli::main(std::env::args_os(), &environment)
}
