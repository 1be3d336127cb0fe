//! The fields of a trailer section that was walked over whole.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::ChunkFault;
use crate::http1::head::{self, LineFault};
use crate::http1::lines::Lines;
use crate::message::fields::is_forbidden_in_trailers;
use crate::message::framing::Known;
use crate::message::lines::Line;

/// Refuses fields that would have framed or routed the message, had they come in the head.
pub(super) fn check(section: &[u8]) -> Result<(), ChunkFault> {
    each(section, |field| match Known::of(field.name) {
        Known::ContentLength | Known::TransferEncoding | Known::Host => Err(ChunkFault::ForbiddenTrailer),
        _ => Ok(()),
    })
}

/// The fields without those that may not come in trailers; values are slices of the one section.
pub(super) fn parse(section: Vec<u8>) -> Result<HeaderMap, ChunkFault> {
    let section = Bytes::from(section);
    let mut trailers = HeaderMap::new();
    each(&section, |field| {
        let name = HeaderName::from_bytes(field.name).map_err(|_| WRONG)?;
        if !is_forbidden_in_trailers(&name) {
            let start = head::offset(&section, field.value);
            let value = section.slice(start..start + field.value.len());
            trailers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| WRONG)?);
        }
        Ok(())
    })?;
    Ok(trailers)
}

/// The walk let the section through, so its lines can be cut; should they not, the section is refused.
const WRONG: ChunkFault = ChunkFault::Trailer(LineFault::FieldName);

fn each(section: &[u8], mut see: impl FnMut(&Line<'_>) -> Result<(), ChunkFault>) -> Result<(), ChunkFault> {
    let mut lines = Lines::new(section);
    while lines.len() < section.len() {
        match lines.field() {
            Some(Some(line)) => see(&line)?,
            Some(None) => break,
            None => return Err(WRONG),
        }
    }
    Ok(())
}
