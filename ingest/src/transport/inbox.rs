//! Bytes from the server, cut into messages.

use bytes::{Buf as _, BytesMut};
use lockstep_schemas::position::Lsn;
use postgres_protocol::message::backend::Message;

use super::feedback::Feedback;
use super::handshake::{TransportError, refusal};

/// Microseconds from 1970 to PostgreSQL's epoch.
pub(crate) const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// A message of a row is never longer: PostgreSQL allocates no more at once.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
const HEAD: usize = 5;
/// A buffer that had to grow beyond this is given back once it is all but empty.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// What the stream says next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogEvent<'a> {
    /// A message of the output plugin, and where in the log it stands.
    Data { lsn: Lsn, message: &'a [u8] },
    /// Nothing more before this LSN.
    Idle { end: Lsn },
}

/// What has been read and not yet been handed out.
pub(super) struct Inbox {
    buffer: BytesMut,
    /// The start of the next message in `buffer`.
    next: usize,
}

impl Inbox {
    pub fn new(rest: BytesMut) -> Self {
        Inbox { buffer: rest, next: 0 }
    }

    /// The buffer, with room for at least one read.
    pub fn make_room(&mut self, bytes: usize) -> &mut BytesMut {
        let held = self.buffer.capacity();
        self.buffer.advance(self.next);
        self.next = 0;
        if held > BUFFER_BYTES_KEPT && self.buffer.len() < bytes {
            // One long row is no reason to hold its memory for good.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.buffer.reserve(bytes);
        &mut self.buffer
    }

    pub fn clear(&mut self) {
        self.next = 0;
        self.buffer.clear();
    }

    /// The next event that is here whole. Feedback learns what has been received, and that it is asked for.
    pub fn next(&mut self, feedback: &Feedback) -> Result<Option<LogEvent<'_>>, TransportError> {
        let event = loop {
            let Some(&[tag, a, b, c, d]) = self.buffer[self.next..].first_chunk::<HEAD>() else { return Ok(None) };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
                return Err(TransportError::Protocol("a message of an impossible length"));
            }
            let (start, end) = (self.next + HEAD, self.next + 1 + length);
            if end > self.buffer.len() {
                return Ok(None);
            }
            self.next = end;
            match tag {
                b'd' => break copy_data(&self.buffer[start..end])?,
                b'E' => return Err(self.refused(start - HEAD, end)),
                b'c' => return Err(TransportError::Ended),
                // Notices and changed parameters.
                _ => {}
            }
        };
        Ok(Some(match event {
            CopyData::Log { lsn, message } => {
                feedback.received(lsn);
                LogEvent::Data { lsn, message }
            }
            CopyData::KeepAlive { end, asks } => {
                feedback.received(end);
                if asks {
                    feedback.hurry();
                }
                LogEvent::Idle { end }
            }
        }))
    }

    fn refused(&self, start: usize, end: usize) -> TransportError {
        match Message::parse(&mut BytesMut::from(&self.buffer[start..end])) {
            Ok(Some(Message::ErrorResponse(body))) => refusal(&body).into(),
            _ => TransportError::Protocol("a refusal that can't be read"),
        }
    }
}

/// Takes in bytes in pieces of one size, and hears whatever they say.
#[cfg(feature = "fuzz")]
pub(crate) fn hear(bytes: &[u8], piece: usize) {
    let (mut inbox, feedback) = (Inbox::new(BytesMut::new()), Feedback::deaf());
    for piece in bytes.chunks(piece) {
        inbox.make_room(piece.len()).extend_from_slice(piece);
        while let Ok(Some(_)) = inbox.next(&feedback) {}
    }
}

enum CopyData<'a> {
    Log { lsn: Lsn, message: &'a [u8] },
    KeepAlive { end: Lsn, asks: bool },
}

fn copy_data(bytes: &[u8]) -> Result<CopyData<'_>, TransportError> {
    const SHORT: TransportError = TransportError::Protocol("a message of the log that ends too early");
    let (kind, mut rest) = bytes.split_first().ok_or(SHORT)?;
    match kind {
        b'w' if rest.len() >= 24 => {
            let lsn = Lsn(rest.get_u64());
            Ok(CopyData::Log { lsn, message: &rest[16..] })
        }
        b'k' if rest.len() >= 17 => {
            let end = Lsn(rest.get_u64());
            // When it was sent: not up to when it is complete.
            rest.advance(8);
            Ok(CopyData::KeepAlive { end, asks: rest.get_u8() != 0 })
        }
        b'w' | b'k' => Err(SHORT),
        _ => Err(TransportError::Protocol("a message of an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(lsn: u64, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![b'd'];
        bytes.extend((4 + 25 + message.len() as u32).to_be_bytes());
        bytes.push(b'w');
        bytes.extend(lsn.to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend(message);
        bytes
    }

    proptest! {
        #[test]
        fn messages_come_whole_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            cuts in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let bytes: Vec<u8> = messages.iter().zip(1..).flat_map(|(message, lsn)| log(lsn, message)).collect();
            let (mut inbox, feedback) = (Inbox::new(BytesMut::new()), Feedback::deaf());
            let (mut rest, mut heard, mut cuts) = (&bytes[..], Vec::new(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                inbox.make_room(8).extend_from_slice(piece);
                rest = after;
                while let Some(LogEvent::Data { message, .. }) = inbox.next(&feedback).expect("well-formed") {
                    heard.push(message.to_vec());
                }
            }
            prop_assert_eq!(heard, messages);
        }

        #[test]
        fn a_long_message_leaves_no_large_buffer(bytes in (BUFFER_BYTES_KEPT + 1)..(BUFFER_BYTES_KEPT * 2)) {
            let (mut inbox, feedback) = (Inbox::new(BytesMut::new()), Feedback::deaf());
            inbox.make_room(8).extend_from_slice(&log(7, &vec![b'x'; bytes]));
            prop_assert!(inbox.next(&feedback).expect("well-formed").is_some());
            inbox.make_room(8).extend_from_slice(&log(8, b"y"));
            prop_assert!(inbox.buffer.capacity() <= BUFFER_BYTES_KEPT);
            let next = inbox.next(&feedback).expect("well-formed");
            prop_assert_eq!(next, Some(LogEvent::Data { lsn: Lsn(8), message: b"y" }));
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            let mut inbox = Inbox::new(BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = inbox.next(&Feedback::deaf()) {}
        }
    }
}
