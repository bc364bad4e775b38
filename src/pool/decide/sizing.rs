//! From the memory limit of a pool to the JVM of an Indexer (pure).
//!
//! An Indexer's memory is heap, direct memory and the rest, as a peon's, with more threads. Druid gives every task of an
//! Indexer the same share of `druid.worker.globalIngestionHeapLimitBytes` in place of the task's own limits, and one
//! persist runs beside the ingestion, so a task takes about twice its share
//! (`org.apache.druid.segment.realtime.appenderator.UnifiedIndexerAppenderatorsManager`).

use crate::quantity::{MIB, mebibytes};
use crate::task::accept::sizing::{DIRECT, DIRECT_SPARE, Processing, REST, default_buffer, within};

/// Threads of an Indexer, each with a stack of 1 MiB.
const THREADS: u64 = 160;
/// Least memory for the rows of a task: with less, Druid fails tasks (druid#10740).
const LEAST_TASK: u64 = 16 * MIB;
/// Heap of an Indexer without tasks.
const IDLE_HEAP: u64 = 48 * MIB;
/// Heap of a merge that runs.
const MERGE_HEAP: u64 = 64 * MIB;
/// Least threads that answer requests (`druid.server.http.numThreads`).
const HTTP_THREADS: u64 = 10;

/// Input of the sizing. In bytes, unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// Memory limit of the container.
    pub memory: u64,
    /// Cpu limit of the container in thousandths of a core.
    pub cpu_milli: u128,
    /// `sizing.heap`.
    pub heap: Option<u64>,
    /// `sizing.direct`.
    pub direct: Option<u64>,
    /// `sizing.bufferSizeBytes`.
    pub buffer: Option<u64>,
    /// `sizing.numThreads`.
    pub threads: Option<u64>,
    /// `sizing.numMergeBuffers`.
    pub merge_buffers: Option<u64>,
    /// `sizing.taskBytes`.
    pub task_bytes: Option<u64>,
    /// `sizing.numConcurrentMerges`.
    pub merges: Option<u64>,
    /// `sizing.lookups`.
    pub lookups: u64,
    /// Tasks at the same time that hold rows in memory; with 0 one, as in an Indexer that runs one task.
    pub heavy: u64,
    /// Tasks beside them that hold none.
    pub light: u64,
    /// Whether sizes that do not fit are accepted: `sizing.enforce: false`.
    pub lenient: bool,
}

/// The sizes of an Indexer's JVM. In bytes, unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// Heap.
    pub heap: u64,
    /// Direct memory.
    pub direct: u64,
    /// Size of one processing buffer.
    pub buffer: u64,
    /// Processing threads.
    pub threads: u64,
    /// Merge buffers.
    pub merge_buffers: u64,
    /// Memory for rows of a task.
    pub task_bytes: u64,
    /// Processors that the JVM sees.
    pub processors: u64,
    /// Tasks at the same time: `druid.worker.capacity`.
    pub capacity: u64,
    /// Merges at the same time: `druid.worker.numConcurrentMerges`. It is always set, since its default follows the
    /// processors.
    pub merges: u64,
}

impl Sizing {
    /// `druid.worker.globalIngestionHeapLimitBytes`: Druid gives each slot the same share of it, whether or not it is used.
    #[must_use]
    pub fn ingestion_heap(&self) -> u64 {
        self.task_bytes.saturating_mul(self.capacity)
    }

    /// `druid.server.http.numThreads`: for each task its chat and that of its supervisor or subtasks, and for the operator.
    #[must_use]
    pub fn http_threads(&self) -> u64 {
        self.capacity
            .saturating_mul(2)
            .saturating_add(8)
            .max(HTTP_THREADS)
    }
}

/// How the memory limit is divided, whether or not it holds the JVM and its task. In bytes, unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// The sizes.
    pub sizing: Sizing,
    /// Number of processing buffers in direct memory.
    pub buffers: u64,
    /// Memory for everything that is neither heap nor direct memory.
    pub rest: u64,
    /// Heap that the Indexer and its task use at most.
    pub used: u64,
    /// Heap that may be used.
    pub usable: u64,
}

