//! Readable lines, for where there is no journal: time, level, kind, message.

use std::time::SystemTime;

use super::{entry, sentence};
use crate::observe::event::{Event, Level, kind};
use crate::observe::record::{Record, RecordNames};

/// The lines of an event; those after the first are indented.
pub(super) fn event(event: &Event) -> String {
    let message = event.message().replace('\n', "\n  ");
    line(event.level(), event.name(), &message.replace("\n  \n", "\n\n"))
}

/// The line of a record, with its request id.
pub(super) fn record(record: &Record, names: &RecordNames) -> String {
    let mut message = String::new();
    sentence::write(&mut message, record, names);
    line(entry::level(record), kind::EXCHANGE.name, &message)
}

fn line(level: Level, name: &str, message: &str) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    format!("{time} {} {name}: {message}\n", level.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::journal::entry::tests::names;
    use crate::observe::record::tests::retried;

    #[test]
    fn lines_below_the_first_are_indented() {
        let text = event(&Event::ReloadRefused {
            generation: 1,
            problems: vec!["error: a\n --> f:1:2".into(), "error: b".into()],
        });
        let (_, said) = text.split_once("Z ").expect("a time");
        assert_eq!(
            said,
            "error reload-refused: Reload refused, generation 1 goes on: f:1:2: a (and 1 more problem)\n\n  error: a\n   --> f:1:2\n\n  error: b\n"
        );
    }

    #[test]
    fn a_record_is_one_line_that_ends_in_its_request_id() {
        let text = record(&retried(), &names());
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with(" [01HF7YAT00000000000000001A]\n"), "{text}");
        assert!(text.contains(" notice exchange: 192.0.2.7 GET shop.example.com/cart"), "{text}");
    }
}
