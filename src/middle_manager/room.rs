//! Room for the bodies that are read at the same time, by all identities of a process.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, broken};

/// Bytes are counted in pieces of this size.
const PIECE: usize = 1 << 10;
/// For so long a body is waited for: the overlord itself gives up then.
const READING: Duration = Duration::from_secs(60);

/// Room for one body of the largest size, or for many that are small. Whoever has none waits for it.
#[derive(Debug)]
pub struct Room {
    /// Most bytes of a body.
    most: usize,
    pieces: Arc<Semaphore>,
}

impl Room {
    /// For bodies of at most so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let pieces = usize::try_from(pieces(most)).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            most,
            pieces: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Most bytes of a body.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Reads a body, with its place, which is to be kept for as long as the body is.
    pub(super) async fn read(&self, body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
        let place = self
            .pieces
            .clone()
            .acquire_many_owned(pieces(self.awaited(&body)))
            .await;
        let place = place.map_err(broken)?;
        let reading = tokio::time::timeout(READING, self.received(body)).await;
        let bytes = reading.unwrap_or_else(|_| {
            let said = format!("the task did not arrive within {} s", READING.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, said))
        })?;
        Ok((bytes, place))
    }

    /// So many bytes a body will have: the most that it may, where it does not say, or says more.
    fn awaited(&self, body: &Body) -> usize {
        let said = body.size_hint().exact().and_then(|n| usize::try_from(n).ok());
        said.unwrap_or(self.most).min(self.most)
    }

    /// The bytes, of which none is in memory twice.
    async fn received(&self, mut body: Body) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::with_capacity(self.awaited(&body));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let said = format!("the task did not arrive: {error}");
                Problem::new(StatusCode::BAD_REQUEST, said)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > self.most - bytes.len() {
                let said = format!(
                    "the task has more than {} bytes, which is the most that is taken",
                    self.most
                );
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, said));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

/// So many pieces it takes to read so many bytes.
fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::pin;

    use axum::response::IntoResponse;
    use futures::{FutureExt, stream};

    use super::*;

    fn sized(bytes: usize) -> Body {
        Body::from(vec![b'x'; bytes])
    }

    /// Says nothing of its size.
    fn of_unknown_size(bytes: usize) -> Body {
        Body::from_stream(stream::iter([Ok::<_, Infallible>(vec![b'x'; bytes])]))
    }

    #[tokio::test]
    async fn bodies_are_read_together_only_where_there_is_room() {
        let room = Room::new(10_000);
        let (bytes, place) = room.read(sized(6000)).await.ok().unwrap();
        assert_eq!(bytes.len(), 6000);
        assert!(room.read(sized(1000)).now_or_never().unwrap().is_ok());
        let mut large = pin!(room.read(sized(6000)));
        assert!(
            large.as_mut().now_or_never().is_none(),
            "two take more than there is"
        );
        drop(place);
        let (_, place) = large.await.ok().unwrap();
        let mut unknown = pin!(room.read(of_unknown_size(10)));
        assert!(
            unknown.as_mut().now_or_never().is_none(),
            "it may be as large as any"
        );
        drop(place);
        let (bytes, place) = unknown.await.ok().unwrap();
        assert_eq!(bytes.len(), 10);
        assert!(room.read(sized(1)).now_or_never().is_none());
        drop(place);
        assert_eq!(room.read(sized(0)).await.ok().unwrap().0.len(), 0);
    }

    #[tokio::test]
    async fn the_largest_is_read_and_nothing_larger() {
        let room = Room::new(10_000);
        for body in [sized(10_000), of_unknown_size(10_000)] {
            assert_eq!(room.read(body).await.ok().unwrap().0.len(), 10_000);
        }
        for body in [sized(10_001), of_unknown_size(10_001), sized(1 << 20)] {
            let refused = room.read(body).await.err().unwrap().into_response();
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Who is refused takes no place.
        assert!(room.read(sized(10_000)).now_or_never().unwrap().is_ok());
    }
}