impl Division {
    /// Divides the memory limit.
    #[must_use]
    pub fn of(given: &Given) -> Self {
        let limit = given.memory;
        let processing = Processing::of(given.cpu_milli, given.threads, given.merge_buffers);
        let heavy = given.heavy.max(1);
        let merges = given.merges.unwrap_or(heavy / 2).max(1);
        let buffers = processing.buffers(merges);
        let direct = given.direct.unwrap_or_else(|| match given.buffer {
            Some(buffer) => buffer.saturating_mul(buffers).saturating_add(DIRECT_SPARE),
            None => within(limit / 8, &DIRECT),
        });
        let buffer = given.buffer.unwrap_or_else(|| default_buffer(direct, buffers));
        let rest = within(limit / 5, &REST).saturating_add(THREADS * MIB);
        let heap = given
            .heap
            .unwrap_or_else(|| limit.saturating_sub(direct).saturating_sub(rest) / MIB * MIB)
            .max(MIB);
        let task_bytes = given.task_bytes.unwrap_or(heap / 6 / heavy).max(MIB);
        let used = given
            .lookups
            .saturating_add(IDLE_HEAP)
            .saturating_add(task_bytes.saturating_mul(2).saturating_mul(heavy))
            .saturating_add(merges.saturating_mul(MERGE_HEAP));
        Self {
            sizing: Sizing {
                heap,
                direct,
                buffer,
                threads: processing.threads,
                merge_buffers: processing.merge_buffers,
                task_bytes,
                processors: processing.processors,
                capacity: heavy.saturating_add(given.light),
                merges,
            },
            buffers,
            rest,
            used,
            usable: heap / 100 * 85,
        }
    }

    /// Whether the memory limit holds the JVM, and the heap its task.
    ///
    /// # Errors
    /// The arithmetic of what does not fit.
    pub fn check(&self, given: &Given) -> Result<(), String> {
        let Self {
            sizing,
            buffers,
            rest,
            used,
            usable,
        } = *self;
        let Sizing {
            heap,
            direct,
            buffer,
            threads,
            merge_buffers,
            task_bytes,
            merges,
            ..
        } = sizing;
        let heavy = given.heavy.max(1);
        let needed = buffer.saturating_mul(buffers);
        if needed > direct {
            return Err(format!(
                "{buffers} processing buffers (numThreads {threads} + numMergeBuffers {merge_buffers} + {merges} merge{}) \
                 of {} need {} of direct memory, but there are {}: raise sizing.direct, or lower sizing.bufferSizeBytes",
                if merges == 1 { "" } else { "s" },
                mebibytes(buffer),
                mebibytes(needed),
                mebibytes(direct),
            ));
        }
        let all = heap.saturating_add(direct).saturating_add(rest);
        if all > given.memory {
            return Err(format!(
                "a memory limit of {} cannot hold the JVM: heap {} + direct memory {} + {} for everything else = {}",
                mebibytes(given.memory),
                mebibytes(heap),
                mebibytes(direct),
                mebibytes(rest),
                mebibytes(all),
            ));
        }
        if task_bytes < LEAST_TASK {
            let (of, instead) = if heavy == 1 {
                (String::new(), "")
            } else {
                (format!(" for {heavy} heavy slots"), ", or lower slots.heavy")
            };
            return Err(format!(
                "a task gets {} for its rows (taskBytes; by default a sixth of the heap of {}{of}), at least {} are \
                 needed: raise the memory limit{instead}",
                mebibytes(task_bytes),
                mebibytes(heap),
                mebibytes(LEAST_TASK),
            ));
        }
        if used > usable {
            let (needs, times, merging, instead) = if heavy == 1 {
                ("a task needs".to_owned(), String::new(), "a merge".to_owned(), "")
            } else {
                (
                    format!("{heavy} heavy tasks need"),
                    format!("{heavy} x "),
                    format!("{merges} merges"),
                    " or slots.heavy",
                )
            };
            return Err(format!(
                "85 % of a heap of {} are {}, and {needs} {}: lookups {} + {} for Druid + {times}2 x taskBytes {} + {} \
                 for {merging}; raise the memory limit, or lower sizing.taskBytes{instead}",
                mebibytes(heap),
                mebibytes(usable),
                mebibytes(used),
                mebibytes(given.lookups),
                mebibytes(IDLE_HEAP),
                mebibytes(task_bytes),
                mebibytes(merges.saturating_mul(MERGE_HEAP)),
            ));
        }
        Ok(())
    }
}

