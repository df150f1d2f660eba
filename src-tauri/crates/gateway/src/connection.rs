//! One client's socket: its bytes are judged before the HTTP library reads them, and each silence has an end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::error::Error;
use crate::guard::framing::{Scanner, Violation};

const KEEP_ALIVE: Duration = Duration::from_secs(75);
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client that takes no byte for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(300);

const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 << 10;

/// What others may know and ask of a connection.
pub(crate) struct Handle {
    opened: Instant,
    busy: AtomicBool,
    /// Milliseconds after `opened`.
    idle_since: AtomicU64,
    pub(crate) close: Notify,
}

impl Handle {
    pub(crate) fn new() -> Arc<Handle> {
        let (busy, idle_since) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Handle { opened: Instant::now(), busy, idle_since, close: Notify::new() })
    }

    /// Since when nothing is asked of it; `None` while it is in use.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        if self.busy.load(Ordering::Acquire) {
            return None;
        }
        Some(self.opened + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Asks it to end. It counts as idle no longer, so that whoever needs room next asks another.
    pub(crate) fn end(&self) {
        self.busy.store(true, Ordering::Release);
        self.close.notify_one();
    }
}

/// A request is being answered over the connection, until this is dropped.
pub(crate) struct Busy(Arc<Handle>);

impl Busy {
    pub(crate) fn with(handle: &Arc<Handle>) -> Busy {
        handle.busy.store(true, Ordering::Release);
        Busy(handle.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(crate::live::millis(self.0.opened.elapsed()), Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Release);
    }
}

/// The socket as the HTTP library sees it.
pub(crate) struct Judged<S> {
    socket: S,
    scanner: Scanner,
    refusal: Option<Bytes>,
    handle: Arc<Handle>,
    head_since: Option<Instant>,
    silence: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
    lingered_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Judged<S> {
    pub(crate) fn new(socket: S, handle: Arc<Handle>) -> Judged<S> {
        Judged {
            socket,
            scanner: Scanner::default(),
            refusal: None,
            handle,
            head_since: None,
            silence: None,
            stall: None,
            linger: None,
            lingered_bytes: 0,
        }
    }

    /// Ends when the silence has lasted too long. Never while a request is being answered.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The alarm is set anew only when it rings: a call costs no timer. While one is being answered it rings
        // now and then all the same, since nobody polls again when the answer has ended.
        let end = self.silence_end();
        let next = || end.unwrap_or_else(|| Instant::now() + KEEP_ALIVE);
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next())));
        if let Some(end) = end.filter(|end| *end < silence.deadline()) {
            silence.as_mut().reset(end);
        }
        while silence.as_mut().poll(cx).is_ready() {
            if end.is_some_and(|end| end <= Instant::now()) {
                return Poll::Ready(());
            }
            silence.as_mut().reset(next());
        }
        Poll::Pending
    }

    fn silence_end(&self) -> Option<Instant> {
        match self.head_since {
            Some(since) => Some(since + HEAD_TIME),
            None => self.handle.idle_since().map(|since| since + KEEP_ALIVE),
        }
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.scanner.scan(bytes)?;
        if self.scanner.in_head() {
            self.head_since.get_or_insert_with(Instant::now);
        } else {
            self.head_since = None;
        }
        Ok(())
    }

    /// Writes what is wrong and ends the connection; the library sees nothing but its end.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while let Some(refusal) = self.refusal.as_mut().filter(|refusal| !refusal.is_empty()) {
            let written = Pin::new(&mut self.socket).poll_write(cx, refusal);
            let written = ready!(self.bound_stall(cx, written))?;
            if written == 0 {
                break;
            }
            if let Some(refusal) = &mut self.refusal {
                bytes::Buf::advance(refusal, written);
            }
        }
        ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        self.poll_linger(cx, buf)
    }

    /// Closing on unread bytes would take the refusal back from the wire: they are read away for a moment.
    fn poll_linger(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let Poll::Ready(read) = Pin::new(&mut self.socket).poll_read(cx, buf) else {
                let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
                return linger.as_mut().poll(cx).map(Ok);
            };
            let count = buf.filled().len() - before;
            buf.set_filled(before);
            self.lingered_bytes += count;
            if read.is_err() || count == 0 || self.lingered_bytes > LINGER_BYTES_MAX {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Judged<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            return this.poll_refuse(cx, buf);
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(cx, buf) else {
            // At the end of its silence the connection looks closed by the client.
            return this.poll_silence(cx).map(Ok);
        };
        read?;
        if let Err(violation) = this.judge(&buf.filled()[before..]) {
            buf.set_filled(before);
            this.refusal = Some(refusal(violation));
            return this.poll_refuse(cx, buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Judged<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.bound_stall(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.bound_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl<S> Judged<S> {
    fn bound_stall(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn refusal(violation: Violation) -> Bytes {
    let (status, what) = match violation {
        Violation::Malformed(what) => ("400 Bad Request", what),
        Violation::Version => ("400 Bad Request", "only HTTP/1.1 is spoken here"),
        Violation::HeadTooLarge => {
            ("431 Request Header Fields Too Large", "the headers are larger than 64 KiB or more than 100")
        }
        Violation::TargetTooLong => ("414 URI Too Long", "the address is longer than 8 KiB"),
    };
    let body = Error::BadRequest { what }.response("").into_body();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), &body].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn judged() -> (DuplexStream, Judged<DuplexStream>, Arc<Handle>) {
        let (client, server) = duplex(1 << 20);
        let handle = Handle::new();
        (client, Judged::new(server, handle.clone()), handle)
    }

    /// Seconds until the connection looks closed.
    async fn closes_after(judged: &mut Judged<DuplexStream>) -> u64 {
        let began = Instant::now();
        let mut bytes = Vec::new();
        judged.read_to_end(&mut bytes).await.expect("it ends in good order");
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_75_s_and_half_a_head_after_10() {
        let (_client, mut idle, _) = judged();
        assert_eq!(closes_after(&mut idle).await, 75);
        let (mut client, mut slow, _) = judged();
        tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nhost: localhost\r\n" {
                client.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            io::Result::Ok(())
        });
        assert_eq!(closes_after(&mut slow).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_use_has_no_idle_end() {
        let (_client, mut judged, handle) = judged();
        let busy = Busy::with(&handle);
        assert_eq!(handle.idle_since(), None);
        let used = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1_000)).await;
            drop(busy);
        });
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(999), judged.read(&mut byte)).await;
        assert!(read.is_err(), "a long call is not cut");
        used.await.expect("no panic");
        assert_eq!(closes_after(&mut judged).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_asked_to_end_once() {
        let handle = Handle::new();
        assert!(handle.idle_since().is_some());
        handle.end();
        assert_eq!(handle.idle_since(), None);
        handle.close.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_call_the_idle_end_is_counted_from_its_last_byte() {
        let (mut client, judged, handle) = judged();
        let service = hyper::service::service_fn(move |_| {
            let busy = Busy::with(&handle);
            async move {
                tokio::time::sleep(Duration::from_secs(200)).await;
                Ok::<_, std::convert::Infallible>(http::Response::new(crate::answers::Answer::empty().keeps(busy)))
            }
        });
        let io = hyper_util::rt::TokioIo::new(judged);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("room");
        let began = Instant::now();
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("it ends in good order");
        assert!(told.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(began.elapsed().as_secs(), 275);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_head_is_answered_and_never_delivered() {
        let (mut client, mut judged, _) = judged();
        client.write_all(b"GET / HTTP/1.1\nhost: localhost\n\n").await.expect("room");
        let mut seen = Vec::new();
        judged.read_to_end(&mut seen).await.expect("it ends in good order");
        assert!(seen.is_empty());
        let mut told = String::new();
        client.read_to_string(&mut told).await.expect("text");
        assert!(
            told.starts_with("HTTP/1.1 400 Bad Request\r\n") && told.contains("\"invalid_request_error\""),
            "{told}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_nobody_takes_is_given_up() {
        let (mut client, server) = duplex(64);
        let mut judged = Judged::new(server, Handle::new());
        client.write_all(b"GET / HTTP/1.1\nhost: localhost\n\n").await.expect("room");
        let began = Instant::now();
        let read = judged.read(&mut [0; 64]).await;
        assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed(), WRITE_STALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_for_five_minutes_is_gone() {
        let (_client, server) = duplex(8);
        let mut judged = Judged::new(server, Handle::new());
        let began = Instant::now();
        let written = judged.write_all(&[0; 64]).await;
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 300);
    }
}
