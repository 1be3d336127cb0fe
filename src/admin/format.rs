//! The two text formats of metrics, and which of them a client gets.

use http::header::{ACCEPT, HeaderMap};

/// A text format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextFormat {
    /// That of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[default]
    Prometheus,
    /// OpenMetrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
}

impl TextFormat {
    /// What a client gets that sends these fields: OpenMetrics if it names that and likes nothing better, else what each client
    /// reads. One that takes neither gets that too, which RFC 9110, section 12.5.1 leaves to the server.
    #[must_use]
    pub fn accepted(fields: &HeaderMap) -> Self {
        let ranges =
            fields.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let ranges: Vec<_> = ranges.filter_map(MediaRange::parse).collect();
        let [open, plain] = [Self::OpenMetrics, Self::Prometheus].map(|format| {
            let (media, version) = format.media();
            ranges.iter().filter_map(|range| range.matches(media, version)).max().unwrap_or_default()
        });
        match open.quality > 0 && open.named() && open.quality >= plain.quality {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_client::encoding::prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn media(self) -> (&'static str, &'static str) {
        match self {
            Self::Prometheus => ("text/plain", "0.0.4"),
            Self::OpenMetrics => ("application/openmetrics-text", "1.0.0"),
        }
    }
}

/// One element of `Accept`.
struct MediaRange {
    /// In lower case.
    media: String,
    version: Option<String>,
    /// In thousandths.
    quality: u16,
}

/// How a range matches. The one that says most of a format counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct RangeMatch {
    /// 3 for type and version, 2 for the type, 1 for its first half, 0 for everything.
    precision: u8,
    quality: u16,
}

impl MediaRange {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| media.contains('/'))?.to_ascii_lowercase();
        let (mut version, mut quality) = (None, 1000);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value.to_owned()),
                // a number from 0 to 1; what is none of these is not accepted
                "q" => quality = value.parse::<f32>().map_or(0, |one| (one * 1000.0) as u16).min(1000),
                _ => {}
            }
        }
        Some(Self { media, version, quality })
    }

    fn matches(&self, media: &str, version: &str) -> Option<RangeMatch> {
        let of_type = self.media.strip_suffix("/*").is_some_and(|half| media.starts_with(&format!("{half}/")));
        let precision = match &self.version {
            Some(asked) if self.media == media && asked == version => 3,
            None if self.media == media => 2,
            None if of_type => 1,
            None if self.media == "*/*" => 0,
            _ => return None,
        };
        Some(RangeMatch { precision, quality: self.quality })
    }
}

impl RangeMatch {
    fn named(self) -> bool {
        self.precision >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(values: &[&str]) -> TextFormat {
        let fields = values.iter().map(|value| (ACCEPT, value.parse().expect("a value")));
        TextFormat::accepted(&fields.collect())
    }

    #[test]
    fn open_metrics_goes_to_clients_that_ask_for_the_version_that_there_is() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let of_two = ["text/plain;q=0.5", "Application/OpenMetrics-Text; Version=\"1.0.0\""];
        for values in [&[prometheus][..], &[prometheus_3], &of_two, &["application/openmetrics-text, text/plain"]] {
            assert_eq!(accepted(values), TextFormat::OpenMetrics, "{values:?}");
        }
    }

    #[test]
    fn all_others_get_what_each_client_reads() {
        let older = "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let refused = "application/openmetrics-text;version=1.0.0;q=0, application/openmetrics-text, */*";
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for value in [
            "*/*",
            "application/*",
            "text/*",
            older,
            refused,
            protobuf,
            "text/plain, application/openmetrics-text;q=0.9",
            "application/openmetrics-text;q=many",
            "",
            "nonsense",
        ] {
            assert_eq!(accepted(&[value]), TextFormat::Prometheus, "{value}");
        }
        assert_eq!(accepted(&[]), TextFormat::Prometheus);
    }
}
