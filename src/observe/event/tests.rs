use super::*;

fn refused(problems: &[&str]) -> Event {
    Event::ReloadRefused { generation: 7, problems: problems.iter().map(ToString::to_string).collect() }
}

#[test]
fn a_refused_reload_names_the_first_place_in_its_first_line_and_every_problem_below() {
    let event = refused(&[
        "error: unknown key `serves`\n --> /etc/segue/segue.toml:7:3\n  |\n7 | serves = []\n",
        "error: pool `a` has no server",
    ]);
    let message = event.message();
    let (first, rest) = message.split_once('\n').expect("lines");
    assert_eq!(
        first,
        "Reload refused, generation 7 goes on: /etc/segue/segue.toml:7:3: unknown key `serves` (and 1 more problem)"
    );
    assert!(rest.contains("7 | serves = []") && rest.contains("pool `a` has no server"));
    assert_eq!(event.level().priority(), 3);
}

#[test]
fn a_refused_reload_without_a_place_still_says_why() {
    let message = refused(&["the worker ended with exit status 101"]).message();
    assert_eq!(message, "Reload refused, generation 7 goes on: the worker ended with exit status 101");
}

#[test]
fn durations_are_milliseconds_in_the_data() {
    let event = Event::ServerUp {
        pool: "farm".into(),
        server: "10.0.0.11:80".into(),
        reason: "2 checks passed in a row".into(),
        down_for: Some(Duration::from_millis(1500)),
    };
    assert_eq!(
        event.data(),
        r#"{"pool":"farm","server":"10.0.0.11:80","reason":"2 checks passed in a row","down_for_ms":1500}"#
    );
    assert_eq!(event.fields().server, Some("10.0.0.11:80"));
}

#[test]
fn a_drain_that_cut_connections_is_a_warning() {
    let drained = |cut| Event::Drained { generation: 6, finished: 5, moved: 0, cut };
    assert_eq!((drained(0).level(), drained(1).level()), (Level::Info, Level::Warn));
}

#[test]
fn controls_in_a_cause_do_not_reach_the_message() {
    let event = Event::AcceptFailed { listener: "http".into(), why: "odd\u{1b}[31m\nPRIORITY=0".into() };
    assert!(!event.message().contains(['\u{1b}', '\n']), "{}", event.message());
}
