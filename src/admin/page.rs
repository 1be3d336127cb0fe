//! The files of the status page. They are part of the program, so page and program are always of one version.

use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{Response, StatusCode};

use super::response::{ApiBody, with};

/// Nothing but the files beside the page, no frame around it, no form that goes elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal $kind:ident)+) => {
        &[$(($name, $kind, include_bytes!(concat!("page/", $name)))),+]
    };
}

const FILES: &[(&str, &str, &[u8])] = files! {
    "index.html" HTML
    "page.css" CSS
    "tables.css" CSS
    "uPlot.min.css" CSS
    "api.js" SCRIPT
    "change.js" SCRIPT
    "charts.js" SCRIPT
    "dom.js" SCRIPT
    "events.js" SCRIPT
    "page.js" SCRIPT
    "pools.js" SCRIPT
    "problems.js" SCRIPT
    "rates.js" SCRIPT
    "servers.js" SCRIPT
    "service.js" SCRIPT
    "table.js" SCRIPT
    "uPlot.iife.min.js" SCRIPT
    "words.js" SCRIPT
};

/// The file of this name; the page itself has none.
pub(super) fn file(name: &str) -> Option<Response<ApiBody>> {
    let name = if name.is_empty() { "index.html" } else { name };
    let (_, kind, content) = FILES.iter().find(|(known, ..)| *known == name)?;
    let mut response = with(StatusCode::OK, kind, *content);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/page");
        let names = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().expect("a name")).collect();
        names.sort();
        let mut served: Vec<_> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        served.sort();
        assert_eq!(names, served);
        assert!(file("").is_some() && file("../mod.rs").is_none());
    }
}
