//! A store whose process dies at a chosen request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::format::location::Location;
use super::store::archive::Archive;

/// An archive in this store, with the keys of S3 below `p`.
pub fn archive_over(store: Arc<dyn ObjectStore>) -> Archive {
    let properties = [("type", "s3"), ("s3Bucket", "b"), ("s3Prefix", "p")];
    let properties: BTreeMap<String, String> = properties
        .iter()
        .map(|(name, value)| (format!("druid.indexer.logs.{name}"), (*value).to_owned()))
        .collect();
    let location = Location::from_properties(&properties).unwrap().unwrap();
    Archive::over(store, location)
}

/// Whether the store still does what the request asked for that the process dies at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
    /// It lives, and gets no answer.
    Never,
}

/// When the process dies. From then on no request does anything.
#[derive(Debug)]
pub struct Faults {
    left: AtomicI64,
    when: When,
    loses_a_byte: bool,
    down: AtomicBool,
    sent: AtomicU64,
    /// Held by those that put: without a permit the store does not answer.
    answers: Semaphore,
    put_begun: Notify,
    held: Held,
}

/// The next request of a kind waits until it is let go.
#[derive(Debug)]
struct Held {
    kind: Mutex<Option<Kind>>,
    begun: Notify,
    go: Semaphore,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Copy,
    Delete,
}

impl Faults {
    pub fn after(requests: i64, when: When) -> Self {
        Self {
            left: requests.into(),
            when,
            loses_a_byte: false,
            down: false.into(),
            sent: 0.into(),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            put_begun: Notify::new(),
            held: Held {
                kind: Mutex::default(),
                begun: Notify::new(),
                go: Semaphore::new(0),
            },
        }
    }

    /// Holds the next request of this kind.
    pub fn hold(&self, kind: Kind) {
        *self.held.kind.lock() = Some(kind);
    }

    /// Waits until a request is held.
    pub async fn until_held(&self) {
        self.held.begun.notified().await;
    }

    /// Lets the request go that is held.
    pub fn let_go(&self) {
        self.held.go.add_permits(1);
    }

    async fn pass(&self, kind: Kind) {
        let is_held = self.held.kind.lock().take_if(|held| *held == kind).is_some();
        if is_held {
            self.held.begun.notify_one();
            let _go = self.held.go.acquire().await;
        }
    }

    /// Does not answer whoever puts something, until it is told to.
    pub fn silent() -> Self {
        Self {
            answers: Semaphore::new(0),
            ..Self::none()
        }
    }

    /// Refuses everything, until it is told not to.
    pub fn down() -> Self {
        Self {
            down: true.into(),
            ..Self::none()
        }
    }

    /// Works from now on.
    pub fn up(&self) {
        self.down.store(false, Ordering::SeqCst);
    }

    /// Refuses everything from now on.
    pub fn fail(&self) {
        self.down.store(true, Ordering::SeqCst);
    }

    /// Answers from now on.
    pub fn answer(&self) {
        self.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Waits until something is being put.
    pub async fn until_put(&self) {
        self.put_begun.notified().await;
    }

    pub fn none() -> Self {
        Self::after(i64::MAX, When::Before)
    }

    pub fn losing_a_byte() -> Self {
        Self {
            loses_a_byte: true,
            ..Self::none()
        }
    }

    /// Bytes that were sent to the store.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    async fn request<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let died = || Error::Generic {
            store: "Faulty",
            source: "the process died".into(),
        };
        if self.down.load(Ordering::SeqCst) {
            return Err(died());
        }
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => request.await,
            0 if self.when == When::After => {
                let _ = request.await;
                Err(died())
            }
            _ if self.when == When::Never => std::future::pending().await,
            _ => Err(died()),
        }
    }
}

/// A store with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<Faults>,
}

impl Faulty {
    pub fn over(inner: Arc<dyn ObjectStore>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store with faults")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let sent = payload.content_length() as u64;
        self.faults.sent.fetch_add(sent, Ordering::SeqCst);
        let payload = if self.faults.loses_a_byte && key.as_ref().ends_with("/log") {
            bytes::Bytes::from(payload).slice(1..).into()
        } else {
            payload
        };
        self.faults.put_begun.notify_one();
        let _answer = self.faults.answers.acquire().await;
        self.faults
            .request(self.inner.put_opts(key, payload, options))
            .await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = self.inner.put_multipart_opts(key, options);
        let inner = self.faults.request(begin).await?;
        Ok(Box::new(Upload {
            inner,
            faults: self.faults.clone(),
        }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.request(self.inner.get_opts(key, options)).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        let delete = move |key: Result<Path>| {
            let (inner, faults) = (inner.clone(), faults.clone());
            async move {
                faults.pass(Kind::Delete).await;
                let mut one = inner.delete_stream(futures::stream::iter([key]).boxed());
                faults.request(async { one.next().await.unwrap() }).await
            }
        };
        keys.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (found, faults) = (self.inner.list(prefix), self.faults.clone());
        let answer = async move {
            match faults.request(async { Ok(found) }).await {
                Ok(found) => found,
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            }
        };
        futures::stream::once(answer).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.faults.request(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.pass(Kind::Copy).await;
        self.faults.request(self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Faults>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let sent = payload.content_length() as u64;
        self.faults.sent.fetch_add(sent, Ordering::SeqCst);
        let (sent, faults) = (self.inner.put_part(payload), self.faults.clone());
        Box::pin(async move { faults.request(sent).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faults.request(self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.faults.request(self.inner.abort()).await
    }
}
