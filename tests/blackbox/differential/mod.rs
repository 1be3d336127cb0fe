//! The file of 2011, imported, beside Debian's HAProxy on the same file in the spelling of today: the same answers, the same
//! requests at the servers, the same spread, the same checks, and a page that asks for its users.

mod haproxy;
mod recording;
mod requests;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use haproxy::HaProxy;
use recording::{Received, Recording};
use requests::{Answered, Asked, Random};

use crate::support::{Run, SEGUE, Wire, free_address, wait_for};

const FILE: &str = "tests/config/import/web-farm-of-2011.cfg";
const REQUESTS: usize = 1000;

/// What HAProxy has of the file: the ports, and the two servers, which are its own.
struct Old {
    _haproxy: HaProxy,
    farm: SocketAddr,
    stats: SocketAddr,
    servers: [Recording; 2],
}

/// What Segue has of it, with servers of its own.
struct New {
    run: Run,
    farm: SocketAddr,
    stats: SocketAddr,
    servers: [Recording; 2],
}

/// The file with these addresses, and `check` of its servers.
fn file(farm: SocketAddr, stats: SocketAddr, servers: &[Recording; 2], check: &str) -> String {
    let mut text = std::fs::read_to_string(FILE).expect("the file");
    let [one, two] = servers;
    for (written, used) in [("8080", farm), ("1936", stats), ("9001", one.address), ("9002", two.address)] {
        text = text.replace(&format!("127.0.0.1:{written}"), &used.to_string());
    }
    text.replace(" check\n", &format!(" check {check}\n"))
}

/// A farm with both proxies before it, Segue with what `edit` makes of the imported configuration.
#[track_caller]
fn old_and_new(check: &str, edit: fn(&str) -> String) -> (Old, New) {
    let pair = || [Recording::start(), Recording::start()];
    let (servers, farm, stats) = (pair(), free_address(), free_address());
    let haproxy = HaProxy::start(&file(farm, stats, &servers, check), farm);
    let old = Old { _haproxy: haproxy, farm, stats, servers };
    let (servers, farm, stats) = (pair(), free_address(), free_address());
    let config = import(&file(farm, stats, &servers, check));
    (old, New { run: Run::new(&edit(&config)), farm, stats, servers })
}

