//! The operator's own lines in an archived log (pure).
//!
//! They begin with `[peon-operator]`, and no line written by a task does: when the log is archived, such a line is
//! prefixed with a backslash, and so is one that already begins with backslashes before that text. So every reader,
//! with any program, can tell a real gap line from a forged one, and can restore the task's output byte for byte.

use bytes::Bytes;

/// The beginning of our lines that is enough to recognise them.
const MARK: &[u8] = b"[peon-operator";
const ESCAPE: u8 = b'\\';
/// A line with more backslashes at its beginning is not an escaped line.
const MOST_ESCAPES: usize = 1024;

/// What is known about a line from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The line begins like ours.
    Like,
    /// The line does not begin like ours.
    Unlike,
    /// Not decided yet.
    More,
}

fn classify(beginning: &[u8]) -> Line {
    let escapes = beginning.iter().take_while(|b| **b == ESCAPE).count();
    let rest = &beginning[escapes..];
    if escapes > MOST_ESCAPES {
        Line::Unlike
    } else if rest.starts_with(MARK) {
        Line::Like
    } else if MARK.starts_with(rest) {
        Line::More
    } else {
        Line::Unlike
    }
}

/// Whether a line with these first bytes needs a backslash.
#[must_use]
pub fn needs_escape(line: &[u8]) -> bool {
    classify(line) == Line::Like
}

/// Escapes lines in a stream of pieces that may be cut anywhere.
#[derive(Debug, Default)]
pub struct Escaper {
    /// Within a line that was decided.
    within: bool,
    /// The beginning of a line that is not decided yet.
    held: Vec<u8>,
}

impl Escaper {
    /// Takes the next piece; output goes to `out`.
    pub fn push(&mut self, piece: &Bytes, out: &mut Vec<Bytes>) {
        let mut given = 0;
        let mut at = 0;
        while at < piece.len() {
            if !self.within {
                let known = if self.held.is_empty() {
                    classify(&piece[at..])
                } else {
                    let longest = MOST_ESCAPES + MARK.len() + 1;
                    let end = piece.len().min(at + longest);
                    classify(&[&self.held, &piece[at..end]].concat())
                };
                give(out, piece.slice(given..at));
                given = at;
                if known == Line::More {
                    self.held.extend_from_slice(&piece[at..]);
                    return;
                }
                if known == Line::Like {
                    out.push(Bytes::from_static(&[ESCAPE]));
                }
                give(out, std::mem::take(&mut self.held).into());
                self.within = true;
            }
            match memchr::memchr(b'\n', &piece[at..]) {
                Some(length) => {
                    at += length + 1;
                    self.within = false;
                }
                None => break,
            }
        }
        give(out, piece.slice(given..));
    }

    /// Returns the bytes held: the stream ends, or one of our own lines follows.
    pub fn end(&mut self) -> Bytes {
        self.within = false;
        std::mem::take(&mut self.held).into()
    }
}

fn give(out: &mut Vec<Bytes>, bytes: Bytes) {
    if !bytes.is_empty() {
        out.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "one\n[peon-operator] attempt 2 of the task begins here\n\\[peon-operator] x\n\\\\\n[peon\n[\n\n  \
                       [peon-operator]\n[peon-operator";
    const ESCAPED: &str = "one\n\\[peon-operator] attempt 2 of the task begins here\n\\\\[peon-operator] x\n\\\\\n[peon\n[\n\n  \
                           [peon-operator]\n\\[peon-operator";

    fn escaped(text: &str, cut: usize) -> String {
        let mut escaper = Escaper::default();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(cut) {
            escaper.push(&Bytes::copy_from_slice(piece), &mut out);
        }
        out.push(escaper.end());
        String::from_utf8(out.concat()).unwrap()
    }

    #[test]
    fn a_line_of_the_task_never_begins_like_ours_wherever_it_is_cut() {
        for cut in 1..=ODD.len() {
            assert_eq!(escaped(ODD, cut), ESCAPED, "{cut}");
        }
        // What was written can be told: one backslash less.
        let back: Vec<_> = ESCAPED
            .split('\n')
            .map(|line| {
                if needs_escape(line.as_bytes()) {
                    &line[1..]
                } else {
                    line
                }
            })
            .collect();
        assert_eq!(back.join("\n"), ODD);
    }

    #[test]
    fn what_is_like_nothing_of_ours_is_as_it_was() {
        for text in ["", "\n", "a", "plain\nlines\n", "[peon] \\", &"\\".repeat(5000)] {
            for cut in [1, 7, 5000] {
                assert_eq!(escaped(text, cut), text, "{cut}");
            }
        }
    }
}
