//! How fast somebody may guess at passwords. Failures are counted by the name together with the address that it was tried
//! from, so that nobody can lock another out by guessing at their name from elsewhere, and more patiently by the address
//! alone, for who tries one password on many names. After some, each log-in waits for its turn, also a right one: who waits
//! learns nothing. Names that nobody has are counted as others are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long failures are remembered after the last one. These numbers are chosen, not tuned.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Failures that are remembered at most, whoever made them.
const MOST: usize = 4096;
/// The longest turn that is waited for; a log-in is refused that would have to wait longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the longest name that a user may have.
const NAME: usize = 63;

/// What somebody is told whose turn is too far away.
pub(super) fn too_many(wait: Duration) -> String {
    let seconds = wait.as_secs() + 1;
    format!("fewer failed log-ins are required, got too many: try again in {seconds} seconds")
}

/// What failures are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    Name(IpAddr, String),
    Address(IpAddr),
}

impl Counted {
    fn of(address: IpAddr, name: &str) -> [Self; 2] {
        let address = network(address);
        // All that are too long for a user are one.
        let name = if name.len() > NAME { "" } else { name };
        [
            Self::Name(address, name.to_string()),
            Self::Address(address),
        ]
    }

    /// Failures after which nobody waits, the first wait, and the longest.
    fn measures(&self) -> (u32, Duration, Duration) {
        match self {
            Self::Name(..) => (3, Duration::from_millis(500), Duration::from_secs(8)),
            Self::Address(_) => (30, Duration::from_millis(125), Duration::from_secs(2)),
        }
    }

    /// Between two log-ins after so many failures.
    fn pause(&self, failures: u32) -> Duration {
        let (free, first, longest) = self.measures();
        match failures.checked_sub(free) {
            None | Some(0) => Duration::ZERO,
            Some(over) => longest.min(first * 2_u32.saturating_pow((over - 1).min(16))),
        }
    }
}

/// A network of IPv6 is one customer's, who has all of its addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        address => address,
    }
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// When the next log-in may be.
    turn: Instant,
}

/// The failed log-ins of a server.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<Counted, Failures>>);

impl Guesses {
    /// Waits for the turn of a log-in.
    ///
    /// Errors: how long it would have to wait, where that is too long.
    pub(super) async fn turn(&self, address: IpAddr, name: &str) -> Result<(), Duration> {
        let wait = self.take_turn(address, name, Instant::now())?;
        sleep(wait).await;
        Ok(())
    }

    fn take_turn(&self, address: IpAddr, name: &str, now: Instant) -> Result<Duration, Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = Counted::of(address, name);
        let of = |counted: &Counted| known.get(counted).filter(|failures| !is_old(failures, now));
        let turns = counted.iter().filter_map(of).map(|failures| failures.turn);
        let turn = turns.max().map_or(now, |turn| turn.max(now));
        let wait = turn - now;
        if wait > PATIENCE {
            return Err(wait);
        }
        for counted in counted {
            if let Some(failures) = known.get_mut(&counted)
                && !is_old(failures, now)
            {
                // Those who come at once wait for one another; what one is counted by does not hold up the other.
                let pause = counted.pause(failures.count);
                if !pause.is_zero() {
                    failures.turn = failures.turn.max(now) + pause;
                }
            }
        }
        Ok(wait)
    }

    /// A log-in has ended, with the right password or another.
    pub(super) fn ended(&self, address: IpAddr, name: &str, proven: bool) {
        match proven {
            true => self.succeeded(address, name),
            false => self.failed(address, name, Instant::now()),
        }
    }

    fn succeeded(&self, address: IpAddr, name: &str) {
        // What is counted by the address alone stays: its user may be who guesses at others.
        let [of_name, _] = Counted::of(address, name);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&of_name);
    }

    fn failed(&self, address: IpAddr, name: &str, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for counted in Counted::of(address, name) {
            if known.len() >= MOST && !known.contains_key(&counted) {
                known.retain(|_, failures| !is_old(failures, now));
                make_room(&mut known);
            }
            let failures = known.entry(counted.clone()).or_insert(Failures {
                count: 0,
                last: now,
                turn: now,
            });
            if is_old(failures, now) {
                (failures.count, failures.turn) = (0, now);
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
            failures.turn = failures.turn.max(now + counted.pause(failures.count));
        }
    }
}

fn is_old(failures: &Failures, now: Instant) -> bool {
    now.saturating_duration_since(failures.last) > REMEMBERED
}

