//! `segue events`: what the service keeps of what happened, and with `--follow` what happens.
//!
//! The stream of the admin API goes on over reloads. Where it ends nevertheless, with a worker that is killed or with the service,
//! it is opened again, and what was kept meanwhile comes first.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use clap::builder::PossibleValuesParser;
use http::Method;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::RunDir;
use super::admin::{CallError, ResponseLines, ask, block_on, failed, open};
use super::servers::{meant, missing};
use crate::admin::servers::{ServerList, listed};
use crate::control::recent::RecentEvent;
use crate::observe::Plain;
use crate::observe::event::kind;

/// A stream on which nothing comes for so long is broken: a status comes each two seconds.
const SILENT: Duration = Duration::from_secs(20);
/// From one attempt to open the stream to the next.
const AGAIN: Duration = Duration::from_millis(200);
/// So long a service that has just started may have no room or no answer.
const START: Duration = Duration::from_secs(10);

/// Arguments of `segue events`.
#[derive(Args, Debug)]
pub struct EventsArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Go on with new events as they come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print JSON: one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: EventFilter,
}

/// Which events are shown.
#[derive(Args, Clone, Debug)]
struct EventFilter {
    /// Events of this time up to now, as in --since 10m; with --follow and --since 0s new ones alone
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    since: Option<Duration>,
    /// Events about this pool and its servers
    #[arg(long)]
    pool: Option<String>,
    /// Events about this server: as the configuration has it, POOL/SERVER, or without its port
    #[arg(long)]
    server: Option<String>,
    /// Events of this kind, as PROXY_EVENT in the journal; can be given again
    #[arg(long, value_delimiter = ',', hide_possible_values = true, value_parser = kinds())]
    kind: Vec<String>,
}

/// The answer to `GET /v1/events`, as it came.
#[derive(Deserialize)]
struct KeptEvents {
    events: Vec<Value>,
}

/// What ends the command.
enum FollowEnd {
    /// The output is closed, or cannot be written.
    Output(io::Error),
    /// There is no answer, or no more of it.
    Fault(CallError),
}

/// Prints the events.
#[must_use]
pub fn run(arguments: EventsArguments) -> ExitCode {
    let EventsArguments { run_dir, follow, json, filter } = arguments;
    let run_dir = run_dir.path();
    let from = filter.since.and_then(|since| SystemTime::now().checked_sub(since));
    let mut printer = Printer { filter, from, json, last: None, shown: 0 };
    let done = block_on(async {
        match follow {
            true => follow_events(&run_dir, &mut printer).await,
            false => print_kept(&run_dir, &mut printer).await,
        }
    });
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(FollowEnd::Output(fault))) if fault.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(Err(FollowEnd::Output(fault))) => {
            super::complain(&fault);
            ExitCode::FAILURE
        }
        Ok(Err(FollowEnd::Fault(fault))) | Err(fault) => failed(&fault),
    }
}

/// Prints what is kept.
async fn print_kept(run_dir: &Path, printer: &mut Printer) -> Result<(), FollowEnd> {
    let kept = kept(run_dir).await?;
    printer.know_names(run_dir, &kept).await?;
    let count = kept.len();
    printer.catch_up(kept)?;
    if printer.shown == 0 {
        eprintln!("segue: none of the {count} events that the service keeps is such a one; the journal has older ones");
    }
    Ok(())
}

/// Prints what is kept, and what comes, over all ends of the stream.
async fn follow_events(run_dir: &Path, printer: &mut Printer) -> Result<(), FollowEnd> {
    let until = Instant::now() + START;
    let mut has_begun = false;
    loop {
        let Err(end) = follow_stream(run_dir, printer, &mut has_begun).await else { return Ok(()) };
        match end {
            FollowEnd::Output(fault) => return Err(FollowEnd::Output(fault)),
            FollowEnd::Fault(fault @ CallError::Refused(_)) => return Err(FollowEnd::Fault(fault)),
            FollowEnd::Fault(CallError::Busy(_)) if !has_begun && Instant::now() < until => {}
            FollowEnd::Fault(fault) if !has_begun => return Err(FollowEnd::Fault(fault)),
            FollowEnd::Fault(_) => {}
        }
        sleep(AGAIN).await;
        if output_is_closed() {
            return Ok(());
        }
    }
}

