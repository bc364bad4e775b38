//! A budget for request bodies that are read at the same time, over all identities of a process.
//!
//! There are three kinds of bodies, each with its own budget, so that none blocks the others: bodies of typical size,
//! large ones, and those of unknown size. Each reserves all that it may need before it is read, since two that wait for
//! each other would never end; and each has to arrive without a pause.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::http_error::{HttpError, broken};

/// Unit of the budget, in bytes.
const PIECE: usize = 1 << 10;
/// How long to wait for permits, and then for a body: after that the overlord itself gives up.
const READING: Duration = Duration::from_secs(60);
/// How long a body may pause. An overlord sends a task from its memory.
const STALLED: Duration = Duration::from_secs(5);
/// Largest small body, and largest body of unknown size, whatever the limit is.
const SMALL: usize = 64 << 10;

/// Permits for one body of the largest size and, beside it, for many small ones and for some of unknown size. A request
/// without permits waits.
#[derive(Debug)]
pub struct BodyBudget {
    /// Most bytes of a body.
    most: usize,
    /// Most bytes of a body that is small, or of unknown size.
    share: usize,
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    of_unknown_size: Arc<Semaphore>,
}

impl BodyBudget {
    /// A budget for bodies of at most `most` bytes. All bodies that are read at the same time have at most eleven
    /// eighths of that.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let budget = |bytes: usize| {
            let pieces = usize::try_from(pieces(bytes)).unwrap_or(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS)))
        };
        let share = (most / 16).max(SMALL).min(most);
        Self {
            most,
            share,
            large: budget(most),
            small: budget((most / 4).max(share)),
            of_unknown_size: budget((most / 8).max(share)),
        }
    }

    /// Most bytes of a body.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Reads a body, with its permit, which must be held for as long as the body is.
    pub(crate) async fn read(&self, mut body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), HttpError> {
        let said = body.size_hint().exact();
        let (budget, bytes) = match said.map(|n| usize::try_from(n).unwrap_or(usize::MAX)) {
            None => (&self.of_unknown_size, self.share),
            Some(bytes) if bytes <= self.share => (&self.small, bytes),
            Some(bytes) if bytes <= self.most => (&self.large, bytes),
            Some(_) => {
                discard(body).await;
                return Err(too_large(self.most, ""));
            }
        };
        let waiting = timeout(READING, budget.clone().acquire_many_owned(pieces(bytes))).await;
        let place = waiting.map_err(|_| late("no memory was free for the task"))?;
        let place = place.map_err(broken)?;
        if let Some(bytes) = self.received(&mut body, said.map(|_| bytes)).await? {
            return Ok((bytes, place));
        }
        drop(place);
        discard(body).await;
        Err(too_large(bytes, "without a Content-Length "))
    }

    /// Reads the bytes, none of which is in memory twice; `known` of them, if the size is known. `None` if there are
    /// more, which the protocol permits only for bodies of unknown size.
    async fn received(&self, body: &mut Body, known: Option<usize>) -> Result<Option<Vec<u8>>, HttpError> {
        let deadline = Instant::now() + READING;
        let most = known.unwrap_or(self.share);
        let mut bytes = Vec::with_capacity(known.unwrap_or_default());
        loop {
            let soon = deadline.min(Instant::now() + STALLED);
            let frame = timeout_at(soon, body.frame()).await;
            let Some(frame) = frame.map_err(|_| late("the task did not arrive"))? else {
                return Ok(Some(bytes));
            };
            let frame = frame.map_err(|error| {
                let said = format!("the task did not arrive: {error}");
                HttpError::new(StatusCode::BAD_REQUEST, said)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > most - bytes.len() {
                return Ok(None);
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// Reads and discards the rest: if the connection were closed while the client still sends, the client would lose the
/// answer.
async fn discard(mut body: Body) {
    let rest = async { while let Ok(Some(Ok(_))) = timeout(STALLED, body.frame()).await {} };
    // A client that sends for longer is disconnected.
    let _ = timeout(READING, rest).await;
}

fn too_large(most: usize, how: &str) -> HttpError {
    let said = format!("the task has more than {most} bytes, which is the limit {how}");
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, said.trim_end())
}

fn late(what: &str) -> HttpError {
    let said = format!(
        "{what} in time: it may take {} s in all, with pauses of at most {} s",
        READING.as_secs(),
        STALLED.as_secs()
    );
    HttpError::new(StatusCode::REQUEST_TIMEOUT, said)
}

/// Permits needed for a body of `bytes`.
fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::pin;

    use axum::response::IntoResponse;
    use futures::{FutureExt, stream};
    use tokio::time::{advance, sleep};

    use super::*;

    const MIB: usize = 1 << 20;

    fn sized(bytes: usize) -> Body {
        Body::from(vec![b'x'; bytes])
    }

    /// Says nothing of its size.
    fn of_unknown_size(bytes: usize) -> Body {
        Body::from_stream(stream::iter([Ok::<_, Infallible>(vec![b'x'; bytes])]))
    }

    /// Gives a byte each `pause`, for ever, and says nothing of its size.
    fn slow(pause: Duration) -> Body {
        Body::from_stream(stream::unfold((), move |()| async move {
            sleep(pause).await;
            Some((Ok::<_, Infallible>("x"), ()))
        }))
    }

    /// Says that it has so many bytes, and gives none.
    struct Silent(u64);

    impl HttpBody for Silent {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>> {
            std::task::Poll::Pending
        }

        fn size_hint(&self) -> hyper::body::SizeHint {
            hyper::body::SizeHint::with_exact(self.0)
        }
    }

    fn code(read: Result<(Vec<u8>, OwnedSemaphorePermit), HttpError>) -> StatusCode {
        read.err().unwrap().into_response().status()
    }

    #[tokio::test]
    async fn large_bodies_are_read_together_only_where_there_is_room() {
        let room = BodyBudget::new(10 * MIB);
        let (bytes, place) = room.read(sized(6 * MIB)).await.ok().unwrap();
        assert_eq!(bytes.len(), 6 * MIB);
        assert!(room.read(sized(MIB)).now_or_never().unwrap().is_ok());
        let mut large = pin!(room.read(sized(6 * MIB)));
        assert!(
            large.as_mut().now_or_never().is_none(),
            "two take more than there is"
        );
        // Small ones and those of unknown size do not wait for it.
        assert!(room.read(sized(1000)).now_or_never().unwrap().is_ok());
        assert!(room.read(of_unknown_size(1000)).now_or_never().unwrap().is_ok());
        drop(place);
        assert_eq!(large.await.ok().unwrap().0.len(), 6 * MIB);
    }

    #[tokio::test]
    async fn the_largest_is_read_and_nothing_larger() {
        let room = BodyBudget::new(10 * MIB);
        let share = 10 * MIB / 16;
        for body in [sized(10 * MIB), sized(0), of_unknown_size(share)] {
            assert!(room.read(body).await.is_ok());
        }
        for body in [sized(10 * MIB + 1), of_unknown_size(share + 1)] {
            assert_eq!(code(room.read(body).await), StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Who is refused takes no place.
        assert!(room.read(sized(10 * MIB)).now_or_never().unwrap().is_ok());
        let tiny = BodyBudget::new(1024);
        assert!(tiny.read(sized(1024)).await.is_ok());
        assert_eq!(code(tiny.read(sized(1025)).await), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_without_a_length_keep_no_other_out() {
        let room = Arc::new(BodyBudget::new(10 * MIB));
        let mut slow_ones: Vec<_> = (0..100)
            .map(|_| {
                let room = room.clone();
                tokio::spawn(async move { room.read(slow(Duration::from_secs(1))).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(room.read(sized(10 * MIB)).now_or_never().unwrap().is_ok());
        assert!(room.read(sized(10)).now_or_never().unwrap().is_ok());
        // Not one of them stays, though each gives a byte now and then.
        for slow in slow_ones.drain(..) {
            assert_eq!(code(slow.await.unwrap()), StatusCode::REQUEST_TIMEOUT);
        }
        assert!(room.read(of_unknown_size(10)).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_gives_its_room_back_within_seconds() {
        let room = BodyBudget::new(10 * MIB);
        let length = u64::try_from(10 * MIB).unwrap();
        let mut silent = pin!(room.read(Body::new(Silent(length))));
        assert!(silent.as_mut().now_or_never().is_none());
        let mut next = pin!(room.read(sized(10 * MIB)));
        assert!(next.as_mut().now_or_never().is_none());
        advance(STALLED).await;
        assert_eq!(code(silent.await), StatusCode::REQUEST_TIMEOUT);
        assert!(next.await.is_ok());
    }
}