/// Forgets the failure that was longest ago, if all are remembered that may be.
fn make_room(known: &mut HashMap<Counted, Failures>) {
    if known.len() < MOST {
        return;
    }
    let oldest = known.iter().min_by_key(|(_, failures)| failures.last);
    if let Some(oldest) = oldest.map(|(counted, _)| counted.clone()) {
        known.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [u8; 4] = [10, 0, 0, 1];
    const ELSEWHERE: [u8; 4] = [10, 0, 0, 2];

    /// Log-ins that fail until the longest wait, each at its turn.
    fn guess(guesses: &Guesses, address: IpAddr, name: &str, from: Instant, n: u32) -> Duration {
        let mut now = from;
        for _ in 0..n {
            now += guesses.take_turn(address, name, now).expect("a turn");
            guesses.failed(address, name, now);
        }
        now - from
    }

    #[test]
    fn who_mistypes_waits_not_and_who_guesses_waits_longer_each_time() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let here = HERE.into();
        assert_eq!(guess(&guesses, here, "ana", now, 4), Duration::ZERO);
        let mut at = now;
        let mut waits = vec![];
        for _ in 0..6 {
            let wait = guesses.take_turn(here, "ana", at).unwrap();
            at += wait;
            guesses.failed(here, "ana", at);
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000]);
        // An hour of guesses at one name is some hundred of them.
        let hour = guess(&guesses, here, "ana", at, 450);
        assert_eq!(hour, Duration::from_secs(8 * 450));
    }

    #[test]
    fn another_address_and_another_name_do_not_wait() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let at = now + guess(&guesses, HERE.into(), "ana", now, 9);
        let free = |address: [u8; 4], name: &str| {
            guesses.take_turn(address.into(), name, at) == Ok(Duration::ZERO)
        };
        assert!(!free(HERE, "ana"));
        assert!(free(ELSEWHERE, "ana") && free(HERE, "bo"));
        guesses.succeeded(HERE.into(), "ana");
        assert!(free(HERE, "ana"));
    }

    #[test]
    fn one_password_on_many_names_waits_too() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let mut at = now;
        for n in 0..200 {
            at += guess(&guesses, HERE.into(), &format!("user{n}"), at, 1);
        }
        // 30 for nothing, then 0.125, 0.25, 0.5, 1 and 2 seconds each.
        assert!(at - now > Duration::from_secs(160 * 2), "{:?}", at - now);
        // A right one of theirs does not make up for it.
        guesses.succeeded(HERE.into(), "user7");
        assert!(guesses.take_turn(HERE.into(), "user7", at).unwrap() > Duration::ZERO);
    }

    #[test]
    fn those_who_come_at_once_wait_for_one_another() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let here = HERE.into();
        let at = now + guess(&guesses, here, "ana", now, 6);
        let turns: Vec<_> = (0..100)
            .map(|_| guesses.take_turn(here, "ana", at))
            .collect();
        let taken: Vec<_> = turns.iter().flatten().map(Duration::as_millis).collect();
        // After six failures two seconds lie between two: those after the fifth are refused.
        assert_eq!(taken, [2000, 4000, 6000, 8000, 10000]);
        assert!(turns[99].unwrap_err() > PATIENCE);
    }

    #[test]
    fn they_are_forgotten_and_never_too_many() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let here: IpAddr = HERE.into();
        guess(&guesses, here, "ana", now, 5);
        let later = now + REMEMBERED + Duration::from_secs(600);
        assert_eq!(guesses.take_turn(here, "ana", later), Ok(Duration::ZERO));
        guesses.failed(here, "ana", later);
        assert_eq!(guesses.take_turn(here, "ana", later), Ok(Duration::ZERO));
        for n in 0..3 * MOST as u32 {
            let address = Ipv6Addr::from(u128::from(n) << 64);
            guesses.failed(address.into(), &"x".repeat(n as usize % 200), later);
        }
        let known = guesses.0.lock().unwrap();
        assert!(known.len() <= MOST, "{}", known.len());
        assert!(known.keys().all(|of| match of {
            Counted::Name(_, name) => name.len() <= NAME,
            Counted::Address(_) => true,
        }));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..8_u128 {
            let address = Ipv6Addr::from((0x2001_0db8 << 96) + n);
            guesses.failed(address.into(), "ana", now);
        }
        let other = Ipv6Addr::from((0x2001_0db8 << 96) + 99_u128);
        assert!(guesses.take_turn(other.into(), "ana", now).unwrap() > Duration::ZERO);
        let mapped: IpAddr = Ipv6Addr::from(0xffff_0a00_0001_u128).into();
        assert_eq!(network(mapped), IpAddr::from(HERE));
    }
}
