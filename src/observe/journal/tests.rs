use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::time::Instant;

use tracing::Dispatch;

use super::entry::tests::names;
use super::journald::Journald;
use super::*;
use crate::control::statistics::{CounterNames, SharedStatistics, StatisticsReader};
use crate::observe::record::tests::retried;

const SOON: Duration = Duration::from_secs(30);

/// A journald that reads when the test does.
struct Fake {
    _place: tempfile::TempDir,
    path: std::path::PathBuf,
    socket: UnixDatagram,
}

impl Fake {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("directory");
        let path = place.path().join("socket");
        let socket = Self::bind(&path);
        Self { _place: place, path, socket }
    }

    fn bind(path: &std::path::Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(path).expect("bind");
        socket.set_read_timeout(Some(SOON)).expect("timeout");
        socket
    }

    fn journal(&self) -> Journal {
        let events = || Ok(Dispatch::new(tracing_subscriber::registry()));
        let journald = Journald::with_events(&self.path, Box::new(events)).expect("connect");
        Journal::start_on(Output::Journald(Box::new(journald)), IDENTITY, Some(Arc::new(names()))).expect("thread")
    }

    /// The next entry that is no probe.
    fn entry(&self) -> String {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = self.socket.recv(&mut buffer).expect("an entry");
            if length > 0 {
                return String::from_utf8(buffer[..length].to_vec()).expect("text");
            }
        }
    }
}

const IDENTITY: Identity = Identity { role: Role::Worker, generation: Some(7) };

/// A stderr that the test reads.
struct Read(mpsc::Receiver<String>);

impl Read {
    /// The next line; `None` at the end.
    fn line(&self) -> Option<String> {
        match self.0.recv_timeout(SOON) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line"),
        }
    }
}

fn on_text() -> (Journal, Read) {
    let (reader, writer) = io::pipe().expect("pipe");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = io::BufRead::lines(io::BufReader::new(reader)).map_while(Result::ok);
        lines.all(|line| sender.send(line).is_ok())
    });
    (start_on_text(&writer, Some(Arc::new(names()))), Read(lines))
}

fn start_on_text(writer: &io::PipeWriter, names: Option<Arc<RecordNames>>) -> Journal {
    let output = Output::Text(super::lines::LineOutput::new(writer).expect("dup"));
    Journal::start_on(output, IDENTITY, names).expect("thread")
}

