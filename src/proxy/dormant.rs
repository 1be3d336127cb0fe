//! The poller of the dormant connections of one thread: those that have been idle for so long that they have neither a
//! task nor a place in the poller of the runtime, which cost them more memory than all that is known of their clients.
//!
//! What is here are numbers, the places of the connections among all of the thread ([`Clients`]). One task of the thread
//! asks [`DormantPoller::poll_woken`] which of them has something to do.
//!
//! [`Clients`]: super::clients::Clients

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::sys;
use crate::timer::{Timer, TimerWheel};

/// Connections that are woken in one go; then the others of the thread have their turn.
pub(super) const AT_ONCE: usize = 64;

/// The dormant connections of one thread, as numbers.
pub(super) struct DormantPoller {
    /// An epoll instance of its own, which the poller of the runtime watches. None before the first connection.
    epoll: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    /// When each of them is no longer to be idle.
    deadlines: RefCell<BTreeSet<(Instant, usize)>>,
    /// Goes off at the first of those deadlines, or before it.
    timer: Timer,
    /// Those that the rest of the thread has something for.
    woken: RefCell<Vec<usize>>,
    /// The task that asks.
    waiter: RefCell<Option<Waker>>,
}

impl DormantPoller {
    /// None yet.
    pub(super) fn new(timer_wheel: &Rc<TimerWheel>) -> Self {
        Self {
            epoll: RefCell::default(),
            deadlines: RefCell::default(),
            timer: timer_wheel.timer(),
            woken: RefCell::default(),
            waiter: RefCell::default(),
        }
    }

    /// Watches the socket of a connection.
    ///
    /// # Errors
    /// When the kernel has no descriptor or memory for that.
    pub(super) fn watch(&self, socket: BorrowedFd<'_>, key: usize) -> io::Result<()> {
        let epoll = self.epoll()?;
        let news = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        Ok(epoll::add(epoll.get_ref(), socket, epoll::EventData::new_u64(key as u64), news)?)
    }

    fn epoll(&self) -> io::Result<Rc<AsyncFd<OwnedFd>>> {
        let mut epoll = self.epoll.borrow_mut();
        if let Some(epoll) = &*epoll {
            return Ok(epoll.clone());
        }
        let made = Rc::new(sys::watch_readable(epoll::create(epoll::CreateFlags::CLOEXEC)?)?);
        *epoll = Some(made.clone());
        self.wake_waiter(); // which has to ask this one too
        Ok(made)
    }

    /// Wakes a connection whose socket is watched at `until`, if nothing does before.
    pub(super) fn wake_at(&self, key: usize, until: Instant) {
        let mut deadlines = self.deadlines.borrow_mut();
        deadlines.insert((until, key));
        if deadlines.first() == Some(&(until, key)) {
            self.timer.set_at(until);
        }
    }

    /// Forgets a connection, which is no longer dormant.
    pub(super) fn forget(&self, socket: BorrowedFd<'_>, key: usize, until: Instant) {
        if let Some(epoll) = &*self.epoll.borrow() {
            let _ = epoll::delete(epoll.get_ref(), socket); // fails for none that is watched
        }
        self.deadlines.borrow_mut().remove(&(until, key));
    }

    /// Has [`DormantPoller::poll_woken`] name this connection.
    pub(super) fn wake(&self, key: usize) {
        self.woken.borrow_mut().push(key);
        self.wake_waiter();
    }

    fn wake_waiter(&self) {
        self.waiter.borrow_mut().take().into_iter().for_each(Waker::wake);
    }

