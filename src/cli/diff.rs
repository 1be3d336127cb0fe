//! `segue diff`: what a reload would change, in words.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::check::Verdict;
use super::reload::{not_asked, unexpected};
use super::status::TIMEOUT;
use super::{Diff, complain, print, service_user};
use crate::config::Config;
use crate::config::diff::diff;
use crate::config::load::{Checked, Sources};
use crate::control::message::Serves;
use crate::control::payload::Payload;
use crate::control::request::{ControlReply, ServedSources, Wish, ask, ask_for};
use crate::control::status::{AdminStatus, ServiceStatus};
use crate::observe::Plain;

/// Prints a line for each thing that is different on disk. The exit code is 0 when nothing is, 1 when something is, 78
/// when the configuration on disk is refused, and 2 when there is nothing to compare it with.
#[must_use]
pub fn run(arguments: Diff) -> ExitCode {
    let Diff { config, run_dir } = arguments;
    let run_dir = run_dir.path();
    let Some((served, serving)) = ask_what_serves(&run_dir) else {
        return ExitCode::from(FAILED);
    };
    let Some(from) = serving.check().config else {
        eprintln!("segue: the configuration of generation {} is none for this version of segue", served.generation);
        return ExitCode::from(FAILED);
    };
    let main = config.unwrap_or_else(|| PathBuf::from(&serving.main.path));
    let set = match ask(&run_dir, Wish::Status, TIMEOUT) {
        Ok(ControlReply::Status(status)) => *status,
        _ => ServiceStatus::default(), // it has just gone; the differences are the same
    };
    match on_disk(&main, &serving) {
        Ok(to) => print_differences(&served, &from, &to, undone(&set, &to)),
        Err(problems) => problems.print(),
    }
}

/// The sources of the configuration that serves; says why there are none.
pub(super) fn ask_what_serves(run_dir: &Path) -> Option<(ServedSources, Sources)> {
    let (reply, sources) = ask_for(run_dir, Wish::Sources, TIMEOUT).map_err(|fault| not_asked(&fault)).ok()?;
    match (reply, sources) {
        (ControlReply::Sources(served), Some(sources)) => {
            let sources = read(&sources).map_err(|fault| complain(&*fault)).ok()?;
            Some((served, sources))
        }
        (reply, _) => {
            unexpected(&reply);
            None
        }
    }
}

fn read(sources: &Payload) -> Result<Sources, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&sources.read()?)?)
}

/// The configuration that a reload would read. Variables and flags are those of the service: they stay as long as it
/// runs, whatever they are here.
fn on_disk(main: &Path, serving: &Sources) -> Result<Config, Verdict> {
    let sources = service_user::sources(main, &serving.flags);
    let sources = sources.map(|read| Sources { variables: serving.variables.clone(), ..read });
    let checked = sources.map(|sources| sources.check());
    match checked {
        Ok(Checked { config: Some(config), .. }) => Ok(config),
        refused => Err(Verdict::of(main, refused)),
    }
}

fn print_differences(served: &ServedSources, from: &Config, to: &Config, undone: Vec<String>) -> ExitCode {
    let mut lines = words(served, diff(from, to));
    lines.extend(undone);
    let different = !lines.is_empty();
    let summary = match lines.len() {
        0 => format!("no difference: a reload would leave generation {} as it is", served.generation),
        1 => format!("1 difference to generation {}, which serves", served.generation),
        many => format!("{many} differences to generation {}, which serves", served.generation),
    };
    let text: String = lines.into_iter().chain([summary]).map(|line| line + "\n").collect();
    let printed = print(&text);
    if Serves::from(to).lost(Serves::from(from)) {
        eprintln!("warning: nothing is left for clients: a reload refuses this, and `segue reload --force` does it");
    }
    if different && printed == ExitCode::SUCCESS { ExitCode::from(DIFFERENT) } else { printed }
}

/// What operators have set for servers and a reload would undo: `to` has the server no more, or another weight for it.
fn undone(status: &ServiceStatus, to: &Config) -> Vec<String> {
    let pools = status.serving_worker().map_or(&[][..], |worker| &worker.pools);
    let mut lines = Vec::new();
    for (pool, server) in pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| (pool, server))) {
        let next = to.pools.iter().filter(|next| next.name == pool.name).flat_map(|pool| &pool.servers);
        let weight = next.filter(|next| next.name == server.name).map(|next| next.weight).next();
        let is_undone = |set: &AdminStatus| weight.is_none() || set.field == "weight" && weight != Some(server.weight);
        for set in server.admin.iter().filter(|set| is_undone(set)) {
            let [pool, server, words] = [&pool.name, &server.name, &set.words()].map(|text| Plain(text).to_string());
            lines.push(format!("pool {pool}, server {server}: would undo {words}"));
        }
    }
    lines
}

/// A difference of the program comes first: another program may read the same configuration in another way.
fn words(served: &ServedSources, lines: Vec<String>) -> Vec<String> {
    let program = served.another_program.then(|| {
        let ServedSources { version, generation, .. } = served;
        format!("program: another one is installed than generation {generation} runs, which is version {version}")
    });
    program.into_iter().chain(lines).collect()
}

const DIFFERENT: u8 = 1;
const FAILED: u8 = 2;
