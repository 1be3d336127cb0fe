//! The part of the completion scripts that clap_complete does not write: names of pools and servers, which `segue complete` gives.
//!
//! They are completed where an argument of a command is called `pool` or `server`.

use std::fmt::Write as _;

use clap::{Arg, Command};
use clap_complete::Shell;

/// The command as clap_complete is to see it. In bash it offers the places of arguments as if they were words.
pub(super) fn as_completed(shell: Shell, command: &Command) -> Command {
    if shell != Shell::Bash {
        return command.clone();
    }
    let name: &'static str = command.get_name().to_owned().leak();
    Command::new(name)
        .about(command.get_about().cloned().unwrap_or_default())
        .version(command.get_version().map(|_| crate::sys::version()))
        .args(command.get_arguments().filter(|argument| !argument.is_positional()))
        .subcommands(command.get_subcommands().map(|one| as_completed(shell, one)))
}

/// The script with names.
pub(super) fn complete(shell: Shell, script: &str, command: &Command) -> String {
    match shell {
        Shell::Bash => format!("{script}\n{}", bash(command)),
        Shell::Zsh => zsh(script),
        _ => format!("{script}{}", fish(command)),
    }
}

/// What `segue complete` is asked for, for an argument of a command.
fn kind(command: &str, argument: &str) -> Option<&'static str> {
    match (command, argument) {
        (_, "pool") => Some("pools"),
        ("ready", "server") => Some("out-servers"),
        (_, "server") => Some("servers"),
        _ => None,
    }
}

/// Each command and argument that is completed, with the kind of its names.
fn completed(command: &Command) -> Vec<(&str, &Arg, &'static str)> {
    let commands = command.get_subcommands().map(|one| (one.get_name(), one));
    let arguments = commands.flat_map(|(name, one)| one.get_arguments().map(move |argument| (name, argument)));
    arguments.filter_map(|(name, argument)| Some((name, argument, kind(name, argument.get_id().as_str())?))).collect()
}

fn bash(command: &Command) -> String {
    let mut cases = String::new();
    for (name, argument, kind) in completed(command) {
        let place = argument.get_long().map_or_else(|| "1".to_owned(), |long| format!("--{long}"));
        let _ = writeln!(cases, "        {name}:{place}) what={kind} ;;"); // a string takes everything
    }
    let arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let with_values = arguments.filter(|one| one.get_action().takes_values());
    let mut options: Vec<String> = with_values.filter_map(|one| Some(format!("--{}", one.get_long()?))).collect();
    options.sort();
    options.dedup();
    BASH.replace("CASES\n", &cases).replace("OPTIONS", &options.join(" | "))
}

