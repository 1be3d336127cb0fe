//! Arguments in, one verdict out: `segue` and its commands.

mod admin;
mod bench_reload;
mod certs;
pub mod check;
mod complete;
mod connections;
pub mod debug;
pub mod demo;
mod demo_acme;
pub mod demo_server;
pub mod diff;
pub mod effective;
mod events;
pub mod generate;
pub mod generations;
pub mod import;
mod password;
pub mod reload;
pub mod run;
mod servers;
mod service_user;
mod shell_names;
mod socket_units;
pub mod status;
mod table;

use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::config::client_network;
use crate::config::load::settable;
use crate::control::debug::LONGEST_DEBUG;
use crate::observe::WithCauses;

/// Reverse proxy and load balancer for systemd: a reload that no client can see.
///
/// The service is proxy.service: `systemctl reload proxy` applies a changed configuration, `journalctl -u proxy` shows
/// what happened. The configuration is /etc/segue/segue.toml, see segue.toml(5).
#[derive(Debug, Parser)]
#[command(name = "segue", version = crate::sys::version(), arg_required_else_help = true, subcommand_required = true)]
#[command(after_long_help = EXIT_STATUS)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: the process that systemd starts
    ///
    /// Holds the listening sockets, starts a worker that serves, and replaces it at each reload. Sockets come from
    /// socket units by their FileDescriptorName=, or are bound where the configuration says. Runs in a terminal too,
    /// as any user. SIGHUP reloads; SIGTERM, SIGINT and SIGQUIT stop once open exchanges are finished, a second one stops
    /// at once. Other signals do nothing, also those that other proxies use or a terminal sends; a worker takes only
    /// the signals of its own faults, SIGABRT, SIGSTOP and SIGKILL.
    #[command(after_long_help = EXIT_STATUS)]
    Run(Run),
    /// Apply the configuration as it is on disk now, and wait for the verdict
    ///
    /// Starts a new generation from the installed binary and the configuration. It takes over without any connection
    /// being refused; when it is refused, or fails before it serves, the old one goes on unchanged. When neither the
    /// configuration nor the binary changed, nothing is done. A configuration without any site is refused while one
    /// serves that has some: a file that was cut short would turn every client away. Prints the verdict or every
    /// problem.
    ///
    /// For some seconds after it took over, the old generation is kept and serves again should the new one fail. With
    /// --confirm it also serves again unless `segue reload --confirmed` comes in time: for a change that may lock
    /// you out. A reload in between changes nothing about that, except for one that sets another time; only
    /// --confirmed confirms.
    #[command(after_long_help = EXIT_STATUS)]
    Reload(Reload),
    /// Check the configuration: all problems in one run
    ///
    /// Needs no root and no network, and changes nothing. For root, the configuration in /etc/segue is read with the
    /// rights of the user segue, as which the service runs: what only root may read is a problem.
    ///
    /// Variables SEGUE_... and --set are those of this command; those of the unit stand in `systemctl cat proxy`.
    #[command(after_long_help = EXIT_STATUS)]
    Check(Check),
    /// Show what a reload would change
    ///
    /// Compares the configuration on disk with the one that serves, as they take effect with the environment and the
    /// --set of the service: a line for each table, value or server that would be added, removed or changed, and one
    /// when another program is installed. The exit status is that of diff(1): 0 when there is no difference, 1 when
    /// there is one, 2 when they cannot be compared; and 78 when the configuration on disk is refused, with every
    /// problem.
    #[command(after_long_help = EXIT_STATUS)]
    Diff(Diff),
    /// Show the configuration as it takes effect
    ///
    /// Variables SEGUE_... and --set are those of this command; those of the unit stand in `systemctl cat proxy`.
    #[command(after_long_help = EXIT_STATUS)]
    Config(Effective),
    /// Make a configuration of that of HAProxy
    ///
    /// Reads a haproxy.cfg of any version from 1.4 on, prints segue.toml, and to standard error a line for each line of
    /// the input with what became of it: kept, the default here, a setting of the unit, done differently, or not
    /// supported, with what to do. Nothing is read or changed but this file.
    ///
    /// What depends on a rule that cannot be said is left out, as a comment: no client gets what HAProxy would have refused.
    /// Sites are for all listeners, so frontends that serve different hosts on different ports make several
    /// configurations, one for each --only, and several proxies.
    ///
    /// The exit status is 0 when everything could be said, 1 when something is not supported, and 78 when the file cannot be
    /// read or is no haproxy.cfg.
    #[command(after_long_help = EXIT_STATUS)]
    Import(ImportArguments),
    /// Show what runs: generations, servers, connections
    ///
    /// For root, the user of the service and members of its group, segue, as `segue generations` is. A reload is for the first
    /// two alone, and so is `segue diff`, which shows the configuration.
    ///
    /// For each generation: its state and since when, its process, the version of its binary, the hash of its
    /// configuration, and its connections: all that are open, those without an exchange, in an exchange, switched to
    /// another protocol such as WebSocket, and in TCP mode. Of a generation that accepts nothing any more also what
    /// keeps it. Then each server that is not up, since when and why. With --json there are all servers with their
    /// history, and counters, which go on over reloads and crashes of workers.
    #[command(after_long_help = format!("{}\n{EXIT_STATUS}", include_str!("status-keys.txt")))]
    Status(Status),
    /// Show every server: its state and why, what is open with it, what operators set for it
    ///
    /// As the generation that serves sees them; what is open and counted is of all generations. For root, the user of the
    /// service, members of its group and, to look, of the group segue-view.
    #[command(after_long_help = EXIT_STATUS)]
    Servers(servers::ServersArguments),
    /// Send a server no new requests; what is open with it goes on
    ///
    /// For root, the user of the service and members of its group, as the other commands that set something for a server. It
    /// holds over reloads, crashes, upgrades and restarts of the service, until `segue ready` undoes it, its time is over, or
    /// the configuration has the server no more. The journal says what was set, by which user and why.
    #[command(after_long_help = EXIT_STATUS)]
    Drain(servers::StateArguments),
    /// Take a server out for maintenance: as drain, and it is not checked
    #[command(after_long_help = EXIT_STATUS)]
    Maint(servers::StateArguments),
    /// Undo drain and maint: the server takes requests as its health says
    #[command(after_long_help = EXIT_STATUS)]
    Ready(servers::ReadyArguments),
    /// Give a server another share of the requests
    ///
    /// Until `segue weight SERVER configured` undoes it, its time is over, or the configuration has another weight for the
    /// server than it had then.
    #[command(after_long_help = EXIT_STATUS)]
    Weight(servers::WeightArguments),
    /// Show the client connections that are open, of every generation, or close one
    ///
    /// The oldest first: the id, which a connection keeps when a reload moves it, its client, how long it has been open and
    /// idle, how many exchanges and tunnels are open on it, and the oldest of them. Options that say which connections are
    /// wanted hold together. Only exchanges that have gone to a server are known by their site and server. For root, the user
    /// of the service, members of its group and, to look, of the group segue-view.
    #[command(after_long_help = EXIT_STATUS)]
    Connections(connections::ConnectionsArguments),
    /// Show what happened to the service and its servers, and with --follow what happens
    ///
    /// A line for each event that the service keeps, the last 200: when, how urgent it is, its kind, and what the journal says of
    /// it. segue-journal(7) explains each kind. With --follow new events come within two seconds, over reloads and crashes of
    /// workers and when the service starts again, until Ctrl-C: none comes twice, and that some are lost is said.
    ///
    /// For those that may look at servers, as with `segue servers`. The journal has all events, these and older ones.
    #[command(after_long_help = EXIT_STATUS)]
    Events(events::EventsArguments),
    /// Make the line for a user of the status page, for `users` of `[dashboard]`
    ///
    /// Asks for the password twice, or reads it from standard input, and prints NAME:HASH. The hash is one of Argon2id.
    #[command(after_long_help = EXIT_STATUS)]
    Password(password::PasswordArguments),
    /// Show every generation and what keeps the old ones
    ///
    /// The same table as in `segue status`.
    #[command(after_long_help = EXIT_STATUS)]
    Generations(GenerationsArguments),
    /// Show the certificates that are served
    ///
    /// For each its hosts, when it expires and in how many days, its state, the kind of its key, what issued it and its
    /// file: `good`, `expires` (30 days or less are left), `expired`, `early` (it is not valid yet), or `missing` (the
    /// sites have none). Below the table stands what is wrong with files that cannot be used; what was read from them
    /// before is served on. The files are looked at every few seconds: a certificate that is renewed needs no reload.
    #[command(after_long_help = EXIT_STATUS)]
    Certs(CertsArguments),
    /// Show exchanges of one client or one site while they go on
    ///
    /// Prints a line for each step: the request, its site and pool, the server and why it was picked, whether its
    /// connection was reused or opened, each response head, what failed and whether it is tried again, the end of the
    /// bodies, what becomes of the client's connection, and the end. Each line begins with the request id, as the journal
    /// has it, the generation, and the time since the exchange opened. Lines that begin with -- tell of generations and of
    /// lost lines.
    ///
    /// For root and the user of the service. Exchanges that open after the call are shown, of every generation, over
    /// reloads and upgrades too, until the time is over or Ctrl-C. Nothing goes to the journal. Of the fields of a message
    /// only the names are shown, of a query too, and nothing of a body: no password, cookie or token is among them. Traffic
    /// never waits for this terminal: lines that it does not take are lost, and counted.
    #[command(after_long_help = EXIT_STATUS)]
    Debug(DebugArguments),
    /// Show what clients see of the reloads of a proxy: of this one, or of any other
    ///
    /// Clients that never try again talk to a running proxy, while a command reloads it: fresh ones, with a connection for
    /// each request; busy ones, that make one request after the other on a connection; idle ones, with a request now and
    /// then; and WebSockets with --websocket. Prints for the phase before the reloads and from the first one on:
    ///
    /// LOST are requests without a whole answer: refused, reset, cut short, late, or with a status of 400 or above. CLOSED
    /// are kept connections that were closed without a word while no request was out. TOLD are answers with "Connection:
    /// close" to clients that wanted to keep the connection. TUNNELS CLOSED are WebSockets that ended. OPENED AGAIN are
    /// connections in the place of all those. The rest is how long clients waited for answers, also for those that never
    /// came. Below it is each reason with its count.
    ///
    /// It speaks HTTP/1.1, over TLS with https://. Do not run it against what you may not disturb: it is load, some 1200
    /// requests in a second unless you ask for fewer clients, and the command reloads the proxy for real.
    ///
    /// The exit status is 0 when no client saw anything, 1 when one did, 2 when nothing could be measured or a reload
    /// failed, and 130 when it was interrupted.
    #[command(after_long_help = EXIT_STATUS)]
    BenchReload(Box<bench_reload::BenchReloadArguments>),
    /// Try it out: a proxy on a free port and two servers behind it, without systemd and root
    Demo(DemoArguments),
    /// Serve one generation; started by `segue run`
    #[command(hide = true)]
    Worker,
    /// Run one of the servers of the demo; started by `segue demo`
    #[command(hide = true)]
    DemoServer {
        /// Its name in the responses.
        name: String,
    },
    /// Print names of pools or servers; called by the completions of shells
    #[command(hide = true)]
    Complete(complete::CompleteArguments),
    /// Write completions and manual pages
    #[command(hide = true)]
    Generate {
        /// Where to; made if it is missing.
        directory: PathBuf,
    },
}

