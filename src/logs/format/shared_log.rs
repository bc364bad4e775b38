//! Whose a line is in the log of an Indexer that runs several tasks (pure).
//!
//! Druid names a task's threads `[<task id>]-…` (`org.apache.druid.indexing.overlord.ThreadingTaskRunner`), and newer
//! versions put the id into the logging context, too (druid#18170). So the layout writes both, behind a token that only the
//! JVM and the operator know: a text that a task brings along cannot pass for the beginning of a line. Lines without
//! such a beginning, those of a stack trace, belong to the line before. What threads write that tasks have in common is no
//! task's, and stays in the log of the Indexer's pod.

use k8s_openapi::jiff::Timestamp;

/// The layout of other JVMs (`java_container::LOG4J`).
const PATTERN: &str = "%d{ISO8601} %p [%t] %c - %m%n";
const SHARED_PATTERN: &str = "%d{ISO8601} ${env:PEON_LOG_TOKEN} %p [%X{task.log.id}][%t] %c - %m%n";
/// The environment variable with the uid of the Indexer's pod.
pub const VARIABLE: &str = "PEON_POD_UID";
/// What the script of the pod does before it starts the JVM: the token is the first part of the uid.
pub const SCRIPT: &str = "export PEON_LOG_TOKEN=\"${PEON_POD_UID%%-*}\"\n";

/// The logging configuration of an Indexer that runs several tasks.
#[must_use]
pub fn layout(configuration: &str) -> String {
    configuration.replace(PATTERN, SHARED_PATTERN)
}

/// Whether the lines of a task with this id can be told from those of others in any case. The part between the brackets is
/// not escaped, so an id that holds the end of that part could be taken for another one.
#[must_use]
pub fn is_distinct(task_id: &str) -> bool {
    !["]-", "]["].iter().any(|end| task_id.contains(end)) && !task_id.contains(['\n', '\r'])
}

/// The lines of one task in the log of an Indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLines {
    /// The task's id.
    pub task_id: String,
    /// Uid of the Indexer's pod.
    pub pod_uid: String,
    /// The task cannot have written before.
    pub since: Timestamp,
}

/// Finds them in a stream of lines.
#[derive(Debug, Clone)]
pub struct TaskFilter {
    lines: TaskLines,
    /// ` <token> `, behind the time of a line.
    token: Vec<u8>,
    /// What follows the level where the logging context names the task.
    by_context: Vec<u8>,
    /// What follows the level where the name of the thread names the task.
    by_thread: Vec<u8>,
    /// Whether the last beginning of a line was the task's.
    owned: bool,
    /// Whether the last piece did not end its line.
    continues: bool,
}

/// Most bytes of a line that are held until it ends.
const LONGEST_LINE: usize = 64 << 10;

/// Passes on the lines of one task of a whole log without the kubelet's times.
#[derive(Debug, Clone)]
pub struct LineCutter {
    filter: TaskFilter,
    /// The beginning of a line whose end has not arrived.
    carry: Vec<u8>,
}

impl LineCutter {
    /// Passes on these lines.
    #[must_use]
    pub fn new(lines: TaskLines) -> Self {
        Self {
            filter: TaskFilter::new(lines),
            carry: Vec::new(),
        }
    }

    /// Takes the next bytes, and returns those of the task.
    #[must_use]
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut own = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.carry.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.carry.len() >= LONGEST_LINE {
                self.pass_on(&mut own);
            }
        }
        own
    }

    /// The log ended, maybe without a line break.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        let mut own = Vec::new();
        if !self.carry.is_empty() {
            self.pass_on(&mut own);
        }
        own
    }

    fn pass_on(&mut self, own: &mut Vec<u8>) {
        let whose = self.filter.piece(&self.carry);
        if whose != Piece::Foreign {
            own.extend(self.filter.strip(&self.carry, whose));
        }
        self.carry.clear();
    }
}

/// What a piece of the stream is for the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Not the task's.
    Foreign,
    /// The task's.
    Own,
    /// The beginning of a line of the task: the bytes of this range are for the operator only.
    Headed {
        /// Where they begin.
        from: usize,
        /// Where they end.
        to: usize,
    },
}

