//! The account of what a peer does that costs us and brings nothing (RFC 9113 §10.5).
//!
//! Everything of that kind has a price. What the account has left comes back with time, and with each exchange that is
//! served: a client that asks for much may also say much.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// PING, SETTINGS, PRIORITY, a window that opens, a frame of a type that is not known.
    Control,
    /// DATA without data, and CONTINUATION after the first.
    Empty,
    /// A request that is refused before it reaches a server.
    Refused,
    /// Fields so many times as long as the limit, which have to be decoded all the same: a megabyte takes as long as the
    /// handshake of the next connection.
    Oversized(u32),
    /// A stream that is reset, by the peer, or by us because it broke a rule: CVE-2023-44487, CVE-2025-8671.
    Reset,
}

impl Cost {
    fn price(self) -> u32 {
        match self {
            Self::Control => 1,
            Self::Empty | Self::Refused => 5,
            Self::Oversized(times) => times.saturating_mul(70),
            Self::Reset => 10,
        }
    }

    /// What a client does that has too much of it on its account.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Control => "Too many frames ask for nothing.",
            Self::Empty => "Too many frames are empty, or stand on streams that have ended.",
            Self::Refused | Self::Oversized(_) => "Too many requests are above a limit.",
            Self::Reset => "Too many streams are reset, or break a rule.",
        }
    }
}

/// The account of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbuseAccount {
    left: u32,
    /// When it was filled for the last time, since the connection began.
    filled: Duration,
}

/// What a full account has: 200 resets, or 2,000 PINGs.
const FULL: u32 = 2000;
/// What comes back each second.
const EACH_SECOND: u32 = 200;
/// What comes back with an exchange that was served: less than a reset costs, or a client could pay for one with another.
const EACH_EXCHANGE: u32 = 4;

impl Default for AbuseAccount {
    fn default() -> Self {
        Self { left: FULL, filled: Duration::ZERO }
    }
}

impl AbuseAccount {
    /// Takes the price of something that the peer did, at a time since the connection began. False when the account has
    /// not so much left: the connection ends with ENHANCE_YOUR_CALM.
    #[must_use]
    pub fn charge(&mut self, cost: Cost, age: Duration) -> bool {
        let price = cost.price();
        if self.left < price {
            let seconds = age.saturating_sub(self.filled).as_secs();
            if seconds > 0 {
                let filled = u64::from(EACH_SECOND).saturating_mul(seconds).min(u64::from(FULL));
                self.left = (self.left + filled as u32).min(FULL);
                self.filled = age;
            }
        }
        let has = self.left >= price;
        self.left = self.left.saturating_sub(price);
        has
    }

    /// So many octets of a body were sent in one go. Its receiver opens two windows for it and may measure with a PING, and
    /// says more when it is large.
    pub fn sent(&mut self, octets: usize) {
        self.left = (self.left + 3 + (octets / 1024) as u32).min(FULL);
    }

    /// An exchange was served.
    pub fn served(&mut self) {
        self.left = (self.left + EACH_EXCHANGE).min(FULL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(account: &mut AbuseAccount, cost: Cost, age: Duration) -> usize {
        (0..10_000).take_while(|_| account.charge(cost, age)).count()
    }

    #[test]
    fn a_flood_ends_and_a_little_each_second_does_not() {
        assert_eq!(most(&mut AbuseAccount::default(), Cost::Reset, Duration::ZERO), 200);
        assert_eq!(most(&mut AbuseAccount::default(), Cost::Control, Duration::ZERO), 2000);
        let mut account = AbuseAccount::default();
        for second in 0..10_000 {
            assert!((0..19).all(|_| account.charge(Cost::Reset, Duration::from_secs(second))), "{second}");
        }
    }

    #[test]
    fn exchanges_do_not_pay_for_resets() {
        let mut account = AbuseAccount::default();
        let paid = (0..10_000).take_while(|_| {
            account.served();
            account.charge(Cost::Reset, Duration::ZERO)
        });
        assert!(paid.count() < 400);
    }
}
