//! What operators have set for one server, as the way of a request and the checks read it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::control::admin::AdminValue;

/// What is set for one server. Any thread reads; the worker's main thread writes.
#[derive(Debug)]
pub struct Administered {
    /// Its share of the requests as things are; 0 takes none.
    weight: AtomicU32,
    /// An operator keeps it from requests.
    out: AtomicBool,
    /// It is not checked either.
    maint: AtomicBool,
    /// For the one task that checks the server.
    changed: Notify,
}

impl Administered {
    /// Nothing is set: the server has the weight of the configuration.
    pub(super) fn new(weight: u32) -> Self {
        Self {
            weight: AtomicU32::new(weight),
            out: AtomicBool::new(false),
            maint: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Its share of the requests: one relaxed load.
    #[inline]
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Whether an operator keeps it from requests.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Whether it is in maintenance, and so not checked.
    #[must_use]
    pub fn is_in_maint(&self) -> bool {
        self.maint.load(Ordering::Relaxed)
    }

    /// Waits until maintenance begins or ends; one that did since the last wait counts. For one waiter, its check.
    pub async fn maint_changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn set(&self, configured: u32, values: impl Iterator<Item = AdminValue>) {
        let (mut weight, mut out, mut maint) = (configured, false, false);
        for value in values {
            match value {
                AdminValue::Ready | AdminValue::ConfiguredWeight => {}
                AdminValue::Drain => out = true,
                AdminValue::Maint => (out, maint) = (true, true),
                // 0 takes it out as well as drain does
                AdminValue::Weight { weight: set, .. } => (weight, out) = (set, out || set == 0),
            }
        }
        self.weight.store(if out { 0 } else { weight }, Ordering::Relaxed);
        self.out.store(out, Ordering::Relaxed);
        if self.maint.swap(maint, Ordering::Relaxed) != maint {
            self.changed.notify_one();
        }
    }
}
