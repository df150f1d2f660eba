//! Counts what an answer used from the bytes that pass. It changes none of them and holds none back.

use std::io::{self, Write};

use bytes::Bytes;
use http::HeaderMap;

use crate::wire::anthropic::{self, Tally};
use crate::wire::sse::Sse;

/// A whole answer larger than this is not read.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;

pub(crate) struct Meter {
    unpack: Option<Unpacker>,
    reader: Reader,
    tally: Tally,
}

enum Reader {
    Events(Sse),
    Document(Vec<u8>),
    /// Something can't be read; the bytes pass uncounted.
    Blind,
}

/// What one piece showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    More,
    /// The last event is complete; its first byte lies at this place of the piece, or before the piece (0).
    Last {
        at: usize,
    },
}

impl Meter {
    pub(crate) fn for_answer(headers: &HeaderMap) -> Meter {
        let reader = if anthropic::is_event_stream(headers) {
            Reader::Events(Sse::default())
        } else {
            Reader::Document(Vec::new())
        };
        let (unpack, reader) = match Unpacker::for_answer(headers) {
            Ok(unpack) => (unpack, reader),
            Err(UnknownEncoding) => (None, Reader::Blind),
        };
        Meter { unpack, reader, tally: Tally::default() }
    }

    /// Will `feed` say which event is the last?
    pub(crate) fn reads_events(&self) -> bool {
        matches!(self.reader, Reader::Events(_))
    }

    /// The same, and its bytes are those of the events.
    pub(crate) fn reads_plain_events(&self) -> bool {
        self.reads_events() && self.unpack.is_none()
    }

    /// Where in the piece just fed its last whole event ends; `None` where nobody can say, as in packed bytes.
    pub(crate) fn last_event_ends(&self) -> Option<usize> {
        match &self.reader {
            Reader::Events(sse) if self.unpack.is_none() => sse.ends(),
            Reader::Events(_) | Reader::Document(_) | Reader::Blind => None,
        }
    }

    /// All that has passed were whole events; `false` where nobody can say.
    pub(crate) fn is_between_events(&self) -> bool {
        match &self.reader {
            Reader::Events(sse) => self.unpack.is_none() && sse.is_between_events(),
            Reader::Document(_) | Reader::Blind => false,
        }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) -> Seen {
        let Some(mut unpack) = self.unpack.take() else { return self.read(piece) };
        match unpack.unpack(piece) {
            Ok(()) => {
                let seen = self.read(unpack.unpacked());
                unpack.clear();
                self.unpack = Some(unpack);
                // Where in the packed bytes an event starts nobody can say: the whole piece is its end.
                if seen == Seen::More { Seen::More } else { Seen::Last { at: 0 } }
            }
            Err(_) => {
                self.reader = Reader::Blind;
                Seen::More
            }
        }
    }

    /// The answer is whole: what can only be read then, is.
    pub(crate) fn finish(&mut self) {
        match &self.reader {
            Reader::Document(body) => self.tally.document(body),
            // A last event whose blank line is missing is an event all the same.
            Reader::Events(_) => drop(self.read(b"\n\n")),
            Reader::Blind => {}
        }
    }

    fn read(&mut self, piece: &[u8]) -> Seen {
        let mut seen = Seen::More;
        let tally = &mut self.tally;
        let fits = match &mut self.reader {
            Reader::Events(sse) => sse
                .feed(piece, |event| {
                    let had_ended = tally.ended.is_some();
                    tally.event(event.name, event.data);
                    if tally.ended.is_some() && !had_ended {
                        seen = Seen::Last { at: event.starts };
                    }
                })
                .is_ok(),
            Reader::Document(body) => {
                body.extend_from_slice(piece);
                body.len() <= DOCUMENT_BYTES_MAX
            }
            Reader::Blind => true,
        };
        if !fits {
            tracing::warn!("an event or answer is larger than 8 MiB: it passes, its usage is estimated");
            self.reader = Reader::Blind;
        }
        seen
    }
}

/// A small answer as it was before it was packed. What can't be read is empty.
pub(crate) fn unpacked(headers: &HeaderMap, body: &Bytes) -> Bytes {
    match Unpacker::for_answer(headers) {
        Ok(None) => body.clone(),
        Ok(Some(mut unpack)) => match unpack.unpack(body) {
            Ok(()) => Bytes::copy_from_slice(unpack.unpacked()),
            Err(_) => Bytes::new(),
        },
        Err(UnknownEncoding) => Bytes::new(),
    }
}

struct UnknownEncoding;