/// Sizes the JVM of an Indexer.
///
/// # Errors
/// The arithmetic of why the memory cannot hold the JVM and its task, unless that is accepted.
pub fn size(given: &Given) -> Result<Sizing, String> {
    let division = Division::of(given);
    if !given.lenient {
        division.check(given)?;
    }
    Ok(division.sizing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(mib: u64) -> Given {
        Given {
            memory: mib * MIB,
            cpu_milli: 1000,
            ..Given::default()
        }
    }

    #[test]
    fn common_limits() {
        for (mib, heap, direct, task) in [(640, 272, 80, 45), (1024, 531, 128, 88), (4096, 2604, 512, 434)] {
            let sizing = size(&limit(mib)).unwrap();
            assert_eq!(
                (sizing.heap / MIB, sizing.direct / MIB, sizing.task_bytes / MIB),
                (heap, direct, task),
                "{mib} MiB"
            );
        }
        let wide = size(&Given {
            cpu_milli: 3500,
            ..limit(4096)
        })
        .unwrap();
        assert_eq!((wide.threads, wide.merge_buffers, wide.processors), (3, 2, 4));
    }

    /// The memory of the heavy tasks, the light ones beside them, and what is refused.
    #[test]
    fn several_tasks_share_the_heap() {
        let shared = |mib, heavy, light| Given {
            heavy,
            light,
            ..limit(mib)
        };
        let four = size(&shared(4096, 4, 4)).unwrap();
        assert_eq!(
            (four.heap / MIB, four.task_bytes / MIB, four.merges),
            (2604, 108, 2)
        );
        assert_eq!((four.capacity, four.ingestion_heap() / MIB), (8, 868));
        assert_eq!(four.http_threads(), 24);
        let one = size(&limit(4096)).unwrap();
        assert_eq!((one.capacity, one.merges, one.http_threads()), (1, 1, 10));
        assert_eq!(one.ingestion_heap(), one.task_bytes);
        let error = size(&shared(1024, 16, 0)).unwrap_err();
        assert!(
            error.contains("a task gets 6 MiB for its rows") && error.contains("or lower slots.heavy"),
            "{error}"
        );
        let error = size(&Given {
            task_bytes: Some(100 * MIB),
            ..shared(1024, 4, 0)
        })
        .unwrap_err();
        assert!(
            error.contains("4 heavy tasks need 976 MiB")
                && error.contains("4 x 2 x taskBytes 100 MiB + 128 MiB for 2 merges"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_hold_its_task_is_refused_with_the_arithmetic() {
        let cases = [
            (limit(300), "a memory limit of 300 MiB cannot hold the JVM"),
            (limit(420), "a task gets 14 MiB for its rows"),
            (
                limit(512),
                "85 % of a heap of 160 MiB are 136 MiB, and a task needs 166 MiB",
            ),
            (
                Given {
                    task_bytes: Some(300 * MIB),
                    ..limit(1024)
                },
                "2 x taskBytes 300 MiB",
            ),
            (
                Given {
                    lookups: 300 * MIB,
                    ..limit(1024)
                },
                "lookups 300 MiB",
            ),
            (
                Given {
                    heap: Some(1024 * MIB),
                    ..limit(1024)
                },
                "heap 1024 MiB + direct memory 128 MiB",
            ),
            (
                Given {
                    buffer: Some(100 * MIB),
                    direct: Some(128 * MIB),
                    ..limit(4096)
                },
                "4 processing buffers (numThreads 1 + numMergeBuffers 2 + 1 merge) of 100 MiB need 400 MiB",
            ),
        ];
        for (given, said) in cases {
            let error = size(&given).unwrap_err();
            assert!(error.contains(said), "{error}");
            let lenient = Given {
                lenient: true,
                ..given
            };
            assert!(size(&lenient).is_ok());
        }
    }

    proptest! {
        #[test]
        fn an_accepted_size_always_fits(
            mib in 1_u64..200_000,
            cpu in 1_u128..128_000,
            heap in proptest::option::of(1_u64..100_000),
            direct in proptest::option::of(1_u64..10_000),
            buffer in proptest::option::of(1_u64..2_000),
            task in proptest::option::of(1_u64..2_000),
            lookups in 0_u64..2_000,
            (heavy, light) in (1_u64..17, 0_u64..17),
        ) {
            let given = Given {
                memory: mib * MIB,
                cpu_milli: cpu,
                heap: heap.map(|h| h * MIB),
                direct: direct.map(|d| d * MIB),
                buffer: buffer.map(|b| b * MIB),
                task_bytes: task.map(|t| t * MIB),
                lookups: lookups * MIB,
                heavy,
                light,
                ..Given::default()
            };
            if let Ok(s) = size(&given) {
                prop_assert!(s.heap + s.direct + THREADS * MIB + 128 * MIB <= given.memory);
                prop_assert!((s.threads + s.merge_buffers + s.merges) * s.buffer <= s.direct);
                prop_assert!(given.heap.is_none_or(|h| h == s.heap));
                prop_assert!(s.task_bytes >= LEAST_TASK);
                prop_assert!(2 * heavy * s.task_bytes + s.merges * MERGE_HEAP + given.lookups < s.heap);
                prop_assert!(s.capacity == heavy + light && s.merges <= heavy);
            }
        }
    }
}