/// Arguments of `segue check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The main file of the configuration, as with --config
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigArguments {
    /// The main file of the configuration; conf.d/*.toml beside it is read too
    #[arg(long, short, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Set a value over the files and the environment, as in --set log.access=all; can be given again
    #[arg(long, value_name = "KEY=VALUE", long_help = help_of_set())]
    set: Vec<String>,
}

fn help_of_set() -> String {
    let (keys, summary) = (settable(), "Set a value over the files and the environment, as in --set log.access=all");
    let (last, rest) = keys.split_last().expect("there are such keys");
    format!("{summary}; can be given again\n\nThe keys are {} and {last}.", rest.join(", "))
}

/// Which service is meant.
#[derive(Args, Debug)]
pub struct RunDir {
    /// The directory with control.sock of the running service [default: $RUNTIME_DIRECTORY or /run/segue]
    #[arg(long, value_name = "DIRECTORY")]
    run_dir: Option<PathBuf>,
}

/// Arguments of `segue run`.
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    run_dir: RunDir,
    /// How long the generation before can take over again when the new one dies after a reload
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    probation: Duration,
    /// How long a new generation may take until it is ready
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    start_timeout: Duration,
    /// How long the worker that serves may leave pings unanswered before it is replaced
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, hide = true)]
    hang_timeout: Duration,
    /// Start workers from this binary instead of this program's own path
    #[arg(long, value_name = "FILE", hide = true)]
    worker_binary: Option<PathBuf>,
    /// Continue with the state in this descriptor, which an older version of this program left in this process
    #[arg(long, value_name = "NUMBER", hide = true)]
    take_over: Option<RawFd>,
    /// Only report whether this program could continue with such a state, read from standard input
    #[arg(long, hide = true, conflicts_with = "take_over")]
    rehearse: bool,
}