/// Bash breaks words at ':' and '=', and an address has the one, an option the other: the pieces are joined again, and what is
/// left of the last break is not repeated in the answer.
const BASH: &str = r#"_segue_names() {
    local words=() rest=$COMP_LINE part index
    for ((index = 0; index <= COMP_CWORD; index++)); do
        part=${COMP_WORDS[index]}
        if [[ $index == 0 || $rest == [[:space:]]* ]]; then
            words+=("$part")
        else
            words[${#words[@]} - 1]+=$part
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$part"}
    done
    local current=${words[${#words[@]} - 1]} command= option= given=1 run_dir=() word what=
    for word in "${words[@]:1:${#words[@]} - 2}"; do
        if [[ -n $option ]]; then
            [[ $option != --run-dir ]] || run_dir=(--run-dir "$word")
            option=
            continue
        fi
        case $word in
        --run-dir=*) run_dir=("$word") ;;
        OPTIONS) option=$word ;;
        -*) ;;
        *) if [[ -z $command ]]; then command=$word; else given=$((given + 1)); fi ;;
        esac
    done
    if [[ -z $option && $current == --*=* ]]; then
        option=${current%%=*} current=${current#*=}
    elif [[ -z $option && $current == -* ]]; then
        given=
    fi
    case $command:${option:-$given} in
CASES
    esac
    if [[ -z $what ]]; then
        _segue "$@"
        return
    fi
    # a name that is not known is no file either
    compopt +o default +o bashdefault 2>/dev/null
    mapfile -t COMPREPLY < <("$1" complete "$what" "${run_dir[@]}" -- "$current" 2>/dev/null)
    if [[ $COMP_WORDBREAKS == *:* && $current == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${current%:*}:"}")
    fi
}

complete -F _segue_names -o nosort -o bashdefault -o default segue
"#;

/// An argument stands there in a line of its command, and what completes it at the end of the line.
fn zsh(script: &str) -> String {
    let (mut command, mut named) = ("", String::new());
    for line in script.lines() {
        if let Some(label) = line.strip_prefix('(').and_then(|line| line.strip_suffix(')')) {
            command = label;
        }
        let argument = ["pool", "server"].into_iter().find(|argument| {
            [format!("':{argument} -- "), format!("'::{argument} -- "), format!("'--{argument}=[")]
                .iter()
                .any(|begin| line.starts_with(begin.as_str()))
        });
        match (argument.and_then(|argument| kind(command, argument)), line.strip_suffix(":_default' \\")) {
            (Some(kind), Some(begin)) => {
                let _ = writeln!(named, "{begin}:{{_segue_names {kind}}}' \\");
            }
            _ => named = named + line + "\n",
        }
    }
    let end = named.rfind("if [ \"$funcstack[1]\" = \"_segue\" ]; then").unwrap_or(named.len());
    format!("{}{ZSH}\n{}", &named[..end], &named[end..])
}

const ZSH: &str = r#"_segue_names() {
    local -a names run_dir
    local index=${words[(i)--run-dir]}
    if (( index < CURRENT - 1 )); then run_dir=(--run-dir $words[index+1]); fi
    names=(${(f)"$(segue complete $1 $run_dir -- "$PREFIX" 2>/dev/null)"})
    compadd -a names
}
"#;

fn fish(command: &Command) -> String {
    let mut script = FISH.to_owned();
    for (name, argument, kind) in completed(command) {
        let option = argument.get_long().map_or_else(String::new, |long| format!(" -l {long} -r"));
        let place = if option.is_empty() { "; and __fish_segue_first" } else { "" };
        let _ = writeln!(
            script,
            "complete -c segue -n \"__fish_segue_using_subcommand {name}{place}\"{option} -f -a \"(__fish_segue_names {kind})\""
        );
    }
    script
}

/// A server is the first argument of a command: what comes behind it is none.
const FISH: &str = r#"
function __fish_segue_first
    set -l words (commandline -opc)
    set -l plain 0
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -r -- '^--(run-dir|for|reason)$' $word
            set skip 1
        else if not string match -q -- '-*' $word
            set plain (math $plain + 1)
        end
    end
    test $plain = 1 -a $skip = 0
end

function __fish_segue_names
    set -l run_dir
    set -l words (commandline -opc)
    if set -l index (contains -i -- --run-dir $words)
        set run_dir --run-dir $words[(math $index + 1)]
    end
    segue complete $argv[1] $run_dir -- (commandline -ct | string replace -r -- '^--[a-z-]+=' '') 2>/dev/null
end

"#;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_shell_completes_each_name() {
        let command = Cli::command();
        let commands: Vec<_> = completed(&command)
            .into_iter()
            .map(|(name, argument, kind)| (name, argument.get_long().is_some(), kind))
            .collect();
        for one in [
            ("servers", false, "pools"),
            ("drain", false, "servers"),
            ("maint", false, "servers"),
            ("ready", false, "out-servers"),
            ("weight", false, "servers"),
            ("events", true, "pools"),
            ("events", true, "servers"),
        ] {
            assert!(commands.contains(&one), "{one:?} in {commands:?}");
        }
        let script = |shell| {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut as_completed(shell, &command), "segue", &mut script);
            complete(shell, &String::from_utf8_lossy(&script), &command)
        };
        let count = |script: &str, text: &str| script.matches(text).count();
        let zsh = script(Shell::Zsh);
        assert_eq!(count(&zsh, ":{_segue_names "), commands.len(), "{zsh}");
        assert!(zsh.contains("_segue_names() {"));
        assert_eq!(count(&script(Shell::Fish), "(__fish_segue_names "), commands.len());
        let bash = script(Shell::Bash);
        assert_eq!(count(&bash, ") what="), commands.len(), "{bash}");
        assert!(bash.contains("--run-dir | ") && !bash.contains("OPTIONS") && !bash.contains("CASES"), "{bash}");
    }
}
