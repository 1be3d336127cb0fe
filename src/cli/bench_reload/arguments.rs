//! The command line of `segue bench-reload`.

use std::time::Duration;

use clap::{ArgGroup, Args, value_parser};
use http::StatusCode;
use http::uri::PathAndQuery;

use super::super::duration;
use super::url::{BenchUrl, path};

/// Arguments of `segue bench-reload`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("when").required(true).args(["reload", "lasts"]))]
pub struct BenchReloadArguments {
    /// What the clients ask for, as in http://127.0.0.1:8080/path; https too
    pub(super) url: BenchUrl,
    /// The command that reloads the proxy, for `sh -c`, as in --reload "systemctl reload haproxy"
    ///
    /// Segue does nothing at a reload when nothing changed: for it that is --reload "segue reload --force". When the command
    /// exits with another status than 0 the reload has failed, and the end of what it printed is shown.
    #[arg(long, value_name = "COMMAND")]
    pub(super) reload: Option<String>,
    /// How often it runs, 1000 at most
    #[arg(long, value_name = "NUMBER", default_value_t = 5, conflicts_with = "lasts", value_parser = value_parser!(u32).range(1..=1000))]
    pub(super) times: u32,
    /// From one begin of it to the next; a command that takes longer delays the next one
    #[arg(long, value_name = "TIME", default_value = "1s", conflicts_with = "lasts", value_parser = up_to_an_hour)]
    pub(super) every: Duration,
    /// How long the command may take; then it is killed, and has failed
    #[arg(long, value_name = "TIME", default_value = "90s", conflicts_with = "lasts", value_parser = up_to_an_hour)]
    pub(super) reload_timeout: Duration,
    /// Run no command, and watch for this time while you reload by hand
    #[arg(long = "for", value_name = "TIME", value_parser = up_to_an_hour)]
    pub(super) lasts: Option<Duration>,
    /// How long the clients run before the first reload, for comparison
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = up_to_an_hour)]
    pub(super) before: Duration,
    /// How long they run after the last one: Segue moves connections 3 s after a reload, others close them later still
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = up_to_an_hour)]
    pub(super) after: Duration,
    /// How long a client waits for a connection or a whole answer before it counts as lost
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = up_to_an_hour)]
    pub(super) timeout: Duration,
    /// Connections that make one request after the other, 1000 at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = value_parser!(u32).range(0..=1000))]
    pub(super) connections: u32,
    /// Connections that are idle for most of the time, 10000 at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = value_parser!(u32).range(0..=10_000))]
    pub(super) idle: u32,
    /// How long they are idle between two requests, at most; shorter than the proxy keeps an idle connection
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = up_to_an_hour)]
    pub(super) quiet: Duration,
    /// Clients that open a connection for each request, 100 at most
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = value_parser!(u32).range(0..=100))]
    pub(super) fresh: u32,
    /// Hold WebSockets open too, at this path of the same host
    ///
    /// The server behind it has to take an upgrade and keep the connection open; each is sent a ping four times a second. Once
    /// a server has answered one, silence counts as a closed tunnel too.
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(super) websocket: Option<PathAndQuery>,
    /// How many WebSockets, 1000 at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20, requires = "websocket", value_parser = value_parser!(u32).range(1..=1000))]
    pub(super) tunnels: u32,
    /// Read large answers slowly too, from this path of the same host; some megabytes are enough
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(super) download: Option<PathAndQuery>,
    /// How many at once, 100 at most
    #[arg(long, value_name = "NUMBER", default_value_t = 5, requires = "download", value_parser = value_parser!(u32).range(1..=100))]
    pub(super) downloads: u32,
    /// Ask for this host instead of that of the URL, which only says where to connect to
    #[arg(long, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// Take every certificate with https://, also one that is self-signed or for another host
    #[arg(long)]
    pub(super) insecure: bool,
    /// The status that is right; otherwise every one below 400 is
    #[arg(long, value_name = "CODE")]
    pub(super) status: Option<StatusCode>,
    /// All figures, as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A time of the experiment, whose parts are all bounded.
fn up_to_an_hour(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time > Duration::from_secs(3600) => Err("an hour, \"1h\", is the longest".to_owned()),
        time if time < SHORTEST => Err("10 ms is the shortest; write for example \"1s\"".to_owned()),
        time => Ok(time),
    }
}

const SHORTEST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::Cli;

    #[test]
    fn a_command_line_with_a_mistake_says_what_to_write() {
        for (arguments, said) in [
            (&["http://a.test/"][..], "--reload <COMMAND>"),
            (&["http://a.test/"], "--for <TIME>"),
            (&["--reload", "true"], "<URL>"),
            (&["a.test:80", "--reload", "true"], "write \"http://a.test:80\""),
            (&["http://a.test/", "--reload", "true", "--for", "1m"], "cannot be used with"),
            (&["http://a.test/", "--for", "1m", "--times", "3"], "cannot be used with"),
            (&["http://a.test/", "--for", "2h"], "an hour"),
            (&["http://a.test/", "--for", "60"], "write for example"),
            (&["http://a.test/", "--for", "1m", "--connections", "5000"], "1000"),
            (&["http://a.test/", "--for", "1m", "--tunnels", "5"], "--websocket"),
            (&["http://a.test/", "--for", "1m", "--websocket", "ws"], "\"/ws\""),
            (&["http://a.test/", "--for", "1m", "--status", "20"], "status"),
            (&["http://a.test/", "--for", "1m", "--relaod", "x"], "'--reload'"),
        ] {
            let all = ["segue", "bench-reload"].iter().chain(arguments);
            let fault = Cli::try_parse_from(all).expect_err("a mistake").to_string();
            assert!(fault.contains(said), "{arguments:?}: {fault}");
        }
        let all = ["segue", "bench-reload", "https://[::1]:8443/x", "--reload", "true", "--websocket", "/ws"];
        Cli::try_parse_from(all).expect("a command line");
    }
}
