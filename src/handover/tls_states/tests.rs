//! Every order in which the two sides can come to the word, and every step at which either can die.

use std::collections::HashSet;
use std::io::IoSlice;

use super::*;
use crate::tls::{Records, Suite, Version};

/// One side of a move: what it does, step by step. It is dropped where its process dies.
struct Side {
    states: Option<SharedTlsStates>,
    /// The sender's own state, or what the receiver has read.
    state: Option<Box<TlsState>>,
    steps: &'static [Step],
    next: usize,
}

#[derive(Clone, Copy)]
enum Step {
    Read,
    Take,
    Withdraw,
    Seal,
}

const RECEIVER: &[Step] = &[Step::Read, Step::Take, Step::Seal];
const SENDER: &[Step] = &[Step::Withdraw, Step::Seal];

impl Side {
    /// Does the next step: the record, if one was sealed.
    fn step(&mut self) -> Option<Vec<u8>> {
        let step = self.steps[self.next];
        self.next += 1;
        let states = self.states.as_ref().expect("alive");
        match step {
            Step::Read => self.state = states.read(0),
            Step::Take => self.state = self.state.take().filter(|_| states.take(0..1)),
            Step::Withdraw => self.state = self.state.take().filter(|_| states.withdraw(0..1)),
            Step::Seal => {
                let mut records = Records::new(self.state.take()?).expect("keys");
                let mut sealed = Vec::new();
                records.seal(&[IoSlice::new(b"data")], &mut sealed).expect("sealed");
                return Some(sealed);
            }
        }
        None
    }
}

fn own() -> Box<TlsState> {
    TlsState::stand_in(Version::Tls13, Suite::Aes128Gcm, 3)
}

/// The two sides in this order: `true` is a step of the sender. Each dies before its step of that number.
fn played(order: &[bool], deaths: [usize; 2]) -> Vec<Vec<u8>> {
    let state = own();
    let offered = SharedTlsStates::offer(&[&state]).expect("memory");
    let file = offered.file().try_clone_to_owned().expect("a descriptor");
    let received = SharedTlsStates::open(file, 1).expect("memory");
    let sender = Side { states: Some(offered), state: Some(state), steps: SENDER, next: 0 };
    let receiver = Side { states: Some(received), state: None, steps: RECEIVER, next: 0 };
    let mut sides = [receiver, sender];
    let mut sealed = Vec::new();
    for is_sender in order {
        let (side, death) = (&mut sides[usize::from(*is_sender)], deaths[usize::from(*is_sender)]);
        if side.next < death {
            sealed.extend(side.step());
        } else {
            side.states = None;
        }
    }
    sealed
}

/// All orders of so many steps of each.
fn orders(receiver: usize, sender: usize) -> Vec<Vec<bool>> {
    if receiver == 0 || sender == 0 {
        return vec![vec![receiver == 0; receiver + sender]];
    }
    let with = |first: bool, rest: Vec<Vec<bool>>| rest.into_iter().map(move |rest| [&[first][..], &rest].concat());
    with(false, orders(receiver - 1, sender)).chain(with(true, orders(receiver, sender - 1))).collect()
}

#[test]
fn in_every_order_one_side_seals_and_with_a_death_at_any_step_none_or_one() {
    let mut outcomes = HashSet::new();
    let orders = orders(RECEIVER.len(), SENDER.len());
    assert_eq!(orders.len(), 10);
    for order in &orders {
        for receiver_dies in 0..=RECEIVER.len() {
            for sender_dies in 0..=SENDER.len() {
                let sealed = played(order, [receiver_dies, sender_dies]).len();
                let both_live = receiver_dies == RECEIVER.len() && sender_dies == SENDER.len();
                assert!(sealed <= 1, "{order:?}: the same number twice");
                assert!(sealed == 1 || !both_live, "{order:?}: the connection is lost");
                outcomes.insert((both_live, sealed));
            }
        }
    }
    assert_eq!(outcomes.len(), 3, "with a death, none and one: {outcomes:?}");
}

#[test]
fn two_threads_that_meet_at_the_word_are_one_owner() {
    for _ in 0..200 {
        let offered = SharedTlsStates::offer(&[&own()]).expect("memory");
        let file = offered.file().try_clone_to_owned().expect("a descriptor");
        let received = SharedTlsStates::open(file, 1).expect("memory");
        let barrier = std::sync::Barrier::new(2);
        let (taken, withdrawn) = std::thread::scope(|scope| {
            let taken = scope.spawn(|| {
                let read = received.read(0);
                barrier.wait();
                received.take(0..1).then_some(read)
            });
            barrier.wait();
            let withdrawn = offered.withdraw(0..1);
            (taken.join().expect("no panic"), withdrawn)
        });
        assert_eq!(taken.is_some(), !withdrawn);
        assert!(taken.is_none_or(|read| read.is_some()), "what is taken was read whole");
    }
}

#[test]
fn a_state_comes_over_as_it_is_and_is_wiped_once_it_is_decided() {
    let states = [3, 4].map(|byte| TlsState::stand_in(Version::Tls12, Suite::Chacha20Poly1305, byte));
    let offered = SharedTlsStates::offer(&states.each_ref().map(|state| &**state)).expect("memory");
    let file = offered.file().try_clone_to_owned().expect("a descriptor");
    let received = SharedTlsStates::open(file, 2).expect("memory");
    let bytes = |state: &TlsState| {
        let mut bytes = [0; TlsState::LENGTH];
        state.write(&mut bytes);
        bytes
    };
    for (index, state) in states.iter().enumerate() {
        assert_eq!(bytes(&received.read(index).expect("a state")), bytes(state));
    }
    assert!(received.take(0..1) && !received.take(0..1) && !offered.withdraw(0..1));
    assert!(offered.withdraw(1..2) && !received.take(1..2));
    for index in 0..2 {
        assert!(offered.read(index).is_none());
        let words = (1..WIDTH).map(|at| received.numbers.number(index * WIDTH + at).load(Ordering::Relaxed));
        assert!(words.into_iter().all(|word| word == 0));
    }
}

#[test]
fn the_states_of_one_transfer_are_decided_together() {
    let states = [3, 4, 5].map(|byte| TlsState::stand_in(Version::Tls13, Suite::Aes128Gcm, byte));
    for is_taken in [true, false] {
        let offered = SharedTlsStates::offer(&states.each_ref().map(|state| &**state)).expect("memory");
        let file = offered.file().try_clone_to_owned().expect("a descriptor");
        let received = SharedTlsStates::open(file, 3).expect("memory");
        match is_taken {
            true => assert!(received.take(0..2) && !offered.withdraw(0..2)),
            false => assert!(offered.withdraw(0..2) && !received.take(0..2)),
        }
        assert!([0, 1].iter().all(|index| received.read(*index).is_none()), "both are wiped");
        assert!(received.read(2).is_some() && offered.withdraw(2..3), "that of another transfer is not");
    }
}

#[test]
fn a_file_that_another_process_could_cut_is_refused() {
    let offered = SharedTlsStates::offer(&[&own()]).expect("memory");
    let file = offered.file().try_clone_to_owned().expect("a descriptor");
    SharedTlsStates::open(file, 100).expect_err("too short");
    let open = rustix::fs::memfd_create(c"test", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    rustix::fs::ftruncate(&open, 1 << 20).expect("its size");
    SharedTlsStates::open(open, 1).expect_err("no seals");
}
