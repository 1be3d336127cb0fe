//! What is printed at the end: the table, or JSON, and the verdict.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::table::{aligned, or_dash};
use super::arguments::BenchReloadArguments;
use super::command::ReloadCommandRun;
use super::tally::Tally;
use crate::observe::{Plain, Plural};

/// All that was seen.
pub(super) struct BenchReport<'a> {
    pub(super) arguments: &'a BenchReloadArguments,
    pub(super) address: String,
    pub(super) before: Tally,
    pub(super) reloads: Tally,
    pub(super) runs: Vec<ReloadCommandRun>,
    pub(super) end: BenchEnd,
}

/// How the experiment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BenchEnd {
    /// All phases are over.
    Whole,
    /// A signal came.
    Interrupted,
    /// This machine had no descriptors or ports for another connection.
    Shortage(String),
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BenchVerdict {
    /// No client saw anything.
    Unseen,
    /// Some did.
    Seen,
    /// None did, but reloads failed.
    NotReloaded,
    /// It did not come to its end.
    Incomplete,
}

impl BenchReport<'_> {
    pub(super) fn verdict(&self) -> BenchVerdict {
        match self.end {
            BenchEnd::Interrupted | BenchEnd::Shortage(_) => BenchVerdict::Incomplete,
            BenchEnd::Whole if !self.reloads.is_unseen() => BenchVerdict::Seen,
            BenchEnd::Whole if self.failed() > 0 => BenchVerdict::NotReloaded,
            BenchEnd::Whole => BenchVerdict::Unseen,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match (&self.end, self.verdict()) {
            (BenchEnd::Interrupted, _) => 130,
            (_, BenchVerdict::Unseen) => 0,
            (_, BenchVerdict::Seen) => 1,
            (_, BenchVerdict::NotReloaded | BenchVerdict::Incomplete) => 2,
        })
    }

    fn failed(&self) -> u64 {
        self.runs.iter().filter(|run| run.failure.is_some()).count() as u64
    }

    /// The table, the reasons and the verdict.
    pub(super) fn text(&self) -> String {
        let rows =
            [HEADER.map(str::to_owned), self.row("before", &self.before), self.row(&self.phase(), &self.reloads)];
        let mut text = aligned(&rows);
        for (name, tally) in [("before: ", &self.before), ("", &self.reloads)] {
            for (why, count) in tally.reasons() {
                text.push_str(&format!("\n{name}{count} × {}", Plain(why)));
            }
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.sentence());
        text.push('\n');
        for note in self.notes() {
            text.push_str(&format!("note: {note}\n"));
        }
        text
    }

    fn row(&self, name: &str, tally: &Tally) -> [String; HEADER.len()] {
        let tunnels = self.arguments.websocket.as_ref().map(|_| tally.tunnels_closed);
        let waits = tally.waits();
        [
            name.to_owned(),
            tally.requests.to_string(),
            tally.lost.to_string(),
            tally.closed.to_string(),
            tally.told.to_string(),
            or_dash(tunnels),
            tally.again.to_string(),
            or_dash(waits.quantile(0.5).map(millis)),
            or_dash(waits.quantile(0.99).map(millis)),
            or_dash(waits.longest().map(millis)),
        ]
    }

    /// What the second row is of.
    fn phase(&self) -> String {
        match self.arguments.lasts {
            Some(lasts) => humantime::format_duration(lasts).to_string(),
            None => Plural(self.runs.len() as u64, "reload").to_string(),
        }
    }

    fn sentence(&self) -> String {
        let (phase, failed) = (self.phase(), self.failed());
        let before = match &self.end {
            BenchEnd::Whole => "",
            BenchEnd::Interrupted => "Interrupted; until then: ",
            BenchEnd::Shortage(why) => return format!("This machine cannot hold that many connections: {why}."),
        };
        let seen = match self.reloads.is_unseen() {
            false => format!("Clients saw it: {}.", self.seen()),
            true if failed > 0 => {
                format!("No client saw anything, but {failed} of {phase} failed: that shows nothing.")
            }
            true if self.arguments.lasts.is_some() => format!("No client saw anything in {phase}."),
            true => format!("No client saw anything of {phase}."),
        };
        format!("{before}{seen}")
    }

    /// The counts that are not zero, in words.
    fn seen(&self) -> String {
        let Tally { lost, closed, told, tunnels_closed, .. } = self.reloads;
        let counts = [
            (lost, format!("{} lost", Plural(lost, "request"))),
            (closed, format!("{} closed", Plural(closed, "connection"))),
            (told, format!("{} told to close", Plural(told, "connection"))),
            (tunnels_closed, format!("{} closed", Plural(tunnels_closed, "tunnel"))),
        ];
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, words)| words).collect::<Vec<_>>().join(", ")
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.before.told > 0 {
            notes.push("the proxy ends connections with its answers before any reload: it does not keep them alive, or not for \
                long"
                .to_owned());
        } else if !self.before.is_unseen() {
            notes.push(
                "clients saw something before the first reload too: what comes of the reloads is the difference"
                    .to_owned(),
            );
        }
        if self.failed() > 0 && !self.reloads.is_unseen() {
            notes.push(format!("{} of {} failed", self.failed(), self.phase()));
        }
        notes
    }

    /// All figures.
    pub(super) fn json(&self) -> Value {
        let arguments = self.arguments;
        let verdict = match self.verdict() {
            BenchVerdict::Unseen => "unseen",
            BenchVerdict::Seen => "seen",
            BenchVerdict::NotReloaded => "not-reloaded",
            BenchVerdict::Incomplete => "incomplete",
        };
        json!({
            "verdict": verdict,
            "said": self.sentence(),
            "notes": self.notes(),
            "address": self.address,
            "clients": {
                "fresh": arguments.fresh,
                "busy": arguments.connections,
                "idle": arguments.idle,
                "websocket": arguments.websocket.as_ref().map_or(0, |_| arguments.tunnels),
                "download": arguments.download.as_ref().map_or(0, |_| arguments.downloads),
            },
            "before": self.before.json(),
            "reloads": self.reloads.json(),
            "commands": self.runs.iter().map(command).collect::<Vec<_>>(),
            "commands_failed": self.failed(),
        })
    }
}

