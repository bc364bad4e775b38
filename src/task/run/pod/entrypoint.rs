//! How the peon's script starts Java and hands out what it writes (pure).
//!
//! Where nobody keeps the log, the shell becomes Java. Where somebody does, it stays as its parent, hands SIGTERM on,
//! and ends with Java's exit code when Java has truly ended:
//!
//! * for a **follower** of the container's log it prints the report behind it; standard error goes the way of standard
//!   output, since two streams of a container arrive in no certain order;
//! * for a **sidecar** all of it is appended to a file on a volume that the two share, so that what was written is not
//!   lost with the container, and copied from there to where `kubectl logs` reads.
//!
//! When the kernel takes Java alone for want of memory, that is exit code 137 of this shell too; when it takes the whole
//! container (cgroup v2), the shell is gone with it, and the file is as far as Java had written.

use crate::logs::format::report;

/// Who takes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nobody: it is the container's.
    Container,
    /// Somebody who reads the container's log.
    Follower,
    /// A sidecar that reads a file.
    Sidecar,
}

/// The last line where the shell becomes Java.
pub const EXEC: &str = "exec java \"-Ddruid.host=$PEON_POD_IP\" @/etc/peon/jvm.args\n";

/// A shell that is process 1 ignores signals which it does not trap. What a shell starts in the background ignores
/// SIGINT, so Java is told by SIGTERM.
const TRAP: &str = r#"asked='' java=''
stop() {
  asked=1
  [ -z "$java" ] || kill -TERM "$java" 2>/dev/null || :
}
trap stop TERM INT
"#;

const ONE_STREAM: &str = "exec 2>&1\n";

/// Descriptor 3 is where the copy stands, shared by everything that copies; 4 is the container's own output.
const TO_FILE: &str = r"copy() {
  cat <&3 >&4 || :
}
exec 4>&1 >>/peon-log/log 2>&1 3</peon-log/log
trap copy EXIT
";

/// A signal that comes before the new process is Java is lost to the handler that it has from its parent: it is sent
/// again after a second, which a Java that is stopping already does not mind.
///
/// `wait` returns when a signal is trapped too, and then says 143. What it says of a process that is no more is 127.
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
java "-Ddruid.host=$PEON_POD_IP" @/etc/peon/jvm.args &
java=$!
[ -z "$asked" ] || stop
await "$java"
java=''
set +e
print_report 2>/dev/null
exit "$code"
"#;

/// A reader sees a number or nothing: what cannot be read is not written either. A signal may come before its trap is
/// set and be lost, so it only shortens the wait: what ends the copying is a file.
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
java "-Ddruid.host=$PEON_POD_IP" @/etc/peon/jvm.args 3<&- 4>&- &
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

/// The peon's whole script around what `prepare` says to do before Java starts.
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
