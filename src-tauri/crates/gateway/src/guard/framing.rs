//! Rules 2 to 4 of the door: what the first bytes of a request must look like before anything else reads them.
//!
//! The HTTP library forgives bare line feeds, folded headers and a length beside a chunked body;
//! where two readers forgive differently, requests can be smuggled. So the bytes are judged as they come.

use memchr::{memchr, memchr3};

pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
pub(crate) const HEADERS_MAX: usize = 100;
pub(crate) const TARGET_BYTES_MAX: usize = 8 << 10;

/// Follows requests through a connection. Bodies of a known length are skipped, not read.
#[derive(Default)]
pub(crate) struct Scanner {
    at: At,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    head_bytes: usize,
    headers: usize,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum At {
    #[default]
    RequestLine,
    Header,
    Body {
        left: u64,
    },
    /// A chunked body: the connection ends after it, so nothing that follows is a request.
    Rest,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Violation {
    /// What is wrong, for the 400.
    Malformed(&'static str),
    Version,
    HeadTooLarge,
    TargetTooLong,
}

impl Scanner {
    /// Is a head half-way here?
    pub(crate) fn in_head(&self) -> bool {
        self.head_bytes > 0 && matches!(self.at, At::RequestLine | At::Header)
    }

    pub(crate) fn scan(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            match self.at {
                At::Rest => return Ok(()),
                At::Body { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.at = if left == 0 { At::RequestLine } else { At::Body { left } };
                }
                At::RequestLine | At::Header => bytes = self.take_line(bytes)?,
            }
        }
        Ok(())
    }

    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        let end = memchr(b'\n', bytes);
        let piece = end.map_or(bytes, |end| &bytes[..=end]);
        self.head_bytes += piece.len();
        if self.head_bytes > HEAD_BYTES_MAX {
            return Err(Violation::HeadTooLarge);
        }
        if end.is_none() || !self.line.is_empty() {
            self.line.extend_from_slice(piece);
        }
        if end.is_some() {
            let kept = std::mem::take(&mut self.line);
            self.read_line(if kept.is_empty() { piece } else { &kept })?;
        }
        Ok(&bytes[piece.len()..])
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(Violation::Malformed("a line ends with a bare line feed; end it with CR LF"));
        };
        if memchr3(b'\r', 0, b'\n', line).is_some() {
            return Err(Violation::Malformed("the head holds a bare CR or a NUL"));
        }
        match (self.at, line) {
            // An empty line before a request is an old habit that harms nobody.
            (At::RequestLine, b"") => Ok(()),
            (At::RequestLine, line) => {
                self.at = At::Header;
                request_line(line)
            }
            (_, b"") => self.end_head(),
            (_, line) => self.header(line),
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Violation> {
        self.headers += 1;
        if self.headers > HEADERS_MAX {
            return Err(Violation::HeadTooLarge);
        }
        let (name, value) = name_and_value(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = content_length(value)?;
            if self.length.replace(length).is_some() {
                return Err(Violation::Malformed("Content-Length comes twice"));
            }
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let again = std::mem::replace(&mut self.chunked, true);
            if again || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::Malformed("Transfer-Encoding must be \"chunked\", once"));
            }
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), Violation> {
        self.at = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Violation::Malformed("Content-Length comes beside Transfer-Encoding")),
            (true, None) => At::Rest,
            (false, None | Some(0)) => At::RequestLine,
            (false, Some(left)) => At::Body { left },
        };
        self.head_bytes = 0;
        self.headers = 0;
        self.length = None;
        self.chunked = false;
        Ok(())
    }
}

fn request_line(line: &[u8]) -> Result<(), Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Violation::Malformed("the request line is not \"METHOD /path HTTP/1.1\""));
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Violation::Malformed("the method is no word"));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Violation::TargetTooLong);
    }
    if version != b"HTTP/1.1" {
        return Err(Violation::Version);
    }
    if plain_target(target) {
        Ok(())
    } else {
        Err(Violation::Malformed("the target must be a plain path that starts with /"))
    }
}

