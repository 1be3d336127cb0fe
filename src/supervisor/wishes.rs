//! What the clients of `control.sock` ask for.

use std::os::fd::AsFd;
use std::time::Instant;

use super::Supervisor;
use super::generations::{Caller, Generations, Input};
use super::status;
use super::totals::Totals;
use crate::control::request::{Conditions, ControlReply, ServedSources, Wish};
use crate::control::status::ServiceStatus;

impl Supervisor {
    /// Reads what client `number` asks for, if it has come, and does it.
    pub(super) fn receive_wish(&mut self, number: u64, now: Instant) {
        let Some((wish, with)) = self.clients.receive(number) else { return };
        match wish {
            Wish::Reload => self.ask(Caller::Client(number), Conditions::default()),
            Wish::ReloadWith(conditions) => self.ask(Caller::Client(number), conditions),
            Wish::Confirmed => self.inputs.push_back(Input::Confirmed(number)),
            Wish::Status => self.send_status(number, status::all, now),
            Wish::SummedStatus => self.send_status(number, status::summed, now),
            Wish::Sources => self.send_sources(number),
            Wish::Debug(request) => self.debug(number, request, with, now),
            Wish::Connections(request) => self.ask_for_connections(number, &request, with),
            Wish::Recent { points_after, events_after } => {
                let recent = self.recent.after(points_after, events_after);
                self.clients.reply(number, &ControlReply::Recent(recent));
            }
            Wish::Administer(changes) => self.administer(number, changes),
        }
    }

    fn send_status(
        &mut self,
        client: u64,
        look: impl Fn(&Generations, &Totals, Instant) -> ServiceStatus,
        now: Instant,
    ) {
        self.totals.own(&self.journal.unwritten());
        let mut status = look(&self.generations, &self.totals, now);
        self.admin.show(&mut status, self.generations.list());
        self.clients.reply(client, &ControlReply::Status(Box::new(status)));
    }

    /// Sends a client the sources of the serving generation.
    fn send_sources(&mut self, client: u64) {
        let serving = self.generations.list().iter().rfind(|one| one.accepts());
        let found = serving.and_then(|one| Some((one, self.workers.sources(one.number)?)));
        let Some((one, sources)) = found else {
            return self.clients.reply(client, &ControlReply::Declined("no generation serves".to_owned()));
        };
        let served = ServedSources {
            generation: one.number,
            version: one.ready.as_ref().map(|ready| ready.version.clone()).unwrap_or_default(),
            another_program: self.workers.installed().is_some_and(|installed| one.program != Some(installed)),
        };
        self.clients.reply_with(client, &ControlReply::Sources(served), &[sources.as_fd()]);
    }
}
