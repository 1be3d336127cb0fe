//! What has come on one stream and was not taken.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};

use crate::http2::FieldSection;
use crate::http2::error::ErrorCode;

/// Heads that may wait: those that are informational come before the one that is not.
const MOST_HEADS: usize = 16;

/// What has come on one stream.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// That of the stream; none before it is opened, and once it is closed.
    pub(super) key: Option<usize>,
    pub(super) heads: VecDeque<ReceivedHead>,
    pub(super) data: BytesMut,
    pub(super) trailers: Option<HeaderMap>,
    /// The response came whole.
    pub(super) is_whole: bool,
    /// Why it comes no further.
    pub(super) fault: Option<StreamFault>,
    /// The task of the exchange.
    task: Option<Waker>,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct ReceivedHead {
    pub(super) status: StatusCode,
    /// The fields as lines.
    pub(super) lines: Vec<u8>,
    pub(super) has_length: bool,
    /// No body follows.
    pub(super) ends: bool,
}

/// Why a response comes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamFault {
    Reset(ErrorCode),
    /// The server has not looked at the request, on a connection that goes on.
    Refused,
    /// The same on a connection that ends.
    Gone,
    /// The connection has ended.
    Closed,
    /// A rule was broken.
    Rule(&'static str),
}

impl Inbox {
    /// Wakes the exchange.
    pub(super) fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Notes the task that is woken by what comes, and by room for what is to be sent.
    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            None => self.task = Some(cx.waker().clone()),
        }
    }

    /// A head has come. False when there are too many of them.
    pub(super) fn push_head(&mut self, fields: &FieldSection, ends: bool) -> bool {
        let (status, lines, has_length) = (fields.status(), fields.lines().to_vec(), fields.length().is_some());
        self.heads.push_back(ReceivedHead { status, lines, has_length, ends });
        self.is_whole = ends;
        self.heads.len() <= MOST_HEADS
    }

    /// The response comes no further.
    pub(super) fn fail(&mut self, fault: StreamFault) {
        self.key = None;
        if !self.is_whole {
            self.fault.get_or_insert(fault);
        }
        self.wake();
    }

    /// Whether all of the response was taken.
    pub(super) fn is_taken(&self) -> bool {
        self.is_whole && self.heads.is_empty() && self.data.is_empty() && self.trailers.is_none()
    }
}
