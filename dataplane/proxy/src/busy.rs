//! Measures how long a future works: the time inside its polls, without what it waits for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use ringway_core::Instant;

pin_project! {
    /// A future whose work is measured.
    pub(crate) struct Busy<F, N> {
        #[pin]
        future: F,
        now: N,
        worked: Duration,
    }
}

/// Runs a future; its output comes with the time it worked.
pub(crate) fn busy<F: Future, N: Fn() -> Instant>(now: N, future: F) -> Busy<F, N> {
    Busy { future, now, worked: Duration::ZERO }
}

impl<F: Future, N: Fn() -> Instant> Future for Busy<F, N> {
    type Output = (F::Output, Duration);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let began = (this.now)();
        let polled = this.future.poll(cx);
        *this.worked += (this.now)().since(began);
        polled.map(|output| (output, *this.worked))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_passes_between_polls_is_not_work() {
        let clock = Cell::new(Instant::ORIGIN);
        let pass = |nanos| clock.set(clock.get() + Duration::from_nanos(nanos));
        let mut polls = 0;
        let work = poll_fn(|_| {
            pass(3);
            polls += 1;
            if polls < 3 { Poll::Pending } else { Poll::Ready("done") }
        });
        let mut measured = std::pin::pin!(busy(|| clock.get(), work));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert_eq!(measured.as_mut().poll(&mut cx), Poll::Pending);
            pass(100);
        }
        assert_eq!(measured.poll(&mut cx), Poll::Ready(("done", Duration::from_nanos(9))));
    }
}
