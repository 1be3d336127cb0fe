//! Responses of the admin API: text and JSON.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use serde_json::json;

/// A body, whole or as it comes.
pub(super) type ApiBody = UnsyncBoxBody<Bytes, Infallible>;

/// A response of this content type.
pub(super) fn with(status: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Response<ApiBody> {
    let mut response = Response::new(Full::new(content.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // what it says holds for a moment
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Text.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<ApiBody> {
    with(status, "text/plain", text.to_owned())
}

/// JSON.
pub(super) fn json(value: &impl Serialize) -> Response<ApiBody> {
    with(StatusCode::OK, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// Why something is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    why: String,
}

impl ApiError {
    /// With this status, for this reason: a sentence without a full stop.
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// It may be done in a moment.
    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    /// The path takes these methods alone.
    pub(super) fn not_so(methods: &str) -> Response<ApiBody> {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {methods}")).response()
    }

    /// It as JSON.
    pub(super) fn response(self) -> Response<ApiBody> {
        let response = with(self.status, "application/json", json!({ "error": self.why }).to_string());
        if self.status == StatusCode::SERVICE_UNAVAILABLE { later(response) } else { response }
    }
}

/// It may be done in a moment.
pub(super) fn later(mut response: Response<ApiBody>) -> Response<ApiBody> {
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The path knows only these methods.
pub(super) fn only(mut response: Response<ApiBody>, methods: &'static str) -> Response<ApiBody> {
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