#[test]
fn a_journald_that_does_not_read_holds_up_neither_a_start_nor_an_end() {
    let fake = Fake::new();
    let (_keep, never) = mpsc::channel::<()>();
    let never = std::sync::Mutex::new(never);
    let make = move || {
        let _ = never.lock().expect("lock").recv(); // as a send to a full socket
        Ok(Dispatch::new(tracing_subscriber::registry()))
    };
    let journald = Journald::with_events(&fake.path, Box::new(make)).expect("connect");
    let journal = Journal::start_on(Output::Journald(Box::new(journald)), IDENTITY, None).expect("thread");
    journal.event(Event::ProbationOver { generation: 8 });
    journal.records(vec![retried()]);
    let started = Instant::now();
    assert!(!journal.finish(Duration::from_secs(60)));
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_full_pipe_blocks_only_the_writer() {
    let (_unread, writer) = io::pipe().expect("pipe");
    let journal = start_on_text(&writer, None);
    journal.records(vec![retried(); 2_000]); // four times what it holds
    let started = Instant::now();
    assert!(!journal.finish(Duration::from_secs(60)));
    assert!(started.elapsed() < SOON);
    assert!(journal.unwritten().dropped > 1_000);
    eprintln!("standard error is not locked");
}

#[test]
fn every_record_becomes_one_entry_in_its_order() {
    let fake = Fake::new();
    let journal = fake.journal();
    let reader = std::thread::spawn(move || {
        let statuses = |_| {
            let entry = fake.entry();
            let status = entry.lines().find_map(|line| line.strip_prefix("PROXY_STATUS="));
            status.map(ToOwned::to_owned)
        };
        (0..1_000).map(statuses).collect::<Vec<_>>()
    });
    for status in 100..1_100 {
        journal.records(vec![Record { status, ..retried() }]);
    }
    let statuses = reader.join().expect("reader");
    let expected: Vec<_> = (100..1_100).map(|status| Some(status.to_string())).collect();
    assert_eq!(statuses, expected);
    assert!(journal.finish(SOON));
    assert_eq!(journal.unwritten().dropped, 0);
}

#[test]
fn a_journald_that_does_not_read_blocks_only_the_writer() {
    let fake = Fake::new();
    let journal = fake.journal();
    let mut slowest = Duration::ZERO;
    for _ in 0..queue::ROOM / retried().weight() / 500 + 20 {
        let batch = vec![retried(); 500];
        let started = Instant::now();
        journal.records(batch);
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let dropped = journal.unwritten().dropped as usize;
    assert!(dropped > 500 * 10, "{dropped}");
    let started = Instant::now();
    assert!(!journal.finish(Duration::from_millis(50)));
    assert!(started.elapsed() < SOON);
    assert!(journal.unwritten().dropped as usize > dropped);
}

#[test]
fn an_event_that_journald_does_not_read_does_not_hold_up_the_end() {
    let fake = Fake::new();
    let full = UnixDatagram::unbound().expect("socket");
    full.set_nonblocking(true).expect("nonblocking");
    while full.send_to(b"x", &fake.path).is_ok() {}
    let journal = fake.journal();
    let started = Instant::now();
    journal.event(Event::ProbationOver { generation: 8 });
    assert!(!journal.finish(Duration::from_millis(50)));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn records_wait_for_a_journald_that_went_away() {
    let mut fake = Fake::new();
    let journal = fake.journal();
    std::fs::remove_file(&fake.path).expect("remove");
    fake.socket = UnixDatagram::unbound().expect("socket");
    journal.records(vec![retried()]);
    fake.socket = Fake::bind(&fake.path);
    assert!(fake.entry().contains("PROXY_STATUS=200"));
    assert!(journal.finish(SOON));
}

#[test]
fn an_entry_above_the_size_of_a_datagram_arrives_as_sealed_memory() {
    const LARGE: usize = 20 << 20; // twice what the socket may hold, and more
    let fake = Fake::new();
    let journal = fake.journal();
    let mut large = vec![b'x'; LARGE];
    large[..7].copy_from_slice(b"MESSAGE");
    let mut parts = [large].into_iter();
    let left = LeftRecords::write(EntryForm::Journald, |entries| {
        if let Some(part) = parts.next() {
            entries.bytes = part;
            entries.end_one();
        }
    });
    journal.inherit(left.expect("memory"));
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&fake.socket, &mut [], &mut control, rustix::net::RecvFlags::empty())
    });
    assert_eq!(received.expect("a datagram").bytes, 0);
    let fds = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let fd = fds.expect("a descriptor");
    let seals = rustix::fs::fcntl_get_seals(&fd).expect("seals");
    assert!(seals.contains(rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SEAL));
    let mut memory = std::fs::File::from(fd);
    io::Seek::rewind(&mut memory).expect("rewind");
    let text = io::read_to_string(memory).expect("text");
    assert!(text.starts_with("MESSAGEx") && text.len() == LARGE);
    journal.records(vec![retried()]);
    assert!(fake.entry().contains("PROXY_STATUS=200"));
}

#[test]
fn what_a_process_has_no_time_to_write_another_one_writes_and_none_is_lost() {
    const ALL: usize = 3_000;
    let fake = Fake::new();
    let mut leaving = fake.journal();
    let statistics =
        SharedStatistics::new(1, &CounterNames { counts: 1, tree: [("lost", 0_u64)].into_iter().collect() })
            .expect("memory");
    let lost = || {
        let counted = StatisticsReader::from(OwnedFd::from(statistics.file().try_clone().expect("dup"))).counted();
        serde_json::to_value(counted.expect("counts")).expect("json")["lost"].as_u64()
    };
    leaving.count_in(statistics.of_thread(0).count(0));
    for first in (0..ALL).step_by(500) {
        leaving.records((first..first + 500).map(|number| Record { bytes_in: number as u64, ..retried() }).collect());
    }
    assert!(lost() > Some(0));
    let mut entries = Vec::new();
    // twice: the second one is left again before it is through
    for _ in 0..2 {
        let left = leaving.leave(Duration::from_millis(50));
        assert!(left.iter().map(LeftRecords::count).sum::<u64>() > 500, "{left:?}");
        assert_eq!((leaving.unwritten().dropped, lost()), (0, Some(0)));
        leaving = fake.journal();
        for one in left {
            let position = one.position();
            let fd = one.as_fd().try_clone_to_owned().expect("dup");
            leaving.inherit(LeftRecords::open_at(fd, position).expect("records"));
        }
        entries.extend((0..100).map(|_| fake.entry()));
    }
    entries.extend((entries.len()..ALL).map(|_| fake.entry()));
    assert!(leaving.finish(SOON));
    let bytes = |entry: &String| {
        let (_, rest) = entry.split_once("\"in\":").expect("bytes");
        rest.split_once(',').expect("a number").0.parse::<usize>().expect("a number")
    };
    let mut numbers: Vec<_> = entries.iter().map(bytes).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..ALL).collect::<Vec<_>>());
}

