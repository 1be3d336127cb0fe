//! The static table (RFC 7541, appendix A).

/// Index 1 is the first entry.
#[rustfmt::skip]
pub(super) const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Index of the first entry with this name (0: none), and whether values of the field come again often enough to be kept
/// in the dynamic table.
///
/// Lengths, tags and the like differ from one response to the next, and would only push out what does not.
pub(super) fn of_name(name: &[u8]) -> (usize, bool) {
    match name {
        b"date" => (33, true),
        b"server" => (54, true),
        b"content-type" => (31, true),
        b"content-length" => (28, false),
        b"cache-control" => (24, true),
        b"etag" => (34, false),
        b"last-modified" => (44, false),
        b"location" => (46, false),
        b"set-cookie" => (55, false),
        b"vary" => (59, true),
        b"age" => (21, false),
        b"expires" => (36, true),
        b"accept-ranges" => (18, true),
        b"content-encoding" => (26, true),
        b"content-language" => (27, true),
        b"content-range" => (30, false),
        b"content-disposition" => (25, true),
        b"access-control-allow-origin" => (20, true),
        b"strict-transport-security" => (56, true),
        b"link" => (45, true),
        b"via" => (60, true),
        b"www-authenticate" => (61, true),
        b"retry-after" => (53, false),
        b"allow" => (22, true),
        b"x-request-id" | b"traceparent" | b"grpc-status" => (0, false),
        _ => (0, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_index_of_their_first_entry() {
        for (index, (name, _)) in STATIC.iter().enumerate() {
            let first = STATIC.iter().position(|(other, _)| other == name).expect("it is there") + 1;
            let (found, _) = of_name(name);
            assert!(found == 0 || found == first && index + 1 >= first, "{}", name.escape_ascii());
        }
    }
}