/// Prints what is kept and was not printed yet, then what comes until the stream ends. Ends well when the output is closed.
async fn follow_stream(run_dir: &Path, printer: &mut Printer, has_begun: &mut bool) -> Result<(), FollowEnd> {
    let mut lines = open(run_dir, "/v1/live").await.map_err(FollowEnd::Fault)?;
    // from its first status on the stream has all that is new, so that nothing is missing between it and what is kept
    while next(&mut lines).await? != "event: status" {}
    let kept = kept(run_dir).await?;
    if !*has_begun {
        printer.know_names(run_dir, &kept).await?;
    }
    *has_begun = true;
    printer.catch_up(kept)?;
    let mut event = String::new();
    let ended = loop {
        let line = match next(&mut lines).await {
            Ok(line) => line,
            Err(end) => break end,
        };
        match line.split_once(": ") {
            Some(("event", name)) => name.clone_into(&mut event),
            Some(("data", data)) if event == "event" => {
                printer.take(serde_json::from_str(data).unwrap_or_default())?;
            }
            // one comes each two seconds
            Some(("data", _)) if output_is_closed() => return Ok(()),
            _ => {}
        }
    };
    if let FollowEnd::Fault(fault) = &ended {
        eprintln!("segue: the events end here ({fault}); they go on when the service answers again");
    }
    Err(ended)
}

async fn next(lines: &mut ResponseLines) -> Result<String, FollowEnd> {
    match timeout(SILENT, lines.next()).await {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Ok(None)) => Err(FollowEnd::Fault(CallError::Broken("the stream is closed".to_owned()))),
        Ok(Err(fault)) => Err(FollowEnd::Fault(fault)),
        Err(_) => Err(FollowEnd::Fault(CallError::Broken(format!("nothing came for {} s", SILENT.as_secs())))),
    }
}

async fn kept(run_dir: &Path) -> Result<Vec<Value>, FollowEnd> {
    let answer = ask(run_dir, Method::GET, "/v1/events", None).await.map_err(FollowEnd::Fault)?;
    let kept: Result<KeptEvents, _> = serde_json::from_slice(&answer);
    kept.map(|kept| kept.events).map_err(|fault| FollowEnd::Fault(CallError::Broken(fault.to_string())))
}

/// Prints events, each once and in their order.
#[derive(Debug)]
struct Printer {
    filter: EventFilter,
    /// Older ones are not shown.
    from: Option<SystemTime>,
    json: bool,
    /// The last one that came, whether it was shown or not.
    last: Option<RecentEvent>,
    shown: usize,
}

impl Printer {
    /// Refuses a filter for what is not configured and was in no event: it is a typo.
    async fn know_names(&self, run_dir: &Path, kept: &[Value]) -> Result<(), FollowEnd> {
        let named = |event: &Value| self.filter.is_about(&read(event));
        if self.filter.pool.is_none() && self.filter.server.is_none() || kept.iter().any(named) {
            return Ok(());
        }
        // without an answer nothing is known to be wrong
        let Ok(answer) = ask(run_dir, Method::GET, "/v1/servers", None).await else { return Ok(()) };
        let list: ServerList = serde_json::from_slice(&answer).unwrap_or_default();
        match self.filter.unknown(&list) {
            Some(why) => Err(FollowEnd::Fault(CallError::Refused(why))),
            None => Ok(()),
        }
    }

    /// Takes all that is kept: what came before is known by its number and time, for a service that starts again counts anew.
    fn catch_up(&mut self, kept: Vec<Value>) -> Result<(), FollowEnd> {
        let is_last = |event: &Value| {
            let event = read(event);
            self.last.as_ref().is_some_and(|last| (event.number, &event.at) == (last.number, &last.at))
        };
        let known = kept.iter().rposition(is_last).map_or(0, |last| last + 1);
        let first = kept.first().map_or(0, |first| read(first).number);
        if self.last.is_some() && known == 0 && first > 1 {
            eprintln!("segue: some events are lost here: the service keeps the last {}", kept.len());
        }
        self.last = None;
        kept.into_iter().skip(known).try_for_each(|event| self.print(event))
    }

    /// Takes an event of the stream.
    fn take(&mut self, event: Value) -> Result<(), FollowEnd> {
        let number = read(&event).number;
        match &self.last {
            Some(last) if number <= last.number => return Ok(()),
            Some(last) if number > last.number + 1 => {
                eprintln!("segue: some events are lost here: too many came at once")
            }
            _ => {}
        }
        self.print(event)
    }

    fn print(&mut self, event: Value) -> Result<(), FollowEnd> {
        let about = read(&event);
        let is_shown = self.filter.shows(&about) && self.from.is_none_or(|from| is_since(&about.at, from));
        let text = if self.json { format!("{event}\n") } else { line(&about) };
        self.last = Some(about);
        if !is_shown {
            return Ok(());
        }
        self.shown += 1;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(FollowEnd::Output)
    }
}

impl EventFilter {
    fn shows(&self, event: &RecentEvent) -> bool {
        self.is_about(event) && (self.kind.is_empty() || self.kind.contains(&event.event))
    }

    /// Whether it is about the pool and the server that are meant.
    fn is_about(&self, event: &RecentEvent) -> bool {
        let pool = event.pool.as_deref().unwrap_or_default();
        let server = event.server.as_deref().unwrap_or_default();
        let is_server = |written: &str| {
            let with_pool = || written.strip_prefix(pool).and_then(|rest| rest.strip_prefix('/')) == Some(server);
            let host = || server.rsplit_once(':').is_some_and(|(host, _)| host == written);
            !server.is_empty() && (written == server || with_pool() || host())
        };
        self.pool.as_deref().is_none_or(|written| written == pool) && self.server.as_deref().is_none_or(is_server)
    }