#[test]
fn what_no_other_process_can_write_is_counted() {
    let fake = Fake::new();
    let journal = fake.journal();
    journal.records(vec![retried(); 3_000]);
    let left = journal.leave(Duration::ZERO);
    let count: u64 = left.iter().map(LeftRecords::count).sum();
    let (text, _lines) = on_text();
    left.into_iter().for_each(|left| text.inherit(left));
    assert!(count > 0);
    assert_eq!(text.unwritten().dropped, count);
}

#[test]
fn records_that_are_too_many_are_said_by_their_reason() {
    let (journal, lines) = on_text();
    for reason in [Reason::BadRequest, Reason::NoSite, Reason::BadRequest] {
        journal.limit_one(reason);
    }
    let _ = journal.finish(SOON);
    let mut said = String::new();
    while let Some(line) = lines.line() {
        said += &line;
    }
    let words = ["notice records-limited: ", "2 bad-request, 1 no-site"];
    let apart = said.contains("1 bad-request") && said.contains("1 no-site"); // the writer may say the first at once
    assert!(said.contains(words[0]) && (said.contains(words[1]) || apart), "{said}");
    assert_eq!(journal.unwritten().limited[Reason::BadRequest as usize], 2);
}

#[test]
fn drops_are_said_once_the_writer_is_through_again() {
    let (journal, lines) = on_text();
    journal.0.queue.drop_more(12);
    journal.event(Event::ProbationOver { generation: 8 });
    // the writer may be through before the event comes
    let both = lines.line().expect("a line") + &lines.line().expect("another one");
    assert!(both.contains(" notice probation-over: Generation 8 passed its probation"), "{both}");
    assert!(both.contains(" warning records-dropped: 12 records not written"), "{both}");
    journal.0.queue.drop_more(1);
    journal.event(Event::ProbationOver { generation: 9 });
    assert!(lines.line().expect("a line").contains("Generation 9"));
    let _ = journal.finish(SOON);
    assert!(lines.line().expect("a line").contains(" 1 record not written"));
}

#[test]
fn names_can_be_given_later() {
    let (journal, lines) = on_text();
    journal.set_names(Arc::default());
    journal.set_names(Arc::new(names()));
    journal.records(vec![retried()]);
    assert!(lines.line().expect("a line").contains("from farm/b"));
}

#[test]
fn the_last_handle_gone_ends_the_writer_after_what_it_has() {
    let (journal, lines) = on_text();
    journal.event(Event::ProbationOver { generation: 8 });
    drop(journal);
    assert!(lines.line().is_some());
    assert_eq!(lines.line(), None);
}

#[test]
fn the_fields_of_an_event_reach_tracing_with_fixed_names() {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    #[derive(Default)]
    struct Seen(BTreeMap<&'static str, String>);
    impl Visit for Seen {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }
    }
    struct Capture(Mutex<mpsc::Sender<(tracing::Level, Seen)>>);
    impl<S: tracing::Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut seen = Seen::default();
            event.record(&mut seen);
            let _ = self.0.lock().expect("lock").send((*event.metadata().level(), seen));
        }
    }

    let fake = Fake::new();
    let (sender, events) = mpsc::channel();
    let sender = Mutex::new(sender);
    let make = move || {
        let sender = sender.lock().expect("lock").clone();
        Ok(Dispatch::new(tracing_subscriber::registry().with(Capture(Mutex::new(sender)))))
    };
    let journald = Journald::with_events(&fake.path, Box::new(make)).expect("connect");
    let journal = Journal::start_on(Output::Journald(Box::new(journald)), IDENTITY, None).expect("thread");
    journal.event(Event::ArrivalFailed { listener: "http".into(), why: "odd\nPRIORITY=0\u{202e}".into() });
    let (level, Seen(fields)) = events.recv_timeout(SOON).expect("an event");
    assert_eq!(level, tracing::Level::ERROR);
    let names: Vec<_> = fields.keys().copied().collect();
    assert_eq!(names, ["message", "message_id", "proxy_data", "proxy_event", "proxy_generation", "proxy_listener"]);
    assert_eq!(&*fields["proxy_generation"], "7");
    let why = r"odd\nPRIORITY=0\u{202e}";
    let message = format!("A connection of listener http that came from another generation was closed: {why}");
    assert_eq!(fields["message"], message);
}
