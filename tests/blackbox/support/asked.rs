//! A caller of the supervisor that asks now and hears later.

use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use segue::control::PROTOCOL;
use segue::control::channel::{Channel, Received};
use segue::control::request::{Conditions, ControlReply, ReloadVerdict, Request, Wish, socket_path};

use super::wait_for;

pub struct Asked {
    channel: Channel,
}

impl Asked {
    /// Asks for a reload that makes a new generation, whether or not anything changed.
    pub fn reload(run_dir: &Path) -> Self {
        // not for the services that other facts start at the same moment
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socket");
        let address = SocketAddrUnix::new(socket_path(run_dir)).expect("address");
        rustix::net::connect(&socket, &address).expect("connect");
        let channel = Channel::from_socket(socket).expect("channel");
        let request = Request { protocol: PROTOCOL, wish: Wish::ReloadWith(Conditions { force: true, confirm: None }) };
        channel.send(&request, &[]).expect("send");
        Self { channel }
    }

    /// Waits for the verdict.
    #[track_caller]
    pub fn verdict(&self) -> ReloadVerdict {
        wait_for("a verdict", || match self.channel.receive().expect("receive") {
            Received::Message(ControlReply::Verdict(verdict), _) => Some(verdict),
            Received::Nothing => None,
            other => panic!("{other:?}"),
        })
    }
}
