//! Our own words to a client: what happened, in HTML, plain text or JSON.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::fault::Fault;
use crate::observe::record::RequestId;

/// The shape of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    Plain,
    Json,
}

/// A page that says what happened.
pub(super) struct Page {
    status: StatusCode,
    what: String,
    advice: &'static str,
    id: RequestId,
}

impl Format {
    /// What Accept fields ask for: of ours what they prefer, the first of equals; plain text where none is named.
    pub fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let mut best = (0.0, Self::Plain);
        for range in accept.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let Some(format) = parts.next().and_then(Self::named) else { continue };
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    fn named(kind: &str) -> Option<Self> {
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("text/html") || is("application/xhtml+xml") {
            Some(Self::Html)
        } else if is("text/plain") {
            Some(Self::Plain)
        } else {
            (is("application/json") || kind.ends_with("+json")).then_some(Self::Json)
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

impl Page {
    /// What a fault says to the client.
    pub fn of_fault(fault: &Fault, id: RequestId) -> Self {
        Self { status: fault.status(), what: sentence(fault.client_text()), advice: advice(fault.status()), id }
    }

    /// The page as bytes.
    pub fn render(&self, format: Format) -> Bytes {
        let Self { status, what, advice, id } = self;
        let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        let id = id.as_str();
        match format {
            Format::Plain => format!("{code} {reason}\n\n{what}\n{advice}\nRequest id: {id}\n").into(),
            Format::Json => {
                let error = json!({ "status": code, "error": reason, "message": what, "request_id": id });
                format!("{error}\n").into()
            }
            Format::Html => html(
                &format!("{code} {reason}"),
                &format!("<p>{}</p><p>{advice}</p><p class=id>Request id: <code>{id}</code></p>", escape(what)),
            ),
        }
    }
}

/// With a capital and a full stop.
fn sentence(text: String) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        502..=504 => "The service behind this proxy has a problem; trying again later may help.",
        408 => "Trying again may help.",
        404 => "Check the address; if it is right, this host is not configured here.",
        421 => "A new connection to this host would be accepted.",
        413 | 414 | 431 => "A smaller request would be accepted.",
        508 => "The operator of this service has to break the loop.",
        500 => "This is a defect of the proxy; its operator finds the request id in the journal.",
        _ => "The request as sent cannot be accepted.",
    }
}

/// The answer to a person while the service has no site.
pub(super) const WELCOME: &str = include_str!("../../packaging/welcome.txt");

fn html(title: &str, body: &str) -> Bytes {
    const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;\
        color:#222;background:#fff}h1{font-size:1.4em}.id{color:#666;font-size:.85em}\
        @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.id{color:#999}}";
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{body}\n"
    )
    .into()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_gets_the_format_that_it_prefers() {
        let wanted = |accept: &'static str| Format::wanted(accept.split('\n'));
        assert_eq!(wanted("text/html,application/json;q=0.9"), Format::Html);
        assert_eq!(wanted("application/json;q=0.9, text/html"), Format::Html);
        assert_eq!(wanted("image/png\nText/HTML;level=1;Q=0.1"), Format::Html);
        assert_eq!(wanted("application/problem+json, */*"), Format::Json);
        assert_eq!(wanted("text/html;q=0, text/plain;q=x"), Format::Plain);
        assert_eq!(wanted("*/*"), Format::Plain);
        assert_eq!(wanted(""), Format::Plain);
    }

    #[test]
    fn a_page_says_what_happened_with_the_request_id_and_is_safe_html() {
        let id = RequestId::new(0, 0);
        let page = Page::of_fault(&Fault::NoSite { host: "<script>".into() }, id);
        for format in [Format::Html, Format::Plain, Format::Json] {
            let text = String::from_utf8(page.render(format).to_vec()).expect("text");
            assert!(text.contains("404") && text.contains(id.as_str()), "{text}");
            assert!(format != Format::Html || !text.contains("<script>"), "{text}");
        }
    }
}
