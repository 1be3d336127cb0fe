//! The `segue` program: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: segue::sys::Allocator = segue::sys::Allocator;

fn main() -> ExitCode {
    segue::cli::main()
}
