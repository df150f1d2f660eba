//! A request's body that tells when it is first asked for: the connection stands and the request leaves.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

pub(crate) struct Departing {
    bytes: Option<Bytes>,
    tell: Option<oneshot::Sender<()>>,
}

pub(crate) type Departure = oneshot::Receiver<()>;

impl Departing {
    pub(crate) fn with(bytes: Bytes) -> (reqwest::Body, Departure) {
        let (tell, departure) = oneshot::channel();
        (reqwest::Body::wrap(Departing { bytes: Some(bytes), tell: Some(tell) }), departure)
    }
}

impl Body for Departing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(tell) = this.tell.take() {
            let _ = tell.send(());
        }
        Poll::Ready(this.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn it_leaves_when_it_is_first_asked_for_and_not_before() {
        let (mut body, mut departure) = Departing::with("{}".into());
        assert_eq!(body.size_hint().exact(), Some(2));
        assert_eq!(departure.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(body.frame().await.is_some());
        assert_eq!(departure.try_recv(), Ok(()));
    }
}
