//! The sentence of each event.

use std::time::Duration;

use super::Event;
use crate::control::statistics::Inside;
use crate::observe::words::{Day, Plain, PlainLines, Plural, Took};

/// One long table, so that an event without a sentence does not compile.
pub(super) fn of(event: &Event) -> String {
    match event {
        Event::Started { version, generation, listeners } => {
            let names = listeners.join(", ");
            format!("Segue {version} started: generation {generation} serves {}", Plain(&names))
        }
        Event::WorkerReady { generation, pid, took } => {
            format!("Generation {generation} is ready after {}, process {pid}", Took(*took))
        }
        Event::ReloadStarted { generation } => format!("Reload asked for: making generation {generation}"),
        Event::ReloadDone { generation, took, changes } => {
            let changes: String = changes.iter().map(|change| format!("\n{}", Plain(change))).collect();
            format!("Reload done in {}: generation {generation} serves{changes}", Took(*took))
        }
        Event::ReloadUnchanged { generation } => {
            format!("Reload done: nothing changed, generation {generation} goes on")
        }
        Event::ReloadRefused { generation, problems } => refusal(*generation, problems),
        Event::StartRefused { problems } => listed("Segue did not start", problems),
        Event::SupervisorWarning { text } => Plain(text).to_string(),
        Event::StateForgotten { generation, why } => format!(
            "Generation {generation} begins without what the one before it knew ({}): its servers are checked first",
            Plain(why)
        ),
        Event::HandOver { from, to } => format!("Generation {to} took over from {from}, which is parked"),
        Event::ProbationOver { generation } => format!("Generation {generation} passed its probation"),
        Event::Confirmed { generation } => format!("Generation {generation} was confirmed"),
        Event::RolledBack { failed, generation, why, lost } => format!(
            "Rolled back: generation {failed} failed in its probation ({}{}), generation {generation} serves again",
            Plain(why),
            lost.map(with_it).unwrap_or_default()
        ),
        Event::WorkerDied { generation, pid, how, lost, respawn_in } => format!(
            "Worker of generation {generation} died ({}, process {pid}{}): {}",
            Plain(how),
            with_it(*lost),
            next_worker(*respawn_in)
        ),
        Event::WorkerHung { generation, pid, silent } => {
            format!("Worker of generation {generation} did not answer for {}: process {pid} is killed", Took(*silent))
        }
        Event::WorkerUnfit { generation, why } => {
            format!("Generation {generation} {}: another one takes its place", Plain(why))
        }
        Event::Draining { generation, connections, timeout } => format!(
            "Generation {generation} drains: {} to finish within {}",
            Plural(*connections, "connection"),
            Took(*timeout)
        ),
        Event::Hurried { generation, connections, timeout, why } => format!(
            "Generation {generation} has {} left for {}: {}",
            Took(*timeout),
            Plural(*connections, "connection"),
            Plain(why)
        ),
        Event::Drained { generation, finished, moved, cut } => {
            format!(
                "Generation {generation} ended: {} finished, {moved} moved, {cut} cut",
                Plural(*finished, "connection")
            )
        }
        Event::ConnectionCut { listener, client, idle } => format!(
            "Connection of {} to {} was cut at the drain deadline, idle for {}",
            Plain(client),
            Plain(listener),
            Took(*idle)
        ),
        Event::ConnectionsStay { generation, to, listener } => format!(
            "Connections of listener {} stay with generation {generation} to end: generation {to} has no such listener",
            Plain(listener)
        ),
        Event::TunnelStays { generation, client, server } => format!(
            "The tunnel of {} to {} stays with generation {generation} to end: the next one leads it elsewhere",
            Plain(client),
            Plain(server)
        ),
        Event::MoveBroken { generation, to, returned, why } => format!(
            "Connections do not move from generation {generation} to {to} ({}): {} on the way came back",
            Plain(why),
            Plural(*returned, "connection")
        ),
        Event::ArrivalFailed { listener, why } => format!(
            "A connection of listener {} that came from another generation was closed: {}",
            Plain(listener),
            Plain(why)
        ),
        Event::ListenerInherited { listener, address } => {
            format!("Listener {listener} has its socket from systemd: {}", Plain(address))
        }
        Event::ListenerBound { listener, address } => format!("Listener {listener} bound to {}", Plain(address)),
        Event::ListenerUnused { listener, address } => format!(
            "No listener serves the socket {} ({}) of systemd: its clients wait and get no answer. `systemctl disable \
             --now` of its unit and then `systemctl restart proxy` close it",
            Plain(listener),
            Plain(address)
        ),
        Event::BindFailed { listener, address, why } => {
            format!("Listener {listener} could not be bound to {}: {}", Plain(address), Plain(why))
        }
        Event::Upgraded { from, to } => {
            format!("The supervisor goes on as version {to}, in the same process; it was {}", Plain(from))
        }
        Event::UpgradeRefused { version, why } => {
            format!("The supervisor stays what it is, version {version}: the new program {}", Plain(why))
        }
        Event::Stopping { timeout } => format!("Stopping: what is open has {} to finish", Took(*timeout)),
        Event::Stopped { ran } => format!("Stopped; the service ran for {}", Took(*ran)),
        Event::ServerUp { pool, server, reason, down_for } => {
            let after = down_for.map(|time| format!(" after {}", Took(time))).unwrap_or_default();
            format!("Server {pool}/{server} is up{after}: {}", Plain(reason))
        }
        Event::ServerDown { pool, server, reason, last_result } => {
            let last = last_result.as_ref().map(|last| format!(", the last with {}", Plain(last)));
            format!("Server {pool}/{server} is down: {}{}", Plain(reason), last.unwrap_or_default())
        }
        Event::ServerEjected { pool, server, reason, pause } => {
            format!("Server {pool}/{server} is ejected, and tried again in {}: {}", Took(*pause), Plain(reason))
        }
        Event::ServerBack { pool, server, after } => {
            format!("Server {pool}/{server} takes exchanges again, {} after it was ejected", Took(*after))
        }
        Event::ServerWaitingForDns { pool, server, why } => {
            format!("Server {pool}/{server} waits for DNS: {}", Plain(why))
        }
        Event::ServerAddressKept { pool, server, address, why } => {
            format!("Server {pool}/{server} stays at {address} while DNS fails: {}", Plain(why))
        }
        Event::ServerResolved { pool, server, addresses } => {
            format!("Server {pool}/{server} is at {}", Plain(&addresses.join(", ")))
        }
        Event::PoolEmpty { pool } => {
            format!("Pool {pool} has no server that is up: its exchanges get 503 until one is")
        }
        Event::PoolBack { pool, empty_for } => {
            format!("Pool {pool} has a server again, after {} without one", Took(*empty_for))
        }
        Event::ServerAdministered { pool, server, value, uid, command, reason, lasts } => {
            let by = uid.map(|uid| format!(" by uid {uid} ({})", Plain(command))).unwrap_or_default();
            let lasts = lasts.map(|lasts| format!(" for {}", Took(lasts))).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| format!(": {}", Plain(reason))).unwrap_or_default();
            format!("Server {pool}/{server} is set to {value}{by}{lasts}{reason}")
        }
        Event::ConnectionKilled { connection, client, uid, command, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {}", Plain(reason))).unwrap_or_default();
            format!("Connection {connection} of {client} is closed by uid {uid} ({}){reason}", Plain(command))
        }
        Event::AdminRefused { wish, by, more } => {
            let more = if *more > 0 { format!("; {more} more since the last time") } else { String::new() };
            format!("Refused: {} may not {}{more}", Plain(by), Plain(wish))
        }
        Event::CertificateTaken { hosts, file, before, until } => {
            let before = before.map(|before| format!(", after one that expires on {}", Day(before)));
            let (before, until) = (before.unwrap_or_default(), Day(*until));
            format!("Certificate of {} taken, which expires on {until}{before}: {}", Plain(hosts), Plain(file))
        }
        Event::CertificateRefused { hosts, why, until } => {
            let goes_on = match until {
                Some(until) => format!("the one that expires on {} goes on", Day(*until)),
                None => "there is none".to_owned(),
            };
            format!("Certificate of {} cannot be taken, {goes_on}: {}", Plain(hosts), Plain(why))
        }
        Event::ClientCaTaken { host, file } => {
            format!("Clients of {} are let in by what is in {} now", Plain(host), Plain(file))
        }
        Event::ClientCaRefused { host, why, are_shut_out } => {
            let consequence =
                if *are_shut_out { "No client of {} is let in" } else { "Clients of {} are let in as before" };
            format!("{}: {}", consequence.replace("{}", &Plain(host).to_string()), Plain(why))
        }
        Event::CertificateExpires { hosts, file, until, days } => {
            let when = match days {
                ..0 => "expired".to_owned(),
                0 => "expires within a day".to_owned(),
                days => format!("expires in {}", Plural(days.unsigned_abs(), "day")),
            };
            format!("Certificate of {} {when}, on {}: {}", Plain(hosts), Day(*until), Plain(file))
        }
        Event::CertificateOrdered { host, directory } => {
            format!("Certificate of {} ordered at {}", Plain(host), Plain(directory))
        }
        Event::CertificateNotIssued { host, why, next, until } => {
            let goes_on = match until {
                Some(until) => format!("the one that expires on {} goes on", Day(*until)),
                None => "there is none".to_owned(),
            };
            let next = humantime::format_rfc3339_seconds(*next);
            format!("Certificate of {} not issued, {goes_on}, tried again at {next}: {}", Plain(host), Plain(why))
        }
        Event::AcmeAccountMade { directory, account } => {
            format!("Account {} registered with {}", Plain(account), Plain(directory))
        }
        Event::RecordsDropped { count } => {
            format!("{} not written: the journal did not take them as fast as they came", Plural(*count, "record"))
        }
        Event::AcceptFailed { listener, why } => {
            format!("Listener {listener} could not accept a connection: {}", Plain(why))
        }
        Event::LimitReached { listener, limit, value } => {
            format!(
                "Listener {listener} reached {limit} = {value}: idle connections are closed for new ones, which wait while none is idle"
            )
        }
        Event::ConfigWarning { text, .. } => warning(text.trim_end()),
        Event::ExchangePanicked { request, why } => {
            let which = request.as_deref().unwrap_or("before its request was known");
            format!("A defect in Segue ended an exchange ({}): {}", Plain(which), Plain(why))
        }
        Event::RecordsLimited { count, reasons, window } => {
            let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            let (count, reasons) = (Plural(*count, "exchange"), reasons.join(", "));
            format!("{count} not recorded in {}, above the bounds of [log]: {reasons}", Took(*window))
        }
    }
}

