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
        let mut generations = Vec::new();
        for one in self.generations.list() {
            let Some(ready) = &one.ready else { continue };
            // one that cannot answer, or has no room for the question, is missed by the other side
            generations.push(one.number);
            if ready.lists_connections {
                self.workers.send_if_room(one.number, &ToWorker::Connections(request.clone()), &[socket.as_fd()]);
            }
        }
        self.clients.reply(client, &ControlReply::Asked { generations });
    }
}