/// The file as `segue import` has it.
fn import(text: &str) -> String {
    let mut command = Command::new(SEGUE);
    command.args(["import", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("segue");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let config = child.wait_with_output().expect("segue").stdout;
    String::from_utf8(config).expect("text")
}

/// What came back to the client, and what came to the servers before.
struct Exchange {
    answered: Answered,
    received: Vec<Received>,
}

/// Sends the requests to a proxy, one after the other, over one connection for as long as it goes on.
fn exchanges(all: &[Asked], proxy: SocketAddr, servers: &[Recording; 2]) -> Vec<Exchange> {
    let mut kept = None;
    let exchange = |asked: &Asked| {
        let mut wire = kept.take().unwrap_or_else(|| Wire::connect(proxy));
        let answered = asked.send(&mut wire);
        kept = answered.goes_on.then_some(wire);
        Exchange { answered, received: servers.iter().flat_map(Recording::taken).collect() }
    };
    all.iter().map(exchange).collect()
}

/// Which of the servers answer so many requests, each over a connection of its own.
fn counts(address: SocketAddr, servers: &[Recording; 2], requests: usize) -> [usize; 2] {
    servers.iter().for_each(|server| drop(server.taken()));
    for _ in 0..requests {
        assert_eq!(plain(address, "/").status, 200);
    }
    [0, 1].map(|index| servers[index].taken().len())
}

/// A small request over a connection of its own.
#[track_caller]
fn plain(address: SocketAddr, path: &str) -> Answered {
    let asked = Asked::get(path);
    asked.send(&mut Wire::connect(address))
}

#[test]
fn a_thousand_requests_of_every_kind_are_answered_and_sent_on_as_haproxy_does() {
    let (old, new) = old_and_new("inter 3600s", str::to_owned);
    let _service = new.run.start();
    let (mut random, began) = (Random::new(2011), Instant::now());
    let asked: Vec<_> = (0..REQUESTS).map(|number| Asked::random(number, &mut random)).collect();
    let (at_old, at_new) = std::thread::scope(|scope| {
        let at_old = scope.spawn(|| exchanges(&asked, old.farm, &old.servers));
        let at_new = exchanges(&asked, new.farm, &new.servers);
        (at_old.join().expect("HAProxy"), at_new)
    });
    for ((asked, old), new) in asked.iter().zip(&at_old).zip(&at_new) {
        requests::assert_same_answer(asked, &old.answered, &new.answered);
        requests::assert_same_request(asked, &old.received, &new.received);
    }
    let kinds: BTreeSet<_> = asked.iter().map(|asked| (asked.method, asked.wants)).collect();
    assert!(kinds.len() > 60, "{kinds:?}");
    println!("{REQUESTS} requests, {} kinds, in {:?}", kinds.len(), began.elapsed());
}

#[test]
fn requests_are_spread_evenly_by_both() {
    let (old, new) = old_and_new("inter 3600s", str::to_owned);
    let _service = new.run.start();
    let [one, other] = counts(old.farm, &old.servers, 200);
    assert_eq!((one, other), (100, 100), "HAProxy");
    let [one, other] = counts(new.farm, &new.servers, 200);
    // each of the four threads goes round by itself
    assert!(one.abs_diff(other) <= 4, "Segue: {one} and {other}");
}

#[test]
fn a_server_whose_check_fails_gets_nothing_from_either_and_comes_back() {
    let (old, new) = old_and_new("inter 200", str::to_owned);
    let _service = new.run.start();
    let shares = |sick: &str, wanted: fn([usize; 2]) -> bool| {
        for (name, address, servers) in [("HAProxy", old.farm, &old.servers), ("Segue", new.farm, &new.servers)] {
            wait_for(&format!("{name} to see that the first server is {sick}"), || {
                wanted(counts(address, servers, 20)).then_some(())
            });
        }
    };
    shares("well", |[one, other]| one > 5 && other > 5);
    old.servers[0].be_sick(true);
    new.servers[0].be_sick(true);
    shares("sick", |[one, other]| one == 0 && other == 20);
    old.servers[0].be_sick(false);
    new.servers[0].be_sick(false);
    shares("well again", |[one, other]| one > 5 && other > 5);
    let asked = [&old.servers, &new.servers].map(|servers| servers[0].last_check().expect("a check"));
    let [of_old, of_new] = &asked;
    assert_eq!((&of_old.method, &of_old.target), (&of_new.method, &of_new.target));
    assert_eq!(of_old.target, "/index.php");
}

#[test]
fn a_server_that_refuses_connections_costs_no_client_its_answer() {
    let (old, new) = old_and_new("inter 3600s", str::to_owned);
    let _service = new.run.start();
    let (old_farm, new_farm) = (old.farm, new.farm);
    assert!(plain(old_farm, "/").status == 200 && plain(new_farm, "/").status == 200);
    old.servers[0].refuse();
    new.servers[0].refuse();
    old.servers.iter().chain(&new.servers).for_each(|server| drop(server.taken()));
    std::thread::scope(|scope| {
        let clients: Vec<_> = [old_farm, new_farm]
            .into_iter()
            .flat_map(|address| (0..8).map(move |_| address))
            .map(|address| scope.spawn(move || plain(address, "/").status))
            .collect();
        let answers: Vec<u16> = clients.into_iter().map(|client| client.join().expect("an answer")).collect();
        assert_eq!(answers, [200; 16]);
    });
    assert_eq!((old.servers[1].taken().len(), new.servers[1].taken().len()), (8, 8));
}

/// `user:password`, as in the file.
const USER: (&str, &str) = ("Authorization", "Basic dXNlcjpwYXNzd29yZA==");

/// With the page, which is a comment in it, and so is the address that it had: an administrator takes the number signs away.
fn with_page(config: &str) -> String {
    let config = config.replace("# [listen.webstats]\n# address", "[listen.webstats]\naddress");
    let lines = ["[dashboard]", "on = ", "users = "];
    lines.iter().fold(config, |config, line| config.replace(&format!("\n# {line}"), &format!("\n{line}")))
}

/// What a browser comes to that has this bookmark.
#[track_caller]
fn bookmark(address: SocketAddr, fields: &[(&str, &str)]) -> Answered {
    let mut target = "/lb?stats".to_owned();
    for _ in 0..3 {
        let asked = fields.iter().fold(Asked::get(&target), |asked, (name, value)| asked.with(name, value));
        let answered = asked.send(&mut Wire::connect(address));
        match answered.field("location") {
            Some(next) => target = next.to_owned(),
            None => return answered,
        }
    }
    panic!("it is sent round and round: {target}");
}

#[test]
fn the_bookmark_of_the_page_leads_there_and_it_asks_for_its_users() {
    let (old, new) = old_and_new("inter 3600s", with_page);
    let _service = new.run.start();
    for address in [old.stats, new.stats, new.farm] {
        let strange = bookmark(address, &[]);
        assert_eq!(strange.status, 401, "{strange:?}");
        let challenge = strange.field("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        let wrong = bookmark(address, &[("Authorization", "Basic dXNlcjp3cm9uZw==")]);
        assert_eq!(wrong.status, 401, "{wrong:?}");
        let page = bookmark(address, &[USER]);
        let text = String::from_utf8_lossy(&page.body).to_lowercase();
        assert!(page.status == 200 && text.contains("<html"), "{} {text:.200}", page.status);
        assert!(page.field("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    }
}