/// Arguments of `segue reload`.
#[derive(Args, Debug)]
pub struct Reload {
    #[command(flatten)]
    run_dir: RunDir,
    /// How long to wait for the verdict
    #[arg(long, value_name = "TIME", default_value = "80s", value_parser = duration)]
    timeout: Duration,
    /// Make a new generation in any case: even if nothing changed, and even if it takes the last site away
    ///
    /// A configuration that has a problem is refused all the same.
    #[arg(long)]
    force: bool,
    /// Go back to the old generation after this time (at most 1h), unless `segue reload --confirmed` comes first
    #[arg(long, value_name = "TIME", value_parser = time_to_confirm)]
    confirm: Option<Duration>,
    /// Keep the generation that a reload with --confirm brought; nothing is reloaded
    #[arg(long, conflicts_with_all = ["force", "confirm"])]
    confirmed: bool,
}

/// Arguments of `segue import`.
#[derive(Args, Debug)]
pub struct ImportArguments {
    /// The haproxy.cfg; - for standard input
    file: PathBuf,
    /// Import this frontend or listen section only, with the backends that it leads to; can be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// Arguments of `segue status`.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    run_dir: RunDir,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `segue generations`.
#[derive(Args, Debug)]
pub struct GenerationsArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Again each second, until Ctrl-C or the end of the service
    #[arg(long, short)]
    watch: bool,
    /// As JSON; with --watch one line each second
    #[arg(long)]
    json: bool,
}

