//! A deadline that an attempt borrows from its thread, so that none is made for each wait.

use std::rc::Rc;
use std::time::Duration;

use crate::proxy::thread::Thread;
use crate::timer::Timer;

/// A deadline lent by the thread, given back on drop.
pub(in crate::proxy) struct Lent {
    thread: Rc<Thread>,
    timer: Option<Timer>,
}

impl Lent {
    pub(in crate::proxy) fn new(thread: &Rc<Thread>) -> Self {
        Self { thread: thread.clone(), timer: Some(thread.lend_timer()) }
    }

    /// A deadline that is `time` from now.
    pub(in crate::proxy) fn after(thread: &Rc<Thread>, time: Duration) -> Self {
        let lent = Self::new(thread);
        lent.set(time);
        lent
    }
}

impl std::ops::Deref for Lent {
    type Target = Timer;

    fn deref(&self) -> &Timer {
        self.timer.as_ref().expect("lent until the drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.thread.return_timer(timer);
        }
    }
}
