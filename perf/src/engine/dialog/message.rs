//! Bytes on a bare connection: to and fro, or in one direction.

use super::Event;
use crate::cause::Cause;
use crate::outgoing::Outgoing;

/// The same number of bytes comes back.
#[derive(Debug)]
pub(crate) struct Ping {
    size: usize,
    /// Still to come.
    awaited: usize,
}

impl Ping {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, awaited: 0 }
    }

    pub(crate) fn request(&mut self, out: &mut Outgoing) {
        self.awaited = self.size;
        out.fill(self.size);
    }

    pub(crate) fn feed(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<(), Cause> {
        if input.is_empty() {
            return Ok(());
        }
        match self.awaited.checked_sub(input.len()) {
            None => Err(Cause::Size),
            Some(left) => {
                self.awaited = left;
                if left == 0 {
                    events.push(Event::Answered { slot: 0, status: 0, bytes: self.size as u64 });
                }
                Ok(())
            }
        }
    }
}

/// A request is done when its bytes are taken.
#[derive(Debug)]
pub(crate) struct Bulk {
    size: usize,
    under_way: bool,
}

impl Bulk {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, under_way: false }
    }

    pub(crate) fn request(&mut self, out: &mut Outgoing) {
        self.under_way = true;
        out.fill(self.size);
    }

    pub(crate) fn written(&mut self, events: &mut Vec<Event>) {
        if std::mem::take(&mut self.under_way) {
            events.push(Event::Answered { slot: 0, status: 0, bytes: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_answered_by_its_last_byte_and_by_no_more() {
        let mut ping = Ping::new(5);
        let mut events = Vec::new();
        ping.request(&mut Outgoing::default());
        ping.feed(b"abcd", &mut events).unwrap();
        assert_eq!(events, []);
        ping.feed(b"e", &mut events).unwrap();
        assert_eq!(events, [Event::Answered { slot: 0, status: 0, bytes: 5 }]);
        assert_eq!(ping.feed(b"f", &mut events), Err(Cause::Size));
    }
}
