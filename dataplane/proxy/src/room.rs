//! Room for what only a busy connection needs: the large future that serves its requests runs in memory that the core lends
//! it, and gets back when the connection waits again.
//!
//! Most connections are idle most of the time, and serving takes several times the memory of waiting. Were a connection's
//! task as large as serving needs, every idle one would pay for it; were that allocated for each request, its holes would
//! lie between the small things that live long, and never go back to the system.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Free rooms that a core keeps: a little over 1 MiB. Further ones are given back to the allocator.
const FREE_MAX: usize = 256;

/// The free rooms of a core. Meant for futures of one type: room for another is allocated anew.
#[derive(Clone, Default)]
pub struct Rooms(Rc<RefCell<Vec<Box<dyn Any>>>>);

/// Memory for one future, which is in it or not.
type Room<F> = Pin<Box<Option<F>>>;

impl Rooms {
    /// Gives a future a room. It leaves when it is done, or is dropped.
    pub fn enter<F: Future + 'static>(&self, future: F) -> Lodger<F> {
        let free = self.0.borrow_mut().pop();
        let free = free.and_then(|room| room.downcast::<Room<F>>().ok());
        let mut room = free.unwrap_or_else(|| Box::new(Box::pin(None)));
        Pin::as_mut(&mut room).set(Some(future));
        Lodger { room: Some(room), rooms: self.clone() }
    }
}

/// A future in its room: small, whatever the future's size.
#[must_use = "it does nothing unless it is polled"]
pub struct Lodger<F: Future + 'static> {
    room: Option<Box<Room<F>>>,
    rooms: Rooms,
}

impl<F: Future> Future for Lodger<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let room = self.room.as_mut().expect("it stays until it is dropped");
        let future = Pin::as_mut(room).as_pin_mut().expect("it stays until it is dropped");
        future.poll(cx)
    }
}

impl<F: Future + 'static> Drop for Lodger<F> {
    fn drop(&mut self) {
        let Some(mut room) = self.room.take() else { return };
        // Before the rooms are borrowed: what the future drops may want one.
        Pin::as_mut(&mut room).set(None);
        let mut free = self.rooms.0.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn polled<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn a_room_is_used_again_and_a_future_that_is_dropped_leaves_nothing_in_it() {
        let rooms = Rooms::default();
        let held = Rc::new(());
        let wait = |held: Rc<()>| async move {
            pending::<()>().await;
            drop(held);
        };
        let mut first = rooms.enter(wait(Rc::clone(&held)));
        assert!(polled(&mut first).is_pending());
        let place = std::ptr::from_ref(&**first.room.as_ref().unwrap());
        drop(first);
        assert_eq!(Rc::strong_count(&held), 1);
        let second = rooms.enter(wait(held));
        assert_eq!(std::ptr::from_ref(&**second.room.as_ref().unwrap()), place);
        assert!(rooms.0.borrow().is_empty());
    }

    #[test]
    fn a_future_of_another_type_gets_a_room_of_its_own_and_the_number_kept_is_bounded() {
        let rooms = Rooms::default();
        drop(rooms.enter(ready(7_u8)));
        assert_eq!(polled(&mut rooms.enter(ready(7_u64))), Poll::Ready(7));
        let many: Vec<_> = (0..2 * FREE_MAX).map(|_| rooms.enter(ready(()))).collect();
        drop(many);
        assert_eq!(rooms.0.borrow().len(), FREE_MAX);
    }
}
