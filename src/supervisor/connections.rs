//! What is asked of the client connections, as the supervisor has part in it: each generation gets the socket for its answers.

use std::os::fd::{AsFd, OwnedFd};

use super::Supervisor;
use crate::control::connections::ConnectionsRequest;
use crate::control::message::ToWorker;
use crate::control::request::ControlReply;

impl Supervisor {
    /// Has every generation that can answer say what is asked.
    pub(super) fn ask_for_connections(&mut self, client: u64, request: &ConnectionsRequest, mut with: Vec<OwnedFd>) {
        let Some(socket) = with.pop() else {
            return self.clients.reply(client, &ControlReply::Declined("no socket came with the request".to_owned()));
        };
        let list = self.generations.list().iter();
        let able = list.filter(|one| one.ready.as_ref().is_some_and(|ready| ready.lists_connections));
        let generations: Vec<_> = able.map(|one| one.number).collect();
        for &number in &generations {
            let input = self.workers.send(number, &ToWorker::Connections(request.clone()), &[socket.as_fd()]);
            self.inputs.extend(input);
        }
        self.clients.reply(client, &ControlReply::Asked { generations });
    }
}
