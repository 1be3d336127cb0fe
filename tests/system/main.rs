//! Facts about the package, installed in Debian 12 and Debian 13 with their real systemd.
//!
//! Each fact has a machine of its own: a container with systemd as PID 1 that boots in a second from a root that is made
//! once. That needs root, so the facts are ignored by a plain `cargo test`; `tests/run` builds the package and runs them:
//! `SEGUE_DEB=… SEGUE_DEB_NEXT=… cargo test --test system -- --ignored --test-threads=1`.

#[allow(dead_code, unused_imports, reason = "the black-box facts use the rest")]
#[path = "../strict/mod.rs"]
mod strict;
mod support;

/// Makes of each fact a test for Debian 12 and one for Debian 13.
macro_rules! facts {
    ($($fact:ident),+ $(,)?) => {
        mod bookworm {
            $(
                #[test]
                #[ignore = "needs root and the package: tests/run"]
                fn $fact() {
                    super::$fact($crate::support::machine::Release::Bookworm);
                }
            )+
        }
        mod trixie {
            $(
                #[test]
                #[ignore = "needs root and the package: tests/run"]
                fn $fact() {
                    super::$fact($crate::support::machine::Release::Trixie);
                }
            )+
        }
    };
}

mod configuration;
mod crash;
mod https;
mod journal;
mod newcomer;
mod package;
mod reload;
mod units;
mod unseen;
