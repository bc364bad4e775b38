//! From a memory limit to a JVM (pure).
//!
//! A peon's memory is heap, direct memory and the rest: metaspace, code cache, stacks, the collector's own and
//! the page cache that segments are written through. Direct memory holds the processing buffers, of which Druid
//! wants `(numThreads + numMergeBuffers + 1) * buffer.sizeBytes`
//! (`org.apache.druid.query.DruidProcessingConfig`).

use crate::quantity::{MIB, mebibytes};

/// Least memory of the rest: metaspace and code cache of Druid's classes, and stacks. A small `index_parallel` was
/// measured at 92 MiB above its heap.
const LEAST_REST: u64 = 96 * MIB;
/// Default of the rest: a fifth of the limit, within these bounds.
pub const REST: std::ops::RangeInclusive<u64> = 128 * MIB..=1024 * MIB;
/// Default of direct memory: an eighth of the limit, within these bounds.
pub const DIRECT: std::ops::RangeInclusive<u64> = 32 * MIB..=4096 * MIB;
/// Direct memory outside of processing buffers: column decompression and network.
pub const DIRECT_SPARE: u64 = 8 * MIB;
/// The smallest heap of a peon; with 32 MiB index tasks were seen to fail.
const LEAST_HEAP: u64 = 64 * MIB;
/// The largest processing buffer that Druid chooses by default.
const LARGEST_BUFFER: u64 = 1024 * MIB;

/// Input of the sizing. In bytes, unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// Memory limit of the container.
    pub memory: u64,
    /// Cpu limit of the container in thousandths of a core.
    pub cpu_milli: u128,
    /// `-Xmx`, if the user gives it.
    pub heap: Option<u64>,
    /// `-Xms`, if the user gives it.
    pub initial_heap: Option<u64>,
    /// `-XX:MaxDirectMemorySize`, if the user gives it.
    pub direct: Option<u64>,
    /// `druid.processing.buffer.sizeBytes`, if the user gives it.
    pub buffer: Option<u64>,
    /// `druid.processing.numThreads`, if the user gives it.
    pub threads: Option<u64>,
    /// `druid.processing.numMergeBuffers`, if the user gives it.
    pub merge_buffers: Option<u64>,
    /// Whether sizes that do not fit the limit are accepted.
    pub lenient: bool,
}

/// The sizes of a peon's JVM. In bytes, unless stated otherwise.
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
    /// Processors that the JVM sees.
    pub processors: u64,
}

/// Sizes a JVM.
///
/// # Errors
/// The arithmetic of why the memory cannot hold the JVM, unless that is let through.
pub fn size(given: &Given) -> Result<Sizing, String> {
    let limit = given.memory;
    let processing = Processing::of(given.cpu_milli, given.threads, given.merge_buffers);
    let Processing {
        processors,
        threads,
        merge_buffers,
    } = processing;
    let buffers = processing.buffers(1);
    let direct = given.direct.unwrap_or_else(|| match (given.buffer, given.heap) {
        (Some(buffer), _) => buffer.saturating_mul(buffers).saturating_add(DIRECT_SPARE),
        (None, Some(heap)) => {
            let left = limit.saturating_sub(heap).saturating_sub(LEAST_REST);
            within(left.min(limit / 8), &DIRECT)
        }
        (None, None) => within(limit / 8, &DIRECT),
    });
    let buffer = given.buffer.unwrap_or_else(|| default_buffer(direct, buffers));
    if buffer.saturating_mul(buffers) > direct && !given.lenient {
        return Err(format!(
            "{buffers} processing buffers (numThreads {threads} + numMergeBuffers {merge_buffers} + 1) of \
             {} need {} of direct memory, but MaxDirectMemorySize is {}: raise it, or lower \
             druid.processing.buffer.sizeBytes",
            mebibytes(buffer),
            mebibytes(buffer.saturating_mul(buffers)),
            mebibytes(direct),
        ));
    }

    let by_user = given.heap.is_some();
    let rest = if by_user {
        LEAST_REST
    } else {
        within(limit / 5, &REST)
    };
    let heap = given
        .heap
        .unwrap_or_else(|| (limit.saturating_sub(direct).saturating_sub(rest)) / MIB * MIB);
    let least = if by_user { heap } else { LEAST_HEAP };
    let needed = least.saturating_add(direct).saturating_add(rest);
    if needed > limit && !given.lenient {
        return Err(format!(
            "a memory limit of {} cannot hold the JVM: {} {} + direct memory {} + {} for everything else = {}",
            mebibytes(limit),
            if by_user { "-Xmx" } else { "a heap of at least" },
            mebibytes(least),
            mebibytes(direct),
            mebibytes(rest),
            mebibytes(needed),
        ));
    }
    let heap = heap.max(least);
    if let Some(initial) = given.initial_heap.filter(|initial| *initial > heap) {
        // Whatever the limit: no JVM starts with these values.
        return Err(format!(
            "-Xms {} is above the heap of {}{}",
            mebibytes(initial),
            mebibytes(heap),
            if by_user {
                ""
            } else {
                " that the limit leaves: lower it, or give -Xmx too"
            },
        ));
    }
    Ok(Sizing {
        heap,
        direct,
        buffer,
        threads,
        merge_buffers,
        processors,
    })
}