    /// Why nothing in this list can be meant.
    fn unknown(&self, list: &ServerList) -> Option<String> {
        if let Some(pool) = &self.pool
            && !list.pools.iter().any(|one| one.name == *pool)
        {
            return Some(format!(
                "no pool {pool}; there is {}",
                listed(list.pools.iter().map(|one| one.name.as_str()))
            ));
        }
        let server = self.server.as_ref().filter(|server| meant(list, server).is_empty())?;
        Some(missing(list, server))
    }
}

/// The kinds of events but for those of traffic.
fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(kind::ALL.iter().map(|kind| kind.name).filter(|name| *name != kind::EXCHANGE.name))
}

fn read(event: &Value) -> RecentEvent {
    serde_json::from_value(event.clone()).unwrap_or_default()
}

fn is_since(at: &str, from: SystemTime) -> bool {
    humantime::parse_rfc3339(at).map_or(true, |at| at >= from)
}

/// An event for people: when, how urgent, its kind, and what the journal says.
fn line(event: &RecentEvent) -> String {
    let text = |text: &str| Plain(if text.is_empty() { "-" } else { text }).to_string();
    let (at, level, kind) = (text(&event.at), text(&event.level), text(&event.event));
    format!("{at}  {level:<7}  {kind:<19}  {}\n", Plain(&event.text))
}

/// Whether the reader of a pipe has closed it.
fn output_is_closed() -> bool {
    // without events in the request, poll(2) reports only that
    let output = io::stdout();
    let mut watched = [PollFd::new(&output, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut watched, Some(&now)).is_ok() && !watched[0].revents().is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printer() -> Printer {
        let filter = EventFilter { since: None, pool: Some("none".to_owned()), server: None, kind: Vec::new() };
        Printer { filter, from: None, json: false, last: None, shown: 0 }
    }

    fn event(number: u64, at: &str) -> Value {
        json!({ "number": number, "at": at, "event": "server-down", "text": "Down", "pool": "farm", "server": "10.0.0.1:80" })
    }

    #[test]
    fn an_event_that_was_printed_is_known_by_number_and_time() {
        let mut printer = printer();
        assert!(printer.catch_up(vec![event(1, "A"), event(2, "B")]).is_ok());
        assert!(printer.take(event(3, "C")).is_ok());
        let last = |printer: &Printer| printer.last.clone().map(|last| (last.number, last.at)).expect("one");
        assert!(printer.catch_up(vec![event(2, "B"), event(3, "C"), event(4, "D")]).is_ok());
        assert_eq!(last(&printer), (4, "D".to_owned()));
        // the service has started again
        assert!(printer.catch_up(vec![event(1, "E"), event(2, "F"), event(3, "G"), event(4, "H")]).is_ok());
        assert_eq!(last(&printer), (4, "H".to_owned()));
        assert!(printer.take(event(4, "H")).is_ok());
        assert!(printer.take(event(5, "I")).is_ok());
        assert_eq!(last(&printer), (5, "I".to_owned()));
    }

    #[test]
    fn a_filter_names_a_server_in_every_way_that_the_other_commands_take() {
        let about = read(&event(1, "A"));
        let filter = |pool: Option<&str>, server: Option<&str>, kind: &[&str]| EventFilter {
            since: None,
            pool: pool.map(str::to_owned),
            server: server.map(str::to_owned),
            kind: kind.iter().map(|kind| (*kind).to_owned()).collect(),
        };
        for server in ["10.0.0.1:80", "10.0.0.1", "farm/10.0.0.1:80"] {
            assert!(filter(Some("farm"), Some(server), &[]).shows(&about), "{server}");
        }
        for server in ["10.0.0.1:8", "/10.0.0.1:80", "", "farm/"] {
            assert!(!filter(None, Some(server), &[]).shows(&about), "{server}");
        }
        assert!(!filter(Some("far"), None, &[]).shows(&about));
        assert!(filter(None, None, &["server-up", "server-down"]).shows(&about));
        assert!(!filter(None, None, &["server-up"]).shows(&about));
        assert!(!filter(None, Some(""), &[]).shows(&RecentEvent::default()));
        assert!(
            is_since("2026-01-01T00:00:00Z", SystemTime::UNIX_EPOCH)
                && !is_since("2026-01-01T00:00:00Z", SystemTime::now())
        );
    }

    #[test]
    fn a_line_has_the_time_the_level_the_kind_and_what_the_journal_says() {
        let about = RecentEvent { level: "warning".to_owned(), ..read(&event(1, "2026-01-01T00:00:00.000Z")) };
        assert_eq!(line(&about), "2026-01-01T00:00:00.000Z  warning  server-down          Down\n");
    }
}
