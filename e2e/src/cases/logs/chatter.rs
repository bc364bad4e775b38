//! A peon that writes as much as is wanted: a container beside it writes into the peon's own output.

use anyhow::Result;
use serde_json::{Value, json};

use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::wait::wait_until;

/// How much is written, in blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chatter {
    /// How many blocks.
    pub(super) blocks: u32,
    /// Lines of each, of about 100 bytes; and one of 40,000, which container runtimes cut into pieces.
    pub(super) lines: u32,
    /// Seconds between two blocks.
    pub(super) pause: f32,
}

impl Chatter {
    /// Has the pods of a template do it; `spec` is the template's. It ends when the peon does, at the latest.
    pub(super) fn add_to(self, fixture: &Fixture, spec: &mut Value) {
        let Self { blocks, lines, pause } = self;
        // The pattern does not match the command line that it stands in.
        let script = format!(
            "until peon=$(grep -lza '@/etc/peon/jvm.arg[s]' /proc/[0-9]*/cmdline 2>/dev/null | head -n 1) && \
             [ -n \"$peon\" ]; do sleep 1; done\n\
             for block in $(seq {blocks}); do\n\
             [ -e /dev/shm/enough ] && break\n\
             {{ seq -f \"block $block, line %.0f: ä, €, and what else a log may have: \
             0123456789012345678901234567890123456789\" {lines}; head -c 40000 /dev/zero | tr '\\0' x; echo; }} \
             > \"${{peon%cmdline}}fd/1\" || break\n\
             sleep {pause}\n\
             done\n\
             touch /dev/shm/quiet\n\
             exec sleep 100000"
        );
        let pod = &mut spec["template"]["spec"];
        pod["shareProcessNamespace"] = json!(true);
        let chatter = json!({
            "name": "chatter", "image": fixture.druid_image, "restartPolicy": "Always",
            "command": ["/bin/sh", "-c", script],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "resources": {"limits": {"memory": "64Mi", "cpu": "1"}, "requests": {"cpu": "10m"}},
        });
        match pod["initContainers"].as_array_mut() {
            Some(containers) => containers.push(chatter),
            None => pod["initContainers"] = json!([chatter]),
        }
    }

    /// Has it stop, and waits until it has.
    pub(super) fn stop(fixture: &Fixture, namespace: &str, pod: &str) -> Result<()> {
        Self::run(fixture, namespace, pod, "touch /dev/shm/enough")?;
        Self::until_quiet(fixture, namespace, pod)
    }

    /// Waits until it has written everything.
    ///
    /// # Errors
    /// After [`LIMIT`].
    pub(super) fn until_quiet(fixture: &Fixture, namespace: &str, pod: &str) -> Result<()> {
        wait_until(LIMIT, "all blocks of the log", || {
            // At most ten seconds a call: a connection that breaks is no failure of the case.
            let script =
                "for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e /dev/shm/quiet ] && exit; sleep 1; done; exit 1";
            Ok(Self::run(fixture, namespace, pod, script).ok())
        })
    }

    fn run(fixture: &Fixture, namespace: &str, pod: &str, script: &str) -> Result<()> {
        let exec = ["exec", pod, "--namespace", namespace, "--container", "chatter"];
        let command = ["--", "/bin/sh", "-c", script];
        fixture.kubectl.run(&[&exec[..], &command].concat()).map(drop)
    }
}
