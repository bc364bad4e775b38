//! How the peon's script starts Java and passes its output on (pure).
//!
//! If the log is not archived, the shell execs Java. Otherwise the shell remains as Java's parent, forwards SIGTERM,
//! and ends with Java's exit code once Java has truly ended:
//!
//! * for a **follower** of the container's log it prints the report behind the log; standard error is redirected to
//!   standard output, since two streams of a container arrive in no defined order;
//! * for a **sidecar** all output is appended to a file on a shared volume, so that it is not lost with the container,
//!   and copied from there to standard output, which `kubectl logs` reads.
//!
//! If the kernel's OOM killer kills only Java, this shell's exit code is 137 too; if it kills the whole container
//! (cgroup v2), the shell is killed as well, and the file contains what Java had written.

use crate::logs::format::report;

/// Which component reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// None: the log is only the container's.
    Container,
    /// A follower that reads the container's log.
    Follower,
    /// A sidecar that reads a file.
    Sidecar,
}

/// The last line of a script whose shell execs Java.
pub const EXEC: &str = "exec java \"-Ddruid.host=$peon_host\" @/etc/peon/jvm.args\n";

/// A shell that is process 1 ignores signals without a trap. Background processes of a shell ignore SIGINT, so Java
/// gets SIGTERM.
const TRAP: &str = r#"asked='' java=''
stop() {
  asked=1
  [ -z "$java" ] || kill -TERM "$java" 2>/dev/null || :
}
trap stop TERM INT
"#;

const ONE_STREAM: &str = "exec 2>&1\n";

/// Descriptor 3 holds the offset of the copy, shared by everything that copies; 4 is the container's own output.
const TO_FILE: &str = r"copy() {
  cat <&3 >&4 || :
}
exec 4>&1 >>/peon-log/log 2>&1 3</peon-log/log
trap copy EXIT
";

/// A signal that arrives before the new process is Java is lost to the handler inherited from its parent: it is sent
/// again after a second, which does not affect a Java that is stopping already.
///
/// `wait` also returns when a signal is trapped, and then returns 143. For a process that no longer exists it returns
/// 127.
const AWAIT: &str = r#"insisted=''
insist() {
  [ -n "$asked" ] && [ -z "$insisted" ] || return 0
  insisted=1
  { sleep 1; kill -TERM "$1"; } >/dev/null 2>&1 &
}
await() {
  insist "$1"
  code=0
  wait "$1" || code=$?
  while [ "$code" -gt 128 ] && kill -0 "$1" 2>/dev/null; do
    insist "$1"
    code=0
    wait "$1" || code=$?
  done
  [ -n "$asked" ] || return 0
  again=0
  wait "$1" 2>/dev/null || again=$?
  [ "$again" -eq 127 ] || code=$again
}
"#;

const FOLLOWER_START: &str = r#"[ -z "$asked" ] || exit 143
java "-Ddruid.host=$peon_host" @/etc/peon/jvm.args &
java=$!
[ -z "$asked" ] || stop
await "$java"
java=''
set +e
print_report 2>/dev/null
exit "$code"
"#;

/// A reader sees a number or nothing: a value that cannot be read is not written either. A signal may arrive before its
/// trap is set and be lost, so it only shortens the wait: a file ends the copying.
const COPY_ALWAYS: &str = r#"note() {
  while read -r key value; do
    [ "$key" != pos: ] || echo "$value" >/peon-log/shown
  done </proc/self/fdinfo/3
  for peak in /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes; do
    [ ! -r "$peak" ] || { read -r value <"$peak" && echo "$value" >/peon-log/peak-memory; }
  done
}
copy_always() {
  trap 'exit 0' TERM
  while [ ! -e /peon-log/ended ]; do
    copy
    note 2>/dev/null || :
    sleep 1 &
    wait "$!" || :
  done
}
"#;

const SIDECAR_START: &str = r#"[ -z "$asked" ] || exit 143
java "-Ddruid.host=$peon_host" @/etc/peon/jvm.args 3<&- 4>&- &
java=$!
[ -z "$asked" ] || stop
rm -f /peon-log/ended
copy_always &
copier=$!
await "$java"
java=''
set +e
: >/peon-log/ended
kill -TERM "$copier" 2>/dev/null
wait "$copier" 2>/dev/null
copy
note 2>/dev/null
exit "$code"
"#;

/// The peon's whole script, with the commands of `prepare` before Java starts.
#[must_use]
pub fn script(output: Output, prepare: &[&str]) -> String {
    let prepare = prepare.concat();
    let parts: &[&str] = match output {
        Output::Container => &[&prepare, EXEC],
        Output::Follower => &[TRAP, ONE_STREAM, &prepare, AWAIT, report::SCRIPT, FOLLOWER_START],
        Output::Sidecar => &[TRAP, TO_FILE, &prepare, AWAIT, COPY_ALWAYS, SIDECAR_START],
    };
    parts.concat()
}

#[cfg(test)]
#[path = "entrypoint_tests.rs"]
mod tests;