/// Arguments of `segue demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Show an automatic certificate too, of a certificate authority for tests (Debian's pebble)
    #[arg(long)]
    acme: bool,
}

/// Arguments of `segue certs`.
#[derive(Args, Debug)]
pub struct CertsArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `segue debug`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["client", "site"]))]
pub struct DebugArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Exchanges of this client, or of all in this network, as in --client 10.0.0.7 or --client 10.0.0.0/8
    ///
    /// A client is known by its address: the one that a trusted proxy names, or the peer. With --site too, both must be met.
    #[arg(long, value_name = "ADDRESS", value_parser = client_network)]
    client: Option<IpNet>,
    /// Exchanges of the site with this name in the configuration, or for this host
    #[arg(long, value_name = "HOST")]
    site: Option<String>,
    /// For how long, 10m at most
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = time_to_debug)]
    lasts: Duration,
}

/// Arguments of `segue diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// The main file of the configuration; conf.d/*.toml beside it is read too [default: the one that serves]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    run_dir: RunDir,
}

/// Arguments of `segue config`.
#[derive(Args, Debug)]
pub struct Effective {
    #[command(flatten)]
    config: ConfigArguments,
    /// The main file of the configuration, as with --config
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The whole configuration with every default, each value with its origin: what is shown in any case
    #[arg(long)]
    effective: bool,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Reload(arguments) => reload::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Config(arguments) => effective::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Servers(arguments) => servers::run(arguments),
        Command::Drain(arguments) => servers::drain(arguments),
        Command::Maint(arguments) => servers::maint(arguments),
        Command::Ready(arguments) => servers::ready(arguments),
        Command::Weight(arguments) => servers::set_weight(arguments),
        Command::Connections(arguments) => connections::run(arguments),
        Command::Events(arguments) => events::run(arguments),
        Command::Password(arguments) => password::run(&arguments),
        Command::Generations(arguments) => generations::run(arguments),
        Command::Certs(arguments) => certs::run(arguments),
        Command::Debug(arguments) => debug::run(arguments),
        Command::BenchReload(arguments) => bench_reload::run(&arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::DemoServer { name } => demo_server::run(&name),
        Command::Worker => crate::worker::run(),
        Command::Complete(arguments) => complete::run(&arguments),
        Command::Generate { directory } => generate::run(&directory),
    }
}

impl RunDir {
    /// The directory of the command line, else the one that systemd made for the service, else its usual path.
    fn path(self) -> PathBuf {
        let of_systemd = || std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        self.run_dir.or_else(of_systemd).unwrap_or_else(|| PathBuf::from("/run/segue"))
    }
}

