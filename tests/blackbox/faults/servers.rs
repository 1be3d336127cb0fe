//! Servers that die, fall silent or close connections, while requests are on their way.

use super::{Crowd, Farm, Habit, Manners};
use crate::support::{Run, socket};

const CHECKED: &str = "check = \"GET /\"\ncheck_interval = \"200ms\"\ncheck_timeout = \"300ms\"";

#[test]
fn a_server_that_dies_and_comes_back_is_not_seen_by_idempotent_requests() {
    let mut farm = Farm::new(3, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config(CHECKED)).socket("http", listening);
    let _service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying, Habit::Put, Habit::Staying]);
    crowd.wait_served(20);
    farm.kill(1);
    run.wait_log("is down");
    crowd.wait_served(20);
    farm.revive(1);
    run.wait_log("is up after");
    crowd.wait_served(20);
    crowd.end();
}

// A request waited for the whole response timeout, 50 s, for a server that its checks had found dead long before.
#[test]
fn idempotent_requests_leave_a_silent_server_once_its_checks_fail() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config(CHECKED)).socket("http", listening);
    let _service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying, Habit::Put]);
    crowd.wait_served(20);
    farm.silence(0);
    run.wait_log("is down");
    crowd.wait_served(20);
    // their deadline is far below the response timeout
    crowd.end();
    run.wait_log("went down");
}

#[test]
fn a_post_waits_for_its_own_server_however_silent() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let config = farm.config(&format!("{CHECKED}\nresponse_timeout = \"3s\""));
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    let crowd = Crowd::start(address, &[Habit::Post]);
    crowd.wait_served(5);
    farm.silence(0);
    run.wait_log("504");
    let losses = crowd.losses();
    assert!(losses.iter().all(|loss| loss.starts_with("http/1.1 504")), "{losses:#?}");
}

// Servers that close after each answer without a word made one POST in a hundred fail, and one large PUT in five.
#[test]
fn what_cannot_be_sent_again_never_meets_a_server_that_is_just_closing_the_connection() {
    for manners in [Manners::Closing, Manners::ClosingLate] {
        let farm = Farm::new(2, manners);
        let (listening, address) = socket();
        let run = Run::new(&format!("{}[worker]\nthreads = 1\n", farm.config(""))).socket("http", listening);
        let _service = run.start();
        let crowd = Crowd::start(address, &[Habit::Staying]);
        crowd.wait_served(50); // by then it is known what they do
        crowd.end();
        let crowd = Crowd::start(address, &[Habit::Post, Habit::LargePut, Habit::Staying, Habit::Put]);
        crowd.wait_served(500);
        crowd.end();
    }
}
