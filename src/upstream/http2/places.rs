//! What waits for a place on a connection to one server, and what its connections are read into.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::http2::FieldSection;

/// What waits for a place.
#[derive(Debug, Default)]
pub(super) struct PlaceQueue {
    tasks: RefCell<Vec<Waker>>,
    /// Connections that are being opened.
    opening: Cell<usize>,
    pub(super) buffers: Rc<RefCell<ReceivedFrames>>,
}

/// What the connections to the server read frames and their fields into.
#[derive(Debug, Default)]
pub(super) struct ReceivedFrames {
    pub(super) octets: Vec<u8>,
    pub(super) fields: FieldSection,
}

/// A connection that is being opened, for whatever waits.
#[derive(Debug)]
pub struct OpeningGuard(Rc<PlaceQueue>);

impl PlaceQueue {
    /// Wakes all that wait: each looks for itself whether there is a place.
    pub(super) fn wake(&self) {
        self.tasks.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Notes a task that is woken when there may be a place.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.tasks.borrow_mut().push(cx.waker().clone());
    }

    /// Whether a connection is being opened.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.get() > 0
    }

    /// A connection is being opened until this is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> OpeningGuard {
        self.opening.set(self.opening.get() + 1);
        OpeningGuard(self.clone())
    }
}

impl Drop for OpeningGuard {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get() - 1);
        self.0.wake();
    }
}
