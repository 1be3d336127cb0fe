//! `segue generate`: completions and manual pages, written when the package is built.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Generator as _, Shell};
use clap_mangen::Man;

use super::{Cli, complain, shell_names};
use crate::config::manual::segue_toml_5;

/// Writes `completions/` and `man/` into `directory`.
#[must_use]
pub fn run(directory: &Path) -> ExitCode {
    match completions(&directory.join("completions")).and_then(|()| manual(&directory.join("man"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            complain(&fault);
            ExitCode::FAILURE
        }
    }
}

fn completions(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let command = shown(&Cli::command());
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut shell_names::as_completed(shell, &command), "segue", &mut script);
        let script = shell_names::complete(shell, &String::from_utf8_lossy(&script), &command);
        std::fs::write(directory.join(shell.file_name("segue")), script)?;
    }
    Ok(())
}

/// The command without its hidden parts, which clap_complete would offer.
fn shown(command: &clap::Command) -> clap::Command {
    // clap needs names that live as long as the program, which ends soon
    let name: &'static str = command.get_name().to_owned().leak();
    let version = command.get_version().map(|_| crate::sys::version());
    clap::Command::new(name)
        .about(command.get_about().cloned().unwrap_or_default())
        .version(version)
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(shown))
}

/// One page for the program, one for each command that is not hidden, one for the configuration.
fn manual(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    // "segue help" has no page, and would be listed with one
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let shown: Vec<_> = cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let names = shown.iter().map(|command| format!("segue-{}", command.get_name())).collect::<Vec<_>>();
    for command in shown {
        let name = format!("segue-{}", command.get_name());
        // build() gave it "segue run" for a name, which makes a poor title of a page
        page(directory, command.display_name(&name), &name, &see_also(&["segue".to_owned()]))?;
    }
    page(directory, cli, "segue", &format!("{EXAMPLES}{}", see_also(&names)))?;
    std::fs::write(directory.join("segue.toml.5"), segue_toml_5())
}

/// Common tasks, each with its command.
const EXAMPLES: &str = include_str!("examples.1");

/// The pages of section 1 named, and those that belong to all.
fn see_also(names: &[String]) -> String {
    let others = [("segue.toml", 5), ("segue-journal", 7), ("systemd.socket", 5), ("journalctl", 1), ("systemctl", 1)];
    let names = names.iter().map(|name| (name.as_str(), 1));
    let all: Vec<_> =
        names.chain(others).map(|(name, section)| format!(".BR {} ({section})", name.replace('-', "\\-"))).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", all.join(",\n"))
}

/// The page of a command, and `more` at its end.
fn page(directory: &Path, command: clap::Command, name: &str, more: &str) -> io::Result<()> {
    let mut roff = Vec::new();
    let source = format!("segue {}", crate::sys::version());
    Man::new(command).title(name.to_uppercase()).section("1").source(source).manual("Segue").render(&mut roff)?;
    roff.extend_from_slice(more.as_bytes());
    std::fs::write(directory.join(format!("{name}.1")), roff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_a_completion_for_each_shell() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(run(directory.path()), ExitCode::SUCCESS);
        for file in [
            "segue.1",
            "segue-run.1",
            "segue-reload.1",
            "segue-check.1",
            "segue-status.1",
            "segue-diff.1",
            "segue-certs.1",
            "segue-generations.1",
            "segue-import.1",
            "segue-debug.1",
            "segue-bench-reload.1",
            "segue.toml.5",
        ] {
            assert!(directory.path().join("man").join(file).exists(), "{file}");
        }
        for file in ["segue.bash", "_segue", "segue.fish"] {
            assert!(directory.path().join("completions").join(file).exists(), "{file}");
        }
        assert!(!directory.path().join("man/segue-worker.1").exists());
        let page = std::fs::read_to_string(directory.path().join("man/segue.1")).expect("page");
        assert!(page.contains("78"), "exit codes are documented");
        assert!(page.contains(".SH EXAMPLES") && page.contains("segue\\-journal (7)"), "{page}");
    }

    #[test]
    fn every_command_among_the_examples_is_one() {
        let lines = EXAMPLES.lines().filter(|line| line.starts_with("segue "));
        let words = |line: &str| -> Vec<String> {
            let quoted = line.split('"').enumerate();
            let words = quoted.flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            words.map(str::to_owned).collect()
        };
        let commands: Vec<Vec<String>> = lines.map(|line| words(&line.replace("\\-", "-"))).collect();
        assert!(commands.len() >= 6, "{commands:?}");
        for command in commands {
            Cli::command().try_get_matches_from(&command).unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        }
    }

    #[test]
    fn what_the_program_alone_uses_is_neither_completed_nor_documented() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(run(directory.path()), ExitCode::SUCCESS);
        for file in
            ["completions/segue.bash", "completions/_segue", "completions/segue.fish", "man/segue.1", "man/segue-run.1"]
        {
            let text = std::fs::read_to_string(directory.path().join(file)).expect("file");
            assert!(text.contains("generations") || text.contains("probation"), "{file}");
            for hidden in [
                "'complete'",
                "segue,complete",
                "worker-binary",
                "take-over",
                "rehearse",
                "demo-server",
                "segue\\-help(1)",
            ] {
                assert!(!text.contains(hidden), "{hidden} in {file}");
            }
        }
    }
}