/// Unpacks a copy of a packed answer, within bounds.
enum Unpacker {
    Gzip(flate2::write::MultiGzDecoder<Bounded>),
    Deflate(flate2::write::ZlibDecoder<Bounded>),
    Brotli(Box<brotli::DecompressorWriter<Bounded>>),
    Zstd(zstd::stream::write::Decoder<'static, Bounded>),
}

impl Unpacker {
    fn for_answer(headers: &HeaderMap) -> Result<Option<Unpacker>, UnknownEncoding> {
        let Some(encoding) = headers.get(http::header::CONTENT_ENCODING) else { return Ok(None) };
        match encoding.as_bytes() {
            b"identity" | b"" => Ok(None),
            b"gzip" | b"x-gzip" => Ok(Some(Unpacker::Gzip(flate2::write::MultiGzDecoder::new(Bounded::default())))),
            b"deflate" => Ok(Some(Unpacker::Deflate(flate2::write::ZlibDecoder::new(Bounded::default())))),
            b"br" => Ok(Some(Unpacker::Brotli(Box::new(brotli::DecompressorWriter::new(Bounded::default(), 4_096))))),
            b"zstd" => match zstd::stream::write::Decoder::new(Bounded::default()) {
                Ok(decoder) => Ok(Some(Unpacker::Zstd(decoder))),
                Err(_) => Err(UnknownEncoding),
            },
            _ => Err(UnknownEncoding),
        }
    }

    fn unpack(&mut self, piece: &[u8]) -> io::Result<()> {
        self.bounds().packed += piece.len();
        let writer: &mut dyn Write = match self {
            Unpacker::Gzip(decoder) => decoder,
            Unpacker::Deflate(decoder) => decoder,
            Unpacker::Brotli(decoder) => decoder,
            Unpacker::Zstd(decoder) => decoder,
        };
        writer.write_all(piece)?;
        writer.flush()
    }

    fn unpacked(&mut self) -> &[u8] {
        &self.bounds().out
    }

    fn clear(&mut self) {
        self.bounds().out.clear();
    }

    fn bounds(&mut self) -> &mut Bounded {
        match self {
            Unpacker::Gzip(decoder) => decoder.get_mut(),
            Unpacker::Deflate(decoder) => decoder.get_mut(),
            Unpacker::Brotli(decoder) => decoder.get_mut(),
            Unpacker::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// Takes what a decoder gives, unless it gives more than an honest answer would.
#[derive(Default)]
struct Bounded {
    packed: usize,
    total: usize,
    out: Vec<u8>,
}

const UNPACKED_BYTES_MAX: usize = 64 << 20;
const RATIO_MAX: usize = 100;
/// Below this the ratio says nothing.
const RATIO_FROM_BYTES: usize = 1 << 20;

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.total += bytes.len();
        let bomb = self.total > RATIO_FROM_BYTES && self.total / RATIO_MAX > self.packed;
        if bomb || self.total > UNPACKED_BYTES_MAX {
            return Err(io::Error::other("unpacks to more than an answer holds"));
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::usage::Usage;
    use http::HeaderValue;
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

    const EVENTS: &str = "event: message_start\ndata: {\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\r\ndata: {\"delta\":{\"text\":\"eight by\"}}\r\n\r\n\
        event: message_delta\ndata: {\"usage\":{\"output_tokens\":5}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn meter(kind: &'static str, encoding: Option<&'static str>) -> Meter {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Meter::for_answer(&headers)
    }

    #[test]
    fn a_stream_cut_at_any_byte_is_counted_up_to_there() {
        for cut in 0..EVENTS.len() {
            let mut meter = meter("text/event-stream", None);
            assert_eq!(meter.feed(&EVENTS.as_bytes()[..cut]), Seen::More);
            let (cut_usage, estimated) = meter.tally().settled(&Usage::default(), None);
            assert!(estimated || cut_usage.tokens.output == 5, "{cut}");
            assert_eq!(cut_usage.tokens.input, if meter.tally().prompt_known { 9 } else { 0 });
            let last = meter.feed(&EVENTS.as_bytes()[cut..]);
            let stop = EVENTS.find("event: message_stop").expect("there is one");
            assert_eq!(last, Seen::Last { at: stop.saturating_sub(cut) }, "{cut}");
            let (usage, estimated) = meter.tally().settled(&Usage::default(), None);
            assert_eq!((usage.tokens.input, usage.tokens.output, estimated), (9, 5, false), "{cut}");
        }
    }

    #[test]
    fn packed_bytes_are_counted_one_by_one() {
        let packed = zstd::stream::encode_all(EVENTS.as_bytes(), 1).expect("memory");
        let mut meter = meter("text/event-stream", Some("zstd"));
        let last: Vec<Seen> =
            packed.iter().map(|byte| meter.feed(&[*byte])).filter(|seen| *seen != Seen::More).collect();
        assert_eq!(last, [Seen::Last { at: 0 }]);
        assert!(meter.tally().whole_known);
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![0; 32 << 20];
        let packed = zstd::stream::encode_all(&*zeros, 1).expect("memory");
        let mut meter = meter("application/json", Some("zstd"));
        meter.feed(&packed);
        meter.finish();
        assert!(matches!(meter.reader, Reader::Blind));
        assert!(meter.tally().settled(&Usage::default(), None).1);
    }

    #[test]
    fn what_is_too_large_or_unknown_passes_uncounted() {
        let mut huge = meter("text/event-stream", None);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            assert_eq!(huge.feed(&piece), Seen::More);
        }
        assert!(!huge.reads_events());
        let mut unknown = meter("text/event-stream", Some("lzma"));
        assert_eq!((unknown.feed(EVENTS.as_bytes()), unknown.reads_events()), (Seen::More, false));
    }
}
