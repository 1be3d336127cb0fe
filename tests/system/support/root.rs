//! The roots that machines boot from: made once with mmdebstrap, kept under `target/system` or `$SEGUE_SYSTEM_DIR`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

use super::machine::Release;

/// What a root holds beside the essential packages: systemd, the servers behind the proxy, and the load.
const PACKAGES: &str =
    "apache2-utils,ca-certificates,curl,dbus,iproute2,needrestart,nginx-light,pebble,procps,systemd,systemd-sysv";

/// The root of `release`; makes it when it is not there, or was made with other packages.
pub(crate) fn of(release: Release) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let root = directory().join(release.suite());
    let made_with = root.with_extension("packages");
    if fs::read_to_string(&made_with).is_ok_and(|packages| packages == PACKAGES) {
        return root;
    }
    make(release, &root);
    fs::write(&made_with, PACKAGES).expect("note of the packages");
    root
}

/// Where roots, the directories of machines and their consoles are.
pub(crate) fn directory() -> PathBuf {
    let directory = env::var_os("SEGUE_SYSTEM_DIR")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../system"), PathBuf::from);
    fs::create_dir_all(&directory).expect("directory for roots");
    directory.canonicalize().expect("directory for roots")
}

fn make(release: Release, root: &Path) {
    let beginning = root.with_extension("new");
    for left_over in [root, &beginning] {
        if left_over.exists() {
            fs::remove_dir_all(left_over).expect("old root removed");
        }
    }
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase"])
        .arg(format!("--include={PACKAGES}"))
        // Its own nginx would take port 80; the farm has units for its servers.
        .arg("--customize-hook=ln -s /dev/null \"$1/etc/systemd/system/nginx.service\"")
        .arg(release.suite())
        .arg(&beginning)
        .status()
        .expect("mmdebstrap is installed");
    assert!(made.success(), "mmdebstrap could not make a root of {}", release.suite());
    fs::rename(&beginning, root).expect("new root in its place");
}
