//! Texts of events, short enough for every reader: `journalctl -o json` shows a field of 4 KB and more as null.

use std::fmt::Write as _;

use serde_json::Value;

use crate::observe::event::Event;
use crate::observe::words::{beginning, is_invisible};

/// The most bytes of the value of a field: below 4096 with the longest name and `=`.
pub(super) const FIELD: usize = 4000;

/// The sentence of an event, cut at a line where that is possible.
pub(super) fn message(event: &Event) -> String {
    let mut text = event.message();
    if text.len() > FIELD {
        const REST: &str = "\n… the rest is left out here";
        text.truncate(beginning(&text, FIELD - REST.len()).len());
        if let Some(line) = text.rfind('\n').filter(|line| *line > FIELD / 2) {
            text.truncate(line);
        }
        text.push_str(REST);
    }
    text
}

/// The details of an event; the longest texts and lists are cut first, and `cut` says so.
pub(super) fn data(event: &Event) -> String {
    let text = visible(event.data());
    if text.len() <= FIELD {
        return text;
    }
    let Ok(mut value) = serde_json::from_str::<Value>(&text) else { return "{}".to_owned() };
    value["cut"] = true.into();
    for most in [512, 128, 32, 8] {
        shorten(&mut value, most);
        let text = visible(value.to_string());
        if text.len() <= FIELD {
            return text;
        }
    }
    r#"{"cut":true}"#.to_owned()
}

/// JSON whose texts have no invisible characters.
fn visible(json: String) -> String {
    if !json.contains(is_invisible) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for char in json.chars() {
        if !is_invisible(char) {
            out.push(char);
            continue;
        }
        for unit in char.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Keeps so many bytes of each text, and a list no longer than an eighth of that.
fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            text.truncate(beginning(text, most).len());
            text.push('…');
        }
        Value::Array(list) => {
            list.truncate((most / 8).max(1));
            list.iter_mut().for_each(|one| shorten(one, most));
        }
        Value::Object(fields) => fields.values_mut().for_each(|one| shorten(one, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_with_many_problems_is_cut_below_4_kb() {
        for problems in [vec!["error: x\"\n".repeat(9_000)], vec!["error: é".repeat(20); 300], vec!["e".into(); 9_000]]
        {
            let event = Event::ReloadRefused { generation: 1, problems };
            let (message, data) = (message(&event), data(&event));
            assert!(message.len() <= FIELD && data.len() <= FIELD);
            assert!(message.starts_with("Reload refused, generation 1 goes on"), "{message}");
            let data: Value = serde_json::from_str(&data).expect("JSON");
            assert_eq!((&data["cut"], &data["generation"]), (&true.into(), &1.into()));
        }
        let event = Event::SupervisorWarning { text: "a\u{202e}\u{e0041}b".into() };
        assert_eq!(data(&event), r#"{"text":"a\u202e\udb40\udc41b"}"#);
        let event = Event::ReloadStarted { generation: 1 };
        assert_eq!((message(&event), data(&event)), (event.message(), event.data()));
    }
}