impl TaskFilter {
    /// Finds these lines.
    #[must_use]
    pub fn new(lines: TaskLines) -> Self {
        let token = lines.pod_uid.split('-').next().unwrap_or_default();
        let id = &lines.task_id;
        Self {
            token: format!(" {token} ").into_bytes(),
            by_context: format!("[{id}][").into_bytes(),
            by_thread: format!("[][[{id}]-").into_bytes(),
            owned: false,
            continues: false,
            lines,
        }
    }

    /// The task cannot have written before this time.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.lines.since
    }

    /// The stream is read again, from the beginning of some line on.
    pub fn again(&mut self) {
        self.owned = false;
        self.continues = false;
    }

    /// Whose the next piece is: a line as the container wrote it, or a part of one.
    pub fn piece(&mut self, text: &[u8]) -> Piece {
        let begins = !std::mem::replace(&mut self.continues, !text.ends_with(b"\n"));
        if begins {
            if let Some(header) = self.header(text) {
                self.owned = header != Piece::Foreign;
                return header;
            }
            if is_of_the_jvm(text) {
                return Piece::Foreign;
            }
        }
        if self.owned { Piece::Own } else { Piece::Foreign }
    }

    /// Whose the line is that begins here; `None` if none does.
    fn header(&self, text: &[u8]) -> Option<Piece> {
        let time = text.iter().position(|b| *b == b' ')?;
        let rest = text[time..].strip_prefix(&self.token[..])?;
        let level = rest.iter().position(|b| *b == b' ')? + 1;
        let place = &rest[level..];
        let thread = if place.starts_with(&self.by_context) {
            self.by_context.len() - 1
        } else if place.starts_with(&self.by_thread) {
            "[]".len()
        } else {
            return Some(Piece::Foreign);
        };
        // `<time> <level> [<thread>] …` is what the log of any other task looks like.
        let from = time + self.token.len() + level;
        let to = from + thread;
        Some(Piece::Headed { from, to })
    }

    /// The bytes of a piece that belong to the task's log.
    #[must_use]
    pub fn strip(&self, text: &[u8], piece: Piece) -> Vec<u8> {
        let Piece::Headed { from, to } = piece else {
            return text.to_vec();
        };
        let time = text.iter().position(|b| *b == b' ').unwrap_or_default();
        let behind_token = (time + self.token.len()).min(from);
        [&text[..=time], &text[behind_token..from], &text[to..]].concat()
    }
}

/// `[12.345s][info][gc] …`: what the JVM itself writes (`-Xlog`).
fn is_of_the_jvm(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"[") else {
        return false;
    };
    let digits = rest
        .iter()
        .take_while(|b| b.is_ascii_digit() || **b == b'.')
        .count();
    digits > 0 && rest[digits..].starts_with(b"s][")
}

#[cfg(test)]
mod tests {
    use super::*;
    fn filter(id: &str) -> TaskFilter {
        TaskFilter::new(TaskLines {
            task_id: id.to_owned(),
            pod_uid: "8f3c2a52-6c0e-4a55".to_owned(),
            since: Timestamp::UNIX_EPOCH,
        })
    }

    /// The lines of `log` that belong to the task, as they are archived.
    fn lines(id: &str, log: &str) -> String {
        let mut filter = filter(id);
        let mut own = Vec::new();
        for line in log.split_inclusive('\n') {
            let piece = filter.piece(line.as_bytes());
            if piece != Piece::Foreign {
                own.extend(filter.strip(line.as_bytes(), piece));
            }
        }
        String::from_utf8(own).unwrap()
    }

