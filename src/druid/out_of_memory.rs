//! How Druid and the JVM say that memory ran out, in the message of a failed task and in its log (pure).
//!
//! `-XX:+ExitOnOutOfMemoryError` ends a JVM out of heap. It does not when direct memory runs out: that error is thrown by
//! Java's library (`java.nio.Bits`), and a task that fails of it reports FAILED like any other, often with another error
//! that follows from it (`Expected [256] bytes, only saw [250], potential corruption?`).

use memchr::memmem::{find, find_iter};

/// What says so.
const SIGNS: [&[u8]; 3] = [
    b"java.lang.OutOfMemoryError",
    // `org.apache.druid.guice.DruidProcessingModule`, when the process starts.
    b"Not enough direct memory",
    b"of direct buffer memory (allocated: ",
];
/// What the same error says of other limits than those of memory.
const OTHERS: [&[u8]; 3] = [
    b"unable to create native thread",
    b"unable to create new native thread",
    b"Requested array size exceeds VM limit",
];
/// Text in lines of a supervisor task's log that report the end of another task.
const OF_ANOTHER: [&[u8]; 2] = [b"errorMsg", b"TaskStatus{"];
/// Bytes of a line that are looked at on each side of what says so.
const AROUND: usize = 4096;

/// Whether the message of a failed task says so.
#[must_use]
pub fn is_said_by(message: &str) -> bool {
    says_so(message.as_bytes(), &[])
}

/// Whether one of these lines of a log says so of the task itself.
#[must_use]
pub fn is_logged(lines: &[u8]) -> bool {
    says_so(lines, &OF_ANOTHER)
}

fn says_so(text: &[u8], unless: &[&[u8]]) -> bool {
    SIGNS.iter().any(|sign| {
        find_iter(text, sign).any(|at| {
            let begin = memchr::memrchr(b'\n', &text[..at]).map_or(0, |before| before + 1);
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length);
            let line = &text[begin.max(at.saturating_sub(AROUND))..end.min(at + AROUND)];
            !OTHERS
                .iter()
                .chain(unless)
                .any(|other| find(line, other).is_some())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_fails_of_when_memory_runs_out_is_known() {
        for said in [
            "java.lang.OutOfMemoryError: Java heap space",
            "java.util.concurrent.ExecutionException: java.lang.OutOfMemoryError: Cannot reserve 65536 bytes of dire...",
            "Cannot reserve 65536 bytes of direct buffer memory (allocated: 25165824, limit: 25165824)",
            "java.lang.OutOfMemoryError: Direct buffer memory",
            "Not enough direct memory. Please adjust -XX:MaxDirectMemorySize, druid.processing.buffer.sizeBytes, ...",
        ] {
            assert!(is_said_by(said) && is_logged(said.as_bytes()), "{said}");
        }
        for said in [
            "",
            "no segments",
            "Expected [256] bytes, only saw [250], potential corruption?",
            "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory or limits reached",
            "java.lang.OutOfMemoryError: Requested array size exceeds VM limit",
        ] {
            assert!(!is_said_by(said), "{said}");
        }
    }

    #[test]
    fn a_log_that_tells_of_another_task_says_nothing_of_its_own() {
        let own = b"first\nCaused by: java.lang.OutOfMemoryError: Direct buffer memory\n\tat java.nio.Bits\n";
        let others =
            b"INFO task ended with TaskStatus{id=a, errorMsg=java.lang.OutOfMemoryError: Java heap space}\n";
        assert!(is_logged(own) && !is_logged(others));
        assert!(is_logged(&[&others[..], own].concat()) && is_logged(&[&own[..], others].concat()));
        let threads = b"java.lang.OutOfMemoryError: unable to create native thread\n";
        assert!(is_logged(&[&threads[..], own].concat()) && !is_logged(threads));
    }
}
