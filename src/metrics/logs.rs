//! Prometheus metrics of archived logs.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics, cheap to clone.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    read: Counter,
    archived: Counter,
    waiting: Gauge,
    flush_seconds: Histogram,
    gaps: Counter,
    failures: Counter,
    followers: Gauge,
    streams: Gauge,
    stream_readers: Gauge,
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self {
            read: Counter::default(),
            archived: Counter::default(),
            waiting: Gauge::default(),
            flush_seconds: Histogram::new([0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 60.0]),
            gaps: Counter::default(),
            failures: Counter::default(),
            followers: Gauge::default(),
            streams: Gauge::default(),
            stream_readers: Gauge::default(),
        }
    }
}

impl LogMetrics {
    /// Registers all of them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "log_read_bytes",
            "Bytes of peons' logs that were read",
            self.read.clone(),
        );
        registry.register(
            "log_archived_bytes",
            "Bytes of peons' logs that were written to a store as parts",
            self.archived.clone(),
        );
        registry.register(
            "log_waiting_bytes",
            "Bytes of peons' logs on disk that are not archived yet",
            self.waiting.clone(),
        );
        registry.register(
            "log_flush_seconds",
            "Time to write a part of a log to a store",
            self.flush_seconds.clone(),
        );
        registry.register("log_gaps", "Gaps in archived logs", self.gaps.clone());
        registry.register(
            "log_store_failures",
            "Requests that a log store refused or did not answer",
            self.failures.clone(),
        );
        registry.register(
            "log_followers",
            "Logs that are being read",
            self.followers.clone(),
        );
        registry.register(
            "log_streams",
            "Streams of the logs of shared Indexers that are open",
            self.streams.clone(),
        );
        registry.register(
            "log_stream_readers",
            "Readers of the streams of shared Indexers: tasks, and the pool for each Indexer",
            self.stream_readers.clone(),
        );
    }

    /// So many bytes were read, and wait on disk.
    pub fn read(&self, bytes: u64) {
        self.read.inc_by(bytes);
        self.waiting.inc_by(gauge(bytes));
    }

    /// So many bytes wait no more: they are a part, or what is left of a log that has ended.
    pub fn taken(&self, bytes: u64) {
        self.waiting.dec_by(gauge(bytes));
    }

    /// A store took a part.
    pub fn archived(&self, bytes: u64, took: Duration) {
        self.archived.inc_by(bytes);
        self.flush_seconds.observe(took.as_secs_f64());
    }

    /// A log has so many gaps.
    pub fn gaps(&self, many: u32) {
        self.gaps.inc_by(u64::from(many));
    }

    /// A store refused, or did not answer.
    pub fn failure(&self) {
        self.failures.inc();
    }

    /// One more log is read, until the value goes.
    #[must_use]
    pub fn follower(&self) -> Counted {
        Counted::new(&self.followers)
    }

    /// One more stream of the log of a shared Indexer is open, until the value goes.
    #[must_use]
    pub fn stream(&self) -> Counted {
        Counted::new(&self.streams)
    }

    /// One more task, or a pool, reads the stream of a shared Indexer, until the value goes.
    #[must_use]
    pub fn stream_reader(&self) -> Counted {
        Counted::new(&self.stream_readers)
    }
}

/// Counts in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
