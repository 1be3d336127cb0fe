//! What a connection hands to the proxy: a request whose head was found right, or a head that is refused.

use std::rc::Rc;

use http::Version;
use tokio::time::Instant;

use super::fault::Fault;
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

/// A head that is not right.
#[derive(Debug)]
pub struct RefusedHead<'a> {
    /// Why it is refused.
    pub fault: Fault,
    /// What came of it.
    pub seen: &'a [u8],
    /// When its first byte came.
    pub began: Instant,
    /// That of the connection.
    pub version: Version,
}