/// A path from the root, without `.` and `..` in any spelling, and visible ASCII only.
fn plain_target(target: &[u8]) -> bool {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let dots = |segment: &[u8]| {
        let segment = String::from_utf8_lossy(segment).to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    target.starts_with(b"/")
        && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#' && *byte != b'\\')
        && (!path.iter().any(|byte| matches!(byte, b'.' | b'%')) || !path.split(|byte| *byte == b'/').any(dots))
}

fn name_and_value(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::Malformed("a header is folded over two lines"));
    }
    let Some(colon) = memchr(b':', line) else { return Err(Violation::Malformed("a header has no colon")) };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(Violation::Malformed("a header's name is no word"));
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Violation::Malformed("a header's value holds a control character"));
    }
    Ok((name, value))
}

fn content_length(value: &[u8]) -> Result<u64, Violation> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    length.ok_or(Violation::Malformed("Content-Length is no number"))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<(), Violation> {
        Scanner::default().scan(text.as_bytes())
    }

    #[test]
    fn sound_requests_pass_one_after_the_other() {
        let get = "GET /v1/models?limit=1&a=.. HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n";
        let post = "POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n\n\0\r: ";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\nwhat follows is no request";
        assert_eq!(scan(&format!("{get}{post}\r\n{get}{chunked}")), Ok(()));
    }

    #[test]
    fn a_head_is_judged_alike_wherever_it_is_split() {
        let good = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nA: b\r\n\r\n";
        let bad = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n A: b\r\n\r\n";
        for cut in 0..good.len() {
            for (text, expected) in [(good, true), (bad, false)] {
                let mut scanner = Scanner::default();
                let (head, tail) = text.split_at(cut.min(text.len()));
                let verdict = scanner.scan(head.as_bytes()).and_then(|()| scanner.scan(tail.as_bytes()));
                assert_eq!(verdict.is_ok(), expected, "{cut}");
            }
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let with = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
        for text in [
            with("Content-Length: 1\r\nTransfer-Encoding: chunked"),
            with("Transfer-Encoding: chunked\r\nContent-Length: 1"),
            with("Content-Length: 1\r\nContent-Length: 1"),
            with("Content-Length: 1, 1"),
            with("Content-Length: +5"),
            with("Content-Length: -5"),
            with("Content-Length: 0x5"),
            with("Content-Length:"),
            with("Content-Length: 99999999999999999999"),
            with("Transfer-Encoding: gzip, chunked"),
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            with("Transfer-Encoding: identity"),
            with("A: b\r\n folded"),
            with("A: b\r\n\tfolded"),
            with("A: b\nB: c"),
            with("A: b\0c"),
            with("A: b\rc"),
            with("A : b"),
            with("A\u{7f}: b"),
            with(": b"),
            with("no colon"),
            line("GET http://a/ HTTP/1.1"),
            line("GET /../a HTTP/1.1"),
            line("GET /a/.. HTTP/1.1"),
            line("GET /a/%2E%2e/b HTTP/1.1"),
            line("GET /a/./b HTTP/1.1"),
            line("GET /a\\b HTTP/1.1"),
            line("GET  / HTTP/1.1"),
            line("GET /\u{e9} HTTP/1.1"),
            line("OPTIONS * HTTP/1.1"),
            line("CONNECT a:443 HTTP/1.1"),
            line("G(T / HTTP/1.1"),
            line("GET /"),
            "GET / HTTP/1.1\nHost: a\n\n".to_owned(),
        ] {
            assert!(matches!(scan(&text), Err(Violation::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn only_http_1_1_comes_in() {
        for text in ["PRI * HTTP/2.0\r\n", "GET / HTTP/1.0\r\n", "GET / HTTP/0.9\r\n", "GET / http/1.1\r\n"] {
            assert_eq!(scan(text), Err(Violation::Version), "{text:?}");
        }
    }

    #[test]
    fn heads_have_bounds() {
        let headers = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert_eq!(scan(&headers(HEADERS_MAX)), Ok(()));
        assert_eq!(scan(&headers(HEADERS_MAX + 1)), Err(Violation::HeadTooLarge));
        let value = |bytes: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(bytes));
        assert_eq!(scan(&value(HEAD_BYTES_MAX - 100)), Ok(()));
        assert_eq!(scan(&value(HEAD_BYTES_MAX)), Err(Violation::HeadTooLarge));
        let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(bytes - 1));
        assert_eq!(scan(&target(TARGET_BYTES_MAX)), Ok(()));
        assert_eq!(scan(&target(TARGET_BYTES_MAX + 1)), Err(Violation::TargetTooLong));
    }
}