fn refusal(generation: u64, problems: &[String]) -> String {
    listed(&format!("Reload refused, generation {generation} goes on"), problems)
}

/// The first problem in the first line, all of them below it.
fn listed(what: &str, problems: &[String]) -> String {
    let Some(first) = problems.first() else {
        return what.to_owned();
    };
    let mut message = format!("{what}: {}", headline(first));
    if problems.len() > 1 {
        let more = Plural(problems.len() as u64 - 1, "more problem");
        message.push_str(&format!(" (and {more})"));
    }
    if problems.len() > 1 || first.trim_end().contains('\n') {
        for problem in problems {
            message.push_str(&format!("\n\n{}", PlainLines(problem.trim_end())));
        }
    }
    message
}

fn warning(text: &str) -> String {
    match text.contains('\n') {
        true => format!("Configuration: {}\n\n{}", headline(text), PlainLines(text)),
        false => format!("Configuration: {}", headline(text)),
    }
}

/// The place and the first line of a rendered problem, in one line.
fn headline(problem: &str) -> String {
    let first = problem.trim_start().lines().next().unwrap_or_default();
    let what = ["error: ", "warning: "].iter().find_map(|word| first.strip_prefix(word));
    let what = Plain(what.unwrap_or(first));
    match problem.lines().find_map(|line| line.trim_start().strip_prefix("--> ")) {
        Some(place) => format!("{}: {what}", Plain(place)),
        None => what.to_string(),
    }
}

/// What was lost with a worker.
fn with_it(Inside { connections, busy }: Inside) -> String {
    format!(", with {}, {busy} of them busy", Plural(connections, "connection"))
}

fn next_worker(respawn_in: Option<Duration>) -> String {
    match respawn_in {
        None => "it was not serving".into(),
        Some(Duration::ZERO) => "another one starts now".into(),
        Some(time) => format!("another one starts in {}", Took(time)),
    }
}