/// Writes to standard output. One that is closed, as by `segue status | head`, is no fault.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|fault| format!("{fault}; write for example \"3s\" or \"500ms\""))
}

/// The main file that the package brings.
const CONFIG: &str = "/etc/segue/segue.toml";

fn time_to_confirm(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time > Duration::from_secs(3600) => Err("an hour is the longest".to_owned()),
        Duration::ZERO => Err("there must be time to confirm; write for example \"60s\"".to_owned()),
        time => Ok(time),
    }
}

fn time_to_debug(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time > LONGEST_DEBUG => Err("ten minutes, \"10m\", is the longest".to_owned()),
        Duration::ZERO => Err("there must be time to see anything; write for example \"1m\"".to_owned()),
        time => Ok(time),
    }
}

/// An error with its causes on standard error, in one line.
fn complain(fault: &dyn std::error::Error) {
    eprintln!("segue: {}", WithCauses(fault));
}

const EXIT_STATUS: &str = "\
Exit status:
  0   done; for reload: the new generation serves, or nothing changed
  1   failed; for reload: refused, and the old generation goes on; or there is nothing to confirm;
      for diff: there are differences; for import: something is not supported; for bench-reload: a client saw something
  2   the command line is wrong; for diff: there is nothing to compare with; for bench-reload: nothing was shown
  78  the configuration is refused (EX_CONFIG); systemd does not try again

Files:
  /etc/segue/segue.toml, /etc/segue/conf.d/*.toml  the configuration, see segue.toml(5)
  /run/segue/control.sock, /run/segue/admin.sock   where the running service is asked";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_key_that_can_be_set() {
        let mut cli = Cli::command();
        let run = cli.find_subcommand_mut("run").expect("a command").render_long_help().to_string();
        let words: Vec<_> = run.split([' ', ',', '\n']).map(|word| word.trim_end_matches('.')).collect();
        for key in settable() {
            assert!(words.contains(&key.as_str()), "{key} in\n{run}");
        }
    }

    #[test]
    fn check_and_config_take_a_file_with_and_without_a_flag() {
        for arguments in [
            &["segue", "check", "x.toml"][..],
            &["segue", "check", "--config", "x.toml"],
            &["segue", "config"],
            &["segue", "config", "x.toml"],
            &["segue", "config", "--effective", "-c", "x.toml"],
        ] {
            Cli::try_parse_from(arguments).unwrap_or_else(|fault| panic!("{arguments:?}: {fault}"));
        }
        Cli::try_parse_from(["segue", "check", "x.toml", "-c", "y.toml"]).expect_err("two files");
    }

    #[test]
    fn a_typo_gets_a_suggestion() {
        let fault = Cli::try_parse_from(["segue", "relaod"]).expect_err("unknown");
        assert!(fault.to_string().contains("'reload'"), "{fault}");
        let fault = Cli::try_parse_from(["segue", "run", "--probatoin", "3s"]).expect_err("unknown");
        assert!(fault.to_string().contains("'--probation'"), "{fault}");
        let fault = Cli::try_parse_from(["segue", "run", "--probation", "3"]).expect_err("no unit");
        assert!(fault.to_string().contains("3s"), "{fault}");
    }

    #[test]
    fn a_client_that_cannot_be_one_is_refused_with_what_to_write() {
        for (arguments, said) in [
            (&["--client", "10.0.0.300"][..], "300 is"),
            (&["--client", "10.0.0"], "write for example"),
            (&["--client", "10.0.0.7:443"], "write \"10.0.0.7\""),
            (&["--client", "10.0.0.*"], "write \"10.0.0.0/24\""),
            (&["--client", "10.0.0.7", "--for", "1h"], "ten minutes"),
            (&["--client", "10.0.0.7", "--for", "60"], "write for example"),
            (&["--for", "1m"], "--client"),
            (&["--clinet", "10.0.0.7"], "'--client'"),
        ] {
            let all = ["segue", "debug"].iter().chain(arguments);
            let fault = Cli::try_parse_from(all).expect_err("no client").to_string();
            assert!(fault.contains(said), "{arguments:?}: {fault}");
        }
        let shown = |text| client_network(text).expect("a network").to_string();
        assert_eq!(shown("10.0.0.7/8"), "10.0.0.0/8");
        assert_eq!(shown("::ffff:10.0.0.7"), "10.0.0.7/32");
    }
}
