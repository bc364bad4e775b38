//! When a case may begin beside others: on a machine that has more to run than it can, each case would only wait longer,
//! until its deadlines pass.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Load average of one minute above which no further case begins while others run. On two cores about six is usual, and
/// from fifteen on JVMs start so slowly that cases give up.
const BUSY: f64 = 12.0;
/// After this time a case begins in any case.
const MOST: Duration = Duration::from_secs(60);
/// How often the load is read.
const LOOK: Duration = Duration::from_secs(2);

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A case that runs, until it is dropped.
pub(super) struct Admitted(());

impl Drop for Admitted {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the machine has room for another case, or no other runs.
pub(super) fn admit() -> Admitted {
    let asked = Instant::now();
    while RUNNING.load(Ordering::Relaxed) > 0 && load() > BUSY && asked.elapsed() < MOST {
        thread::sleep(LOOK);
    }
    RUNNING.fetch_add(1, Ordering::Relaxed);
    Admitted(())
}

/// The load average of the last minute; none where the system has no such file.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or_default()
}
