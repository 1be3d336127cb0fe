# Sourced by packaging/demo, packaging/build-deb, packaging/build-release and tests/run, in the top directory: finds or
# installs what compiles Segue.
#
#   toolchain_ready    true when cargo, new enough, and a C compiler are in PATH; looks at rustup's usual place too
#   toolchain_install  installs what is missing with apt or rustup, and says so; false when it cannot
#   toolchain_missing  says what is missing, and why it was not installed
#   quietly COMMAND    runs a command; its output is shown only when it fails
#   as_root COMMAND    runs a command as root, by sudo where needed; false when it may not
#   may_be_root        whether as_root can work
#   install_packages   installs Debian packages; what apt says is shown only when it fails
#   crates_ready       fetches the crates; false, with the reason, when it cannot
#   packages_of NAME:PACKAGE...  prints the packages of those commands and files that are not there
#   llvm_profdata      prints the path of the tool that reads the counts of this compiler's programs; false without it
#   llvm_package       prints the Debian package that has that tool

rust_minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

say() {
    echo "==> $*" >&2
}

may_be_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || return
    # With a terminal sudo can ask for the password.
    [ -t 0 ] || sudo -n true 2>/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

quietly() {
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        quiet_status=$?
        cat "$log" >&2
        rm -f "$log"
        return $quiet_status
    fi
}

packages_of() {
    for pair in "$@"; do
        [ -e "${pair%%:*}" ] || command -v "${pair%%:*}" >/dev/null || printf ' %s' "${pair#*:}"
    done
}

install_packages() {
    say "installing with apt: $*"
    update_lists
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" && return
    obstacle="apt could not, for the reason above"
    [ -z "$lists_are_old" ] || lists_not_fetched
    return 1
}

# apt calls an update a success that could fetch nothing. That matters only if the package is then not found.
lists_updated= lists_are_old=
update_lists() {
    [ -z "$lists_updated" ] || return 0
    lists_updated=yes
    lists_are_old=$(as_root apt-get update -q 2>&1 | grep -E '^[EW]: ' || true)
}

lists_not_fetched() {
    echo "$lists_are_old" >&2
    obstacle="apt could not fetch its lists of packages; is there a network?"
}

toolchain_ready() {
    for directory in "$PWD/target/toolchain/bin" "${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin"; do
        case :$PATH: in
        *:"$directory":*) ;;
        *) [ -d "$directory" ] && PATH=$directory:$PATH ;;
        esac
    done
    export PATH
    rust_ready && c_ready
}

rust_ready() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return
    version=$(rustc --version 2>/dev/null) || return
    version=${version#rustc }
    new_enough "${version%%[ -]*}"
}

c_ready() {
    # mimalloc and AWS-LC are compiled by it; neither needs cmake
    command -v cc >/dev/null && echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1
}

# new_enough VERSION: at least the version that Cargo.toml asks for.
new_enough() {
    [ "$(printf '%s\n%s\n' "$rust_minimum" "$1" | sort -V | head -n 1)" = "$rust_minimum" ]
}

obstacle=
toolchain_install() {
    if ! rust_ready && command -v rustup >/dev/null; then
        use_rustup || return
    fi
    toolchain_ready && return
    if ! command -v apt-get >/dev/null; then
        obstacle="there is no apt here"
        return 1
    fi
    if ! may_be_root; then
        obstacle="I am neither root nor allowed to use sudo"
        return 1
    fi
    c_ready || install_packages gcc libc6-dev || return
    # cargo fetches over HTTPS.
    [ -e /etc/ssl/certs/ca-certificates.crt ] || install_packages ca-certificates || return
    rust_ready || install_rust || return
    toolchain_ready
}

toolchain_missing() {
    {
        echo "Segue is compiled here and now, and that needs:"
        rust_ready || echo "  - Rust $rust_minimum or newer, with cargo"
        c_ready || echo "  - a C compiler with its headers"
        echo
        echo "They were not installed: ${obstacle:-the new ones are not found in PATH}"
        echo "Once that is mended, run this again. By hand:"
        echo "  apt install gcc libc6-dev cargo-web rustc-web   (Debian 12 and 13, as root)"
        echo "  or Rust for yourself alone, from https://rustup.rs"
    } >&2
}

# Fetches the crates, so that a network that is missing is not taken for a fault of the compilation.
crates_ready() {
    quietly cargo fetch --locked --target "$(rustc -vV | sed -n 's/^host: //p')" && return
    {
        echo
        echo "The libraries that Segue is compiled with were not fetched: cargo's reason stands above. Nothing is wrong with"
        echo "the compiler. Once a network is there (behind a proxy: https_proxy=...), run this again."
    } >&2
    return 1
}

use_rustup() {
    say "rustup's default toolchain is older than $rust_minimum, or there is none: getting its newest"
    rustup toolchain install stable --profile minimal >&2 || {
        obstacle="rustup could not get a toolchain, for the reason above"
        return 1
    }
    export RUSTUP_TOOLCHAIN=stable
}

# The newest that the distribution has. Debian keeps a new Rust beside its own, for browsers, as cargo-web; Ubuntu has
# packages like cargo-1.89.
install_rust() {
    update_lists
    best= best_version=0
    for name in cargo cargo-web $(apt-cache search --names-only '^cargo-[0-9]+[.][0-9]+$' | cut -d ' ' -f 1); do
        version=$(apt-cache policy "$name" | sed -n 's/^  Candidate: \([0-9.]*\).*/\1/p')
        if [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$best_version" "$version" | sort -V | tail -n 1)" != "$best_version" ]; then
            best=$name best_version=$version
        fi
    done
    if [ -n "$best" ] && new_enough "$best_version"; then
        install_packages "$best" "rustc${best#cargo}" || return
        link_versioned "${best#cargo-}"
    elif [ -n "$(apt-cache policy rustup)" ]; then
        install_packages rustup && use_rustup
    elif [ -n "$lists_are_old" ]; then
        lists_not_fetched
        return 1
    else
        obstacle="apt has no Rust that is new enough"
        return 1
    fi
}

# Ubuntu's cargo-1.89 has no plain name.
link_versioned() {
    if ! rust_ready && [ -x "/usr/bin/cargo-$1" ]; then
        mkdir -p target/toolchain/bin
        ln -sf "/usr/bin/cargo-$1" target/toolchain/bin/cargo
        ln -sf "/usr/bin/rustc-$1" target/toolchain/bin/rustc
    fi
}

# Counts are read by the LLVM that wrote them, so it must be of the same version: rustup's own, or the distribution's.
llvm_profdata() {
    host=$(rustc -vV | sed -n 's/^host: //p')
    for path in "$(rustc --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/$(llvm_package)/bin"; do
        [ -x "$path/llvm-profdata" ] && echo "$path/llvm-profdata" && return
    done
    return 1
}

llvm_package() {
    rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/llvm-\1/p'
}