    /// How many there are.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.deadlines.borrow().len()
    }

    /// Ready with connections that have something to do. Each is to be forgotten: what its socket has names it again, and its
    /// deadline does not.
    pub(super) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<Vec<usize>> {
        let mut woken = std::mem::take(&mut *self.woken.borrow_mut());
        self.add_due(&mut woken);
        if woken.is_empty()
            && let Poll::Ready(found) = self.poll_news(cx)
        {
            woken = found;
        }
        if !woken.is_empty() {
            return Poll::Ready(woken);
        }
        *self.waiter.borrow_mut() = Some(cx.waker().clone());
        self.timer.watch(cx);
        Poll::Pending
    }

    /// Adds those whose time has passed.
    fn add_due(&self, woken: &mut Vec<usize>) {
        if !self.timer.is_due() {
            return;
        }
        let (mut deadlines, now) = (self.deadlines.borrow_mut(), Instant::now());
        // What is named leaves the set: the next deadline that is filed has to be its first, or nothing sets the timer.
        while let Some((_, key)) = deadlines.first().copied().filter(|(until, _)| *until <= now) {
            deadlines.pop_first();
            woken.push(key);
        }
        match deadlines.first() {
            Some((until, _)) => self.timer.set_at(*until),
            None => self.timer.off(),
        }
    }

    /// Those on whose sockets something happened.
    fn poll_news(&self, cx: &mut Context<'_>) -> Poll<Vec<usize>> {
        let Some(epoll) = self.epoll.borrow().clone() else { return Poll::Pending };
        loop {
            let Ok(mut guard) = ready!(epoll.poll_read_ready(cx)) else { return Poll::Pending }; // the runtime ends
            let mut events = Vec::<epoll::Event>::with_capacity(AT_ONCE);
            let found = epoll::wait(epoll.get_ref(), spare_capacity(&mut events), Some(&Timespec::default()));
            if found.is_ok_and(|found| found > 0) {
                return Poll::Ready(events.iter().map(|event| event.data.u64() as usize).collect());
            }
            guard.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// What is named within a minute.
    async fn woken(timer_wheel: &Rc<TimerWheel>, poller: &DormantPoller) -> Option<Vec<usize>> {
        let next = tokio::time::timeout(Duration::from_secs(60), std::future::poll_fn(|cx| poller.poll_woken(cx)));
        tokio::select! {
            () = timer_wheel.clone().run() => unreachable!("the timer wheel runs for ever"),
            woken = next => woken.ok(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_filed_before_those_that_passed_are_forgotten_is_kept() {
        let timer_wheel = TimerWheel::new();
        let poller = DormantPoller::new(&timer_wheel);
        let pairs = [(), (), ()].map(|()| UnixStream::pair().expect("a pair"));
        let soon = Instant::now() + Duration::from_secs(10);
        for (key, (own, _)) in pairs.iter().take(2).enumerate() {
            poller.watch(own.as_fd(), key).expect("watched");
            poller.wake_at(key, soon);
        }
        assert_eq!(woken(&timer_wheel, &poller).await, Some(vec![0, 1]));
        poller.forget(pairs[0].0.as_fd(), 0, soon);
        poller.watch(pairs[2].0.as_fd(), 2).expect("watched");
        let later = soon + Duration::from_secs(20);
        poller.wake_at(2, later);
        poller.forget(pairs[1].0.as_fd(), 1, soon);
        assert_eq!(woken(&timer_wheel, &poller).await, Some(vec![2]));
        assert!(Instant::now() >= later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_named_for_what_is_there_at_its_time_and_when_it_is_woken_until_it_is_forgotten() {
        let timer_wheel = TimerWheel::new();
        let poller = DormantPoller::new(&timer_wheel);
        let pairs = [(), (), ()].map(|()| UnixStream::pair().expect("a pair"));
        let began = Instant::now();
        let until = [300, 100, 50].map(|seconds| began + Duration::from_secs(seconds));
        (&pairs[0].1).write_all(b"before").expect("written");
        for (key, (own, _)) in pairs.iter().enumerate() {
            poller.watch(own.as_fd(), key).expect("watched");
            poller.wake_at(key, until[key]);
        }
        let forget = |key: usize| poller.forget(pairs[key].0.as_fd(), key, until[key]);
        assert_eq!(woken(&timer_wheel, &poller).await, Some(vec![0]));
        assert_eq!(woken(&timer_wheel, &poller).await, Some(vec![0]), "it was not forgotten");
        forget(0);
        assert_eq!(woken(&timer_wheel, &poller).await, Some(vec![2]));
        assert!(began.elapsed() >= Duration::from_secs(50) && began.elapsed() < Duration::from_secs(51));
        forget(2);
        poller.wake(1);
        assert_eq!(woken(&timer_wheel, &poller).await, Some(vec![1]));
        forget(1);
        assert_eq!((woken(&timer_wheel, &poller).await, poller.len()), (None, 0));
    }
}