/// Processors, threads and merge buffers of a JVM, where they are not given: as Druid chooses them
/// (`org.apache.druid.query.DruidProcessingConfig`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processing {
    /// Processors that the JVM sees: the cpu limit, rounded up.
    pub processors: u64,
    /// Processing threads.
    pub threads: u64,
    /// Merge buffers.
    pub merge_buffers: u64,
}

impl Processing {
    /// With a cpu limit in thousandths of a core.
    #[must_use]
    pub fn of(cpu_milli: u128, threads: Option<u64>, merge_buffers: Option<u64>) -> Self {
        let processors = u64::try_from(cpu_milli.div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let threads = threads.unwrap_or(processors.saturating_sub(1)).max(1);
        Self {
            processors,
            threads,
            merge_buffers: merge_buffers.unwrap_or((threads / 4).max(2)),
        }
    }

    /// Processing buffers of a JVM that merges `merges` times at once.
    #[must_use]
    pub fn buffers(self, merges: u64) -> u64 {
        self.threads
            .saturating_add(self.merge_buffers)
            .saturating_add(merges)
    }
}

/// The size in bytes of each buffer, so that direct memory holds `buffers` of them.
#[must_use]
pub fn default_buffer(direct: u64, buffers: u64) -> u64 {
    (direct.saturating_sub(DIRECT_SPARE) / buffers).clamp(MIB, LARGEST_BUFFER) / MIB * MIB
}

/// The nearest value within bounds.
#[must_use]
pub fn within(value: u64, bounds: &std::ops::RangeInclusive<u64>) -> u64 {
    value.clamp(*bounds.start(), *bounds.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(mib: u64) -> Given {
        Given {
            memory: mib * MIB,
            cpu_milli: 1000,
            ..Given::default()
        }
    }

    #[test]
    fn common_limits() {
        let small = size(&limit(512)).unwrap();
        assert_eq!(
            (small.heap / MIB, small.direct / MIB, small.buffer / MIB),
            (320, 64, 14)
        );
        let default = size(&Given {
            memory: 2_000_000_000,
            cpu_milli: 1000,
            ..Given::default()
        })
        .unwrap();
        assert_eq!(default.heap / MIB, 1287);
        let large = size(&Given {
            cpu_milli: 4000,
            ..limit(16 * 1024)
        })
        .unwrap();
        assert_eq!(
            (large.heap / MIB, large.direct / MIB),
            (16 * 1024 - 2048 - 1024, 2048)
        );
        assert_eq!((large.threads, large.merge_buffers, large.processors), (3, 2, 4));
    }

    #[test]
    fn too_small_a_limit_is_refused_with_the_arithmetic() {
        let error = size(&limit(200)).unwrap_err();
        assert!(error.contains("200 MiB cannot hold the JVM"), "{error}");
        assert!(
            error.contains("64 MiB + direct memory 32 MiB + 128 MiB for everything else = 224 MiB"),
            "{error}"
        );
        assert!(size(&limit(224)).is_ok());
    }

    #[test]
    fn what_the_user_gives_wins_but_is_checked() {
        let fits = size(&Given {
            heap: Some(300 * MIB),
            ..limit(512)
        })
        .unwrap();
        assert_eq!(fits.heap, 300 * MIB);
        let error = size(&Given {
            heap: Some(500 * MIB),
            ..limit(512)
        })
        .unwrap_err();
        assert!(error.contains("-Xmx 500 MiB"), "{error}");
        let error = size(&Given {
            buffer: Some(500 * MIB),
            direct: Some(512 * MIB),
            ..limit(4096)
        })
        .unwrap_err();
        assert!(error.contains("need 2000 MiB of direct memory"), "{error}");
        let grown = size(&Given {
            buffer: Some(100 * MIB),
            ..limit(4096)
        })
        .unwrap();
        assert_eq!(grown.direct, 408 * MIB);
    }

    proptest! {
        #[test]
        fn an_accepted_size_always_fits(
            mib in 1_u64..200_000,
            cpu in 1_u128..128_000,
            heap in proptest::option::of(1_u64..100_000),
            direct in proptest::option::of(1_u64..10_000),
            buffer in proptest::option::of(1_u64..2_000),
        ) {
            let given = Given {
                memory: mib * MIB,
                cpu_milli: cpu,
                heap: heap.map(|h| h * MIB),
                direct: direct.map(|d| d * MIB),
                buffer: buffer.map(|b| b * MIB),
                ..Given::default()
            };
            if let Ok(s) = size(&given) {
                prop_assert!(s.heap + s.direct + LEAST_REST <= given.memory);
                prop_assert!((s.threads + s.merge_buffers + 1) * s.buffer <= s.direct);
                prop_assert!(given.heap.is_none_or(|h| h == s.heap));
                prop_assert!(given.direct.is_none_or(|d| d == s.direct));
                prop_assert!(s.heap > 0 && s.buffer > 0);
            }
        }
    }
}
