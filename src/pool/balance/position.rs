//! The positions of the balancers of a pool, from one generation to the next: the credit of each server, by thread.
//!
//! A position is taken over server by server. A server that is new, or whose weight changed, begins without credit;
//! the sum that the others then hold is taken from all of them alike, so that the credits always add up to 0. More
//! threads than before share the positions there are, each a cycle's turn further on; with fewer, those of the last
//! threads are forgotten.

use super::{BACKUP, Balancer};

/// The credits of all servers at each thread of the generation before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::pool) struct Positions(Vec<Vec<i64>>);

impl Positions {
    /// From the state of each server: its weight now, and its credits by thread if they still count.
    pub(in crate::pool) fn new(servers: &[(u32, Option<&[i64]>)]) -> Self {
        let threads = servers.iter().filter_map(|(_, credits)| credits.map(<[i64]>::len)).max().unwrap_or_default();
        let whole: i64 = servers.iter().map(|(weight, _)| i64::from(*weight)).sum();
        let of_thread = |thread: usize| {
            let credit = |(weight, credits): &(u32, Option<&[i64]>)| match (weight, credits) {
                (0, _) | (_, None) => 0,
                // no server can be owed more than a whole cycle
                (_, Some(credits)) => credits.get(thread).map_or(0, |credit| *credit.clamp(&-whole, &whole)),
            };
            let mut credits: Vec<i64> = servers.iter().map(credit).collect();
            level(&mut credits, servers);
            credits
        };
        Self((0..threads.min(MOST_THREADS)).map(of_thread).collect())
    }
}

/// Takes the sum of the credits from all servers that take part, alike.
fn level(credits: &mut [i64], servers: &[(u32, Option<&[i64]>)]) {
    let excess: i64 = credits.iter().sum();
    let parts = servers.iter().filter(|(weight, _)| *weight > 0).count() as i64;
    if parts == 0 {
        return;
    }
    let (each, mut rest) = (excess / parts, excess % parts);
    for (credit, _) in credits.iter_mut().zip(servers).filter(|(_, (weight, _))| *weight > 0) {
        let more = rest.signum();
        rest -= more;
        *credit -= each + more;
    }
}

impl Balancer {
    /// The credit of each server.
    #[must_use]
    pub fn position(&self) -> Vec<i64> {
        self.turns.iter().map(|turn| turn.credit).collect()
    }

    /// Continues from the position of the generation before. `false` when it is unknown.
    pub(super) fn go_on(&mut self, positions: &Positions, thread: usize) -> bool {
        let known = positions.0.len();
        if known == 0 {
            return false;
        }
        for (turn, credit) in self.turns.iter_mut().zip(&positions.0[thread % known]) {
            turn.credit = *credit;
        }
        for _ in 0..thread / known {
            self.take_turn(0);
            self.take_turn(BACKUP);
        }
        true
    }
}

/// Far more than a machine has CPUs.
const MOST_THREADS: usize = 4096;