    const LOG: &str = "\
2026-11-30T05:00:00,000 8f3c2a52 INFO [][main] o.a.d.Main - starting\n\
2026-11-30T05:00:01,000 8f3c2a52 INFO [][[a]-task-runner-0] o.a.d.Task - one\n\
2026-11-30T05:00:01,500 8f3c2a52 WARN [][[a]b]-task-runner-1] o.a.d.Task - of a]b\n\
2026-11-30T05:00:02,000 8f3c2a52 ERROR [][[a]-task-runner-0] o.a.d.Task - two\n\
java.lang.RuntimeException: x\n\
2026-11-30T05:00:02,000 INFO [][[b]-forged] o.a.d.Task - a message of a\n\
[12.345s][info][gc] GC(1) Pause Young\n\
\tat a.b.C\n\
2026-11-30T05:00:03,000 8f3c2a52 INFO [b][pool-1] o.a.d.Task - by context\n\
2026-11-30T05:00:03,000 8f3c2a52 INFO [][merge-1] o.a.d.Merge - nobody's\n\
\tat d.e.F\n";

    #[test]
    fn a_task_has_the_lines_of_its_threads_and_what_follows_them() {
        assert_eq!(
            lines("a", LOG),
            "2026-11-30T05:00:01,000 INFO [[a]-task-runner-0] o.a.d.Task - one\n\
             2026-11-30T05:00:02,000 ERROR [[a]-task-runner-0] o.a.d.Task - two\n\
             java.lang.RuntimeException: x\n\
             2026-11-30T05:00:02,000 INFO [][[b]-forged] o.a.d.Task - a message of a\n\
             \tat a.b.C\n"
        );
        assert_eq!(
            lines("a]b", LOG),
            "2026-11-30T05:00:01,500 WARN [[a]b]-task-runner-1] o.a.d.Task - of a]b\n"
        );
        assert_eq!(
            lines("b", LOG),
            "2026-11-30T05:00:03,000 INFO [pool-1] o.a.d.Task - by context\n"
        );
    }

    /// However the bytes arrive.
    #[test]
    fn a_whole_log_is_cut_in_any_pieces() {
        for step in [1, 10, LOG.len()] {
            let mut cutter = LineCutter::new(filter("a").lines);
            let mut own: Vec<u8> = LOG
                .as_bytes()
                .chunks(step)
                .flat_map(|some| cutter.take(some))
                .collect();
            own.extend(cutter.take(b"T 8f3c2a52 INFO [][[a]-x] c - not ended"));
            own.extend(cutter.end());
            let expected = format!("{}T INFO [[a]-x] c - not ended", lines("a", LOG));
            assert_eq!(String::from_utf8(own).unwrap(), expected, "{step}");
        }
    }

    /// Every line of a task is in exactly one log, whatever the ids look like.
    #[test]
    fn odd_ids_do_not_take_each_others_lines() {
        let ids = ["a", "a b", "a%t", "a]", "[a]", "aa", "a$", "ä", "]", "[]"];
        let line = |id: &str| format!("T 8f3c2a52 INFO [][[{id}]-x] c - of {id}\n");
        let log: String = ids.iter().map(|id| line(id)).collect();
        for id in ids {
            assert!(is_distinct(id), "{id}");
            assert_eq!(lines(id, &log), format!("T INFO [[{id}]-x] c - of {id}\n"));
        }
        for id in ["a]-b", "a][b", "a\nb"] {
            assert!(!is_distinct(id), "{id}");
        }
    }

    /// A stream comes in pieces of lines that are too long to be read at once.
    #[test]
    fn a_piece_of_a_line_is_the_lines() {
        let mut filter = filter("a");
        let headed = filter.piece(b"T 8f3c2a52 INFO [][[a]-x] c - lo");
        assert!(matches!(headed, Piece::Headed { .. }));
        assert_eq!(filter.piece(b"T 8f3c2a52 INFO [][[b]-x]"), Piece::Own);
        assert_eq!(filter.piece(b"ng\n"), Piece::Own);
        assert_eq!(filter.piece(b"T 8f3c2a52 INFO [][[b]-x] c - m\n"), Piece::Foreign);
        filter.again();
        assert_eq!(
            filter.piece(b"\tat a.b.C\n"),
            Piece::Foreign,
            "it may be anybody's"
        );
    }

    #[test]
    fn the_layout_names_token_context_and_thread() {
        let pattern = |pattern: &str| format!("<PatternLayout pattern=\"{pattern}\"/>");
        assert_eq!(layout(&pattern(PATTERN)), pattern(SHARED_PATTERN));
    }
}
