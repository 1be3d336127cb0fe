//! In which network clients and servers are.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::task::LocalSet;

/// A network.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// That of the test itself.
    Here,
    /// That of this process: the first one of a container.
    NetworkOf(u32),
}

impl Place {
    /// Runs what `story` makes, and the tasks that it starts, to its end on a thread of its own in this network.
    pub fn run<S, F>(self, name: &str, story: S) -> JoinHandle<F::Output>
    where
        S: FnOnce() -> F + Send + 'static,
        F: Future,
        F::Output: Send + 'static,
    {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let run = move || {
            self.enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, story())
        };
        thread.spawn(run).expect("a thread")
    }

    // a network is entered by threads, each for itself: sockets belong to the one that they were made in
    fn enter(self) {
        let Self::NetworkOf(pid) = self else { return };
        let network = File::open(format!("/proc/{pid}/ns/net")).expect("the network of the container");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter the network");
    }
}
