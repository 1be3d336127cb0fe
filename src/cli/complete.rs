//! `segue complete`: names of pools and servers, one a line, for the completions of shells.
//!
//! They are those of the service that runs, for a user that may look, else those of the configuration. What goes wrong says nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use tokio::time::timeout;

use super::admin::{ask, block_on};
use super::{CONFIG, RunDir, print};
use crate::admin::peer::AdminPeer;
use crate::admin::servers::ServerList;
use crate::config::load::Sources;
use crate::control::admin::ADMIN_SOCKET;

/// A shell waits for the answer.
const DEADLINE: Duration = Duration::from_millis(300);

/// Arguments of `segue complete`.
#[derive(Args, Debug)]
pub struct CompleteArguments {
    /// What is completed
    what: CompletedKind,
    /// What is written so far
    #[arg(default_value = "", allow_hyphen_values = true)]
    word: String,
    #[command(flatten)]
    run_dir: RunDir,
    /// The main file of the configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

/// Names of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompletedKind {
    Pools,
    Servers,
    /// Servers that an operator took out of use.
    OutServers,
}

/// A server that may be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CompletedServer {
    pool: String,
    name: String,
    is_out: bool,
}

/// Prints the names that begin with the word.
#[must_use]
pub fn run(arguments: &CompleteArguments) -> ExitCode {
    let CompleteArguments { what, word, run_dir, config } = arguments;
    let run_dir = RunDir { run_dir: run_dir.run_dir.clone() }.path();
    let known = running(&run_dir).unwrap_or_else(|| configured(config));
    print(&names(*what, word, &known).into_iter().map(|name| name + "\n").collect::<String>())
}

/// The servers of the service that runs. A user that may not look does not ask: the journal would say that it was refused.
fn running(run_dir: &Path) -> Option<Vec<CompletedServer>> {
    let socket = std::fs::metadata(run_dir.join(ADMIN_SOCKET)).ok()?;
    if !AdminPeer::may_look_at((socket.uid(), socket.gid())) {
        return None;
    }
    let asked = block_on(async { timeout(DEADLINE, ask(run_dir, Method::GET, "/v1/servers", None)).await.ok() });
    let list: ServerList = serde_json::from_slice(&asked.ok()??.ok()?).ok()?;
    let servers = list.pools.into_iter().flat_map(|pool| {
        pool.servers.into_iter().filter(|server| !server.status.removed).map(move |server| CompletedServer {
            pool: pool.name.clone(),
            name: server.status.name,
            is_out: server.status.admin.iter().any(|set| set.field == "state"),
        })
    });
    Some(servers.collect())
}

/// Those of the configuration.
fn configured(main: &Path) -> Vec<CompletedServer> {
    let config = Sources::read(main, &[]).ok().and_then(|sources| sources.check().config);
    let pools = config.map(|config| config.pools).unwrap_or_default();
    let servers = pools.into_iter().flat_map(|pool| {
        let name = pool.name;
        // what is set for a server is not known here
        pool.servers.into_iter().map(move |server| CompletedServer {
            pool: name.clone(),
            name: server.name,
            is_out: true,
        })
    });
    servers.collect()
}

/// The names that begin with `word`: a server with its pool only where that is needed or asked for.
fn names(what: CompletedKind, word: &str, known: &[CompletedServer]) -> Vec<String> {
    let fitting = |names: Vec<String>| -> Vec<String> {
        names.into_iter().filter(|name| name.starts_with(word) && name.chars().all(is_plain)).collect()
    };
    if what == CompletedKind::Pools {
        let mut pools: Vec<String> = known.iter().map(|server| server.pool.clone()).collect();
        pools.dedup();
        return fitting(pools);
    }
    let is_single = |server: &CompletedServer| known.iter().filter(|other| other.name == server.name).count() == 1;
    let servers = || known.iter().filter(|server| what == CompletedKind::Servers || server.is_out);
    let with_pool = |server: &CompletedServer| format!("{}/{}", server.pool, server.name);
    let short = servers().map(|server| if is_single(server) { server.name.clone() } else { with_pool(server) });
    match fitting(short.collect()) {
        none if none.is_empty() => fitting(servers().map(with_pool).collect()),
        some => some,
    }
}

/// What no shell takes for anything else.
fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || "._:/[]%@+,-".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_as_short_as_it_can_be_and_with_its_pool_where_that_is_begun() {
        let server =
            |pool: &str, name: &str, is_out| CompletedServer { pool: pool.to_owned(), name: name.to_owned(), is_out };
        let known = [
            server("api", "10.0.0.1:80", false),
            server("farm", "10.0.0.1:80", true),
            server("farm", "10.0.0.2:80", true),
            server("farm", "odd;name", true),
            server("*.example.com", "10.0.0.3:80", false),
        ];
        let servers = |word| names(CompletedKind::Servers, word, &known);
        assert_eq!(servers("10."), ["10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(servers("10.0.0.2:"), ["10.0.0.2:80"]);
        assert_eq!(servers("fa"), ["farm/10.0.0.1:80"]);
        assert_eq!(servers("farm/10.0.0.2"), ["farm/10.0.0.2:80"]);
        assert_eq!(servers(""), ["api/10.0.0.1:80", "farm/10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(names(CompletedKind::OutServers, "", &known), ["farm/10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(names(CompletedKind::Pools, "", &known), ["api", "farm"]);
        assert_eq!(names(CompletedKind::Pools, "f", &known), ["farm"]);
    }

    #[test]
    fn without_a_service_and_a_configuration_there_is_nothing_to_say() {
        let nowhere = tempfile::tempdir().expect("directory");
        assert_eq!(running(nowhere.path()), None);
        assert_eq!(configured(&nowhere.path().join("segue.toml")), []);
    }
}
