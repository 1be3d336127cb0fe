//! Completion of names: what the scripts of the package make of a line, and where the names come from.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::admin::Farm;
use crate::support::SEGUE;

/// What bash is offered at the end of this line, with the words as it breaks them.
const COMPLETE: &str = r#"
source "$1/completions/segue.bash"
COMP_LINE=$2 COMP_POINT=${#2}
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_segue_names "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// The words of a line, as bash has them in `COMP_WORDS`.
fn broken(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let mut rest = word;
        while let Some(at) = rest.find([':', '=']) {
            words.extend([&rest[..at], &rest[at..=at]].into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() || word.is_empty() {
            words.push(rest.to_owned());
        }
    }
    words
}

/// What bash offers behind `segue` and this line.
#[track_caller]
fn offered(scripts: &Path, line: &str) -> Vec<String> {
    let line = format!("{SEGUE} {line}");
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", COMPLETE, "bash"]).arg(scripts).arg(&line).args(broken(&line)).stdin(Stdio::null());
    let output = command.output().expect("bash");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_is_offered_the_names_of_the_proxy_that_runs() {
    let farm = Farm::new();
    let _service = farm.run.start();
    let scripts = farm.run.path("generated");
    let made = Command::new(SEGUE).arg("generate").arg(&scripts).status().expect("segue");
    assert!(made.success());
    let at = |line: &str| offered(&scripts, &line.replace("RUN", &farm.run.run_dir().display().to_string()));
    let (one, other) = (farm.name(), farm.other.address.to_string());
    let both = [one.clone(), other.clone()];

    assert_eq!(at("servers --run-dir RUN "), ["farm"]);
    assert_eq!(at("servers --run-dir RUN x"), [""; 0]);
    for command in ["drain", "maint", "weight"] {
        assert_eq!(at(&format!("{command} --run-dir RUN ")), both, "{command}");
    }
    assert_eq!(at("drain --run-dir=RUN --for 30m 127."), both);
    let (host, port) = one.split_once(':').expect("a port");
    assert_eq!(at(&format!("drain --run-dir RUN {host}:")), [port], "behind the break of a word");
    assert_eq!(at(&format!("drain --run-dir RUN {host}:{}", &port[..2])), [port]);
    assert_eq!(at(&format!("drain --run-dir RUN farm/{host}:")), [port]);
    assert_eq!(at("maint --run-dir RUN fa"), both.clone().map(|server| format!("farm/{server}")));
    assert_eq!(at("events --run-dir RUN --pool "), ["farm"]);
    assert_eq!(at("events --run-dir RUN --pool=f"), ["farm"]);
    assert_eq!(at("events --run-dir RUN --server "), both);

    assert_eq!(at("ready --run-dir RUN "), [""; 0], "none is out of use");
    farm.segue(&["maint", &other]);
    assert_eq!(at("ready --run-dir RUN "), [other]);
    assert!(at("drain --run-dir RUN --").contains(&"--reason".to_owned()));
    assert!(at("dra").contains(&"drain".to_owned()));
    assert_eq!(at(&format!("weight --run-dir RUN {one} ")).iter().filter(|word| both.contains(word)).count(), 0);
}

#[test]
fn names_are_those_of_the_file_when_it_does_not_run_and_nothing_is_said_of_what_goes_wrong() {
    let farm = Farm::new();
    let config = farm.run.config();
    let complete = |what: &str, config: &Path| {
        let output = farm.run.segue(&["complete", what, "--config", &config.display().to_string()]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(complete("pools", &config), "farm\n");
    assert_eq!(complete("servers", &config), format!("{}\n{}\n", farm.name(), farm.other.address));
    assert_eq!(complete("servers", Path::new("/nowhere/segue.toml")), "");
    farm.run.configure("[pool.farm\n");
    assert_eq!(complete("pools", &config), "");
}
