//! The status page as it is seen: a real service, and Debian's Chromium by its driver (`apt install chromium-driver`).
//!
//! `REWRITE=1 cargo test --test browser` writes the pictures in `docs/status-page` anew, to be looked at.

mod axe;
mod browser;
mod change;
mod farm;
mod keyboard;
mod pictures;
mod reload;
#[allow(dead_code, unused_imports, reason = "the black-box facts use the rest")]
#[path = "../blackbox/support/mod.rs"]
mod support;
mod traffic;
