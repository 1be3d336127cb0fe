//! A deadline that an attempt borrows from its thread, so that none is made for each wait.

use crate::proxy::thread::Thread;
use crate::wheel::Alarm;

/// A deadline lent by the thread, given back on drop.
pub(super) struct Lent<'a> {
    thread: &'a Thread,
    alarm: Option<Alarm>,
}

impl<'a> Lent<'a> {
    pub(super) fn new(thread: &'a Thread) -> Self {
        Self { thread, alarm: Some(thread.lend_alarm()) }
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = Alarm;

    fn deref(&self) -> &Alarm {
        self.alarm.as_ref().expect("lent until the drop")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            self.thread.return_alarm(alarm);
        }
    }
}
