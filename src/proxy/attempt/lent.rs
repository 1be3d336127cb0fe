//! A deadline that an attempt borrows from its thread, so that none is made for each wait.

use std::rc::Rc;

use crate::proxy::thread::Thread;
use crate::wheel::Alarm;

/// A deadline lent by the thread, given back on drop.
pub(in crate::proxy) struct Lent {
    thread: Rc<Thread>,
    alarm: Option<Alarm>,
}

impl Lent {
    pub(in crate::proxy) fn new(thread: &Rc<Thread>) -> Self {
        Self { thread: thread.clone(), alarm: Some(thread.lend_alarm()) }
    }
}

impl std::ops::Deref for Lent {
    type Target = Alarm;

    fn deref(&self) -> &Alarm {
        self.alarm.as_ref().expect("lent until the drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            self.thread.return_alarm(alarm);
        }
    }
}