fn command(run: &ReloadCommandRun) -> Value {
    let (how, said) = run.failure.as_ref().map(|(how, said)| (how, said)).unzip();
    json!({ "took_ms": run.took.as_millis() as u64, "failed": how, "said": said })
}

fn millis(wait: Duration) -> String {
    let millis = wait.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

const HEADER: [&str; 10] =
    ["", "REQUESTS", "LOST", "CLOSED", "TOLD", "TUNNELS CLOSED", "OPENED AGAIN", "WAIT P50", "P99", "LONGEST"];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::lost::LostRequest;
    use super::super::tally::ClientKind;
    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(more: &[&str]) -> BenchReloadArguments {
        let all = ["segue", "bench-reload", "http://a.test/"].iter().chain(more);
        match Cli::try_parse_from(all).expect("a command line").command {
            Command::BenchReload(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    fn run(failure: Option<&str>) -> ReloadCommandRun {
        let failure = failure.map(|how| (how.to_owned(), String::new()));
        ReloadCommandRun { took: Duration::from_millis(20), failure }
    }

    fn report(arguments: &BenchReloadArguments) -> BenchReport<'_> {
        let address = "10.0.0.1:80".to_owned();
        let (before, reloads, runs) = (Tally::default(), Tally::default(), vec![run(None), run(None)]);
        BenchReport { arguments, address, before, reloads, runs, end: BenchEnd::Whole }
    }

    #[test]
    fn the_table_has_a_row_for_each_phase_and_below_it_the_reasons_and_the_verdict() {
        let arguments = arguments(&["--reload", "true", "--websocket", "/ws"]);
        let mut report = report(&arguments);
        report.before.requests = 3;
        (report.reloads.requests, report.reloads.told, report.reloads.again) = (1000, 1, 4);
        report.reloads.close(ClientKind::Idle);
        report.reloads.close(ClientKind::Idle);
        report.reloads.lose(ClientKind::Fresh, &LostRequest::Unanswered);
        report.reloads.waited(Duration::from_micros(1500));
        let expected =
            "\x20          REQUESTS  LOST  CLOSED  TOLD  TUNNELS CLOSED  OPENED AGAIN  WAIT P50  P99     LONGEST
before     3         0     0       0     0               0             -         -       -
2 reloads  1000      1     2       1     0               4             1.5 ms    1.5 ms  1.5 ms

2 × idle: closed while idle
1 × fresh: closed without an answer

Clients saw it: 1 request lost, 2 connections closed, 1 connection told to close.
";
        assert_eq!(report.text(), expected);
        assert_eq!((report.verdict(), report.json()["verdict"].as_str()), (BenchVerdict::Seen, Some("seen")));
        report.before.told = 1;
        assert!(report.text().contains("\nnote: the proxy ends connections"), "{}", report.text());
    }

    #[test]
    fn the_verdict_is_about_the_reloads_and_only_when_there_were_some() {
        let (by_command, by_hand) = (arguments(&["--reload", "false"]), arguments(&["--for", "1m"]));
        let mut one = report(&by_command);
        assert_eq!((one.verdict(), one.exit_code()), (BenchVerdict::Unseen, ExitCode::SUCCESS));
        assert!(one.text().ends_with("\n\nNo client saw anything of 2 reloads.\n"), "{}", one.text());
        one.before.lost = 1;
        assert_eq!(one.verdict(), BenchVerdict::Unseen);
        assert!(one.text().contains("note: clients saw something before"), "{}", one.text());
        one.runs[1] = run(Some("exit status: 1"));
        assert_eq!((one.verdict(), one.exit_code()), (BenchVerdict::NotReloaded, ExitCode::from(2)));
        one.end = BenchEnd::Shortage("Too many open files".to_owned());
        assert_eq!((one.verdict(), one.exit_code()), (BenchVerdict::Incomplete, ExitCode::from(2)));
        one.end = BenchEnd::Interrupted;
        assert_eq!(one.exit_code(), ExitCode::from(130));
        let mut other = report(&by_hand);
        other.runs.clear();
        assert!(other.text().contains("No client saw anything in 1m."), "{}", other.text());
    }
}
