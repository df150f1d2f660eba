//! Server-sent events, read from the bytes that pass, in pieces of any size.

use memchr::{memchr, memchr2};

/// An event larger than this is not read; its bytes pass all the same.
pub(crate) const EVENT_BYTES_MAX: usize = 8 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooLong;

pub(crate) struct Event<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) data: &'a [u8],
    /// Where in the piece just fed its first byte is; 0 where it began in an earlier one.
    pub(crate) starts: usize,
}

#[derive(Default)]
pub(crate) struct Sse {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    starts: Option<usize>,
    /// Where in the piece just fed its last whole event ends.
    ends: Option<usize>,
    after_cr: bool,
    past_first_line: bool,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Sse {
    /// Hands on each event that `piece` completes.
    pub(crate) fn feed(&mut self, piece: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        self.ends = None;
        let mut at = self.skip_line_feed(piece);
        while at < piece.len() {
            self.starts.get_or_insert(at);
            let rest = &piece[at..];
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                self.line.extend_from_slice(rest);
                break;
            };
            let blank = self.line.is_empty() && end == 0;
            self.end_line(&rest[..end], &mut each);
            at += end + 1;
            if rest[end] == b'\r' {
                self.after_cr = true;
                at += self.skip_line_feed(&piece[at..]);
            }
            if blank {
                self.ends = Some(at);
            }
        }
        // The rest of an event that has begun will lie at the head of the next piece.
        self.starts = self.starts.map(|_| 0);
        if self.line.len() + self.data.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }

    /// Where in the piece just fed its last whole event ends; `None` where none does.
    pub(crate) fn ends(&self) -> Option<usize> {
        self.ends
    }

    /// No event has begun that has not ended.
    pub(crate) fn is_between_events(&self) -> bool {
        self.starts.is_none()
    }

    /// How many bytes of `piece` belong to a line end that began with CR.
    fn skip_line_feed(&mut self, piece: &[u8]) -> usize {
        if piece.is_empty() || !std::mem::take(&mut self.after_cr) {
            return 0;
        }
        usize::from(piece[0] == b'\n')
    }

    fn end_line(&mut self, tail: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if self.line.is_empty() {
            return self.read_line(tail, each);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(tail);
        self.read_line(&line, each);
        line.clear();
        self.line = line;
    }

    fn read_line(&mut self, mut line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.past_first_line, true) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event(each);
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"data" => self.add_data(value),
            _ => {}
        }
    }

    fn add_data(&mut self, value: &[u8]) {
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
    }

    fn end_event(&mut self, each: &mut impl FnMut(Event<'_>)) {
        let starts = self.starts.take().unwrap_or(0);
        if std::mem::take(&mut self.has_data) {
            each(Event { name: &self.name, data: &self.data, starts });
        }
        self.name.clear();
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<(String, String)>;

    fn read(pieces: &[&[u8]]) -> Seen {
        let mut sse = Sse::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            sse.feed(piece, |event| seen.push((text(event.name), text(event.data)))).expect("small events");
        }
        seen
    }

    const STREAM: &[u8] =
        b"\xEF\xBB\xBFevent: a\r\ndata: 1\r\n\r\n: hi\n\ndata:2\ndata: 3\n\nid: 7\revent:b\rdata:  4\r\r\ndata\n\n";

    #[test]
    fn every_kind_of_line_end_a_mark_and_comments_are_read() {
        let expected = [("a", "1"), ("", "2\n3"), ("b", " 4"), ("", "")];
        let expected: Seen = expected.iter().map(|(name, data)| (name.to_string(), data.to_string())).collect();
        assert_eq!(read(&[STREAM]), expected);
    }

    proptest! {
        #[test]
        fn a_stream_reads_alike_wherever_it_is_split(mut cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&STREAM[from..cut]);
                from = cut;
            }
            pieces.push(&STREAM[from..]);
            prop_assert_eq!(read(&pieces), read(&[STREAM]));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read(&[&bytes]);
        }
    }

    #[test]
    fn an_event_knows_where_it_starts() {
        let mut sse = Sse::default();
        let mut starts = Vec::new();
        sse.feed(b"data: 1\n\ndata: 2\n\nda", |event| starts.push(event.starts)).expect("small");
        sse.feed(b"ta: 3\n\ndata: 4\n\n", |event| starts.push(event.starts)).expect("small");
        assert_eq!(starts, [0, 9, 0, 7]);
    }

    #[test]
    fn the_end_of_the_last_whole_event_is_known() {
        for (pieces, expected) in [
            (&["data: 1\n\ndata: 2\n\nda"][..], Some(18)),
            (&["data: 1\n\nda", "ta: 3\n\n"], Some(7)),
            (&["data: 1\r\n\r\nda"], Some(11)),
            (&["data: 1\n", "\n"], Some(1)),
            (&["data: 1\n\n", "data: 2\n"], None),
        ] {
            let mut sse = Sse::default();
            for piece in pieces {
                sse.feed(piece.as_bytes(), |_| ()).expect("small");
            }
            assert_eq!(sse.ends(), expected, "{pieces:?}");
        }
    }

    #[test]
    fn an_event_that_never_ends_is_given_up() {
        let mut sse = Sse::default();
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..9).find(|_| sse.feed(&piece, |_| ()).is_err());
        assert_eq!(fed, Some(8));
    }
}
