//! A request whose head was found right, as its connection hands it to the proxy.

use std::rc::Rc;

use tokio::time::Instant;

use crate::http1::request::RequestHead;
use crate::message::head::RawHead;

/// A request, with the times of its head.
#[derive(Debug)]
pub struct ClientRequest {
    /// What the bytes say.
    pub facts: RequestHead,
    /// The bytes.
    pub head: Rc<RawHead>,
    /// Where the client reached us, when it did not say which host it asks for.
    pub reached: Option<Box<str>>,
    /// When the first byte of the head came.
    pub began: Instant,
    /// When the last byte of the head came.
    pub complete: Instant,
}
