//! Logs and reports are where Druid reads them, whatever the store.
//!
//! The cases run the program `archive`, which is the operator's own code, and look at what it did with other clients.

mod gibibyte;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::cases::{Check, standalone};
use crate::testbed::exec;
use crate::testbed::object_stores::Place;
use crate::testbed::object_stores::azurite::Azurite;
use crate::testbed::object_stores::fake_gcs::FakeGcs;
use crate::testbed::object_stores::file::Directory;
use crate::testbed::object_stores::server::Folder;
use crate::testbed::object_stores::versitygw::Versitygw;
use crate::testbed::progress::Progress;

/// The cases, which may run beside each other.
pub const CASES: &[Check] = &[
    standalone("stores::a_directory_has_what_an_overlord_reads", |_, progress| {
        let directory = Directory::new()?;
        check(&directory, progress)?;
        stays_young(&directory)
    }),
    standalone("stores::s3_has_what_an_overlord_reads", |cache, progress| {
        check(&Versitygw::start(cache, progress)?, progress)
    }),
    standalone("stores::google_has_what_an_overlord_reads", |cache, progress| {
        check(&FakeGcs::start(cache, progress)?, progress)
    }),
    standalone("stores::azure_has_what_an_overlord_reads", |cache, progress| {
        check(&Azurite::start(cache, progress)?, progress)
    }),
    standalone("stores::one_that_is_down_is_said_to_be", |_, _| down()),
    standalone(
        "stores::a_gibibyte_is_sent_about_twice",
        gibibyte::is_sent_about_twice,
    )
    .full(),
];

const UID: &str = "5f0c5c0e-7f0a-4b58-9d1f-3a4e5b6c7d8e";
const MIB: usize = 1024 * 1024;

/// Ids that a real overlord took, and two of our own: temporary files end like `#1`, and Azure drops dots at the end of
/// names.
const ODD_IDS: &[&str] = &[
    "plain-id_1.2",
    "with:colon",
    "with space",
    "back\\slash",
    "UPPER",
    "ünïcødé",
    "semi;colon",
    "pct%41",
    "q?x=1&y",
    " lead",
    "trail ",
    "quote\"x",
    "apos'x",
    "dollar$x",
    "star*",
    "pipe|x",
    "amp&x",
    "plus+x",
    "comma,x",
    "paren(x)",
    "at@x",
    "tilde~x",
    "hash#x",
    "hash#1",
    "curly{x}",
    "square[x]",
    "lt<x>",
    "bang!x",
    "eq=x",
    "caret^x",
    "backtick`x",
    "index_parallel_ds with space_keigpdok_2026-11-21T02:04:32.154Z",
    "index_parallel_dsünï_dpagbabd_2026-11-21T02:04:32.193Z",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
     bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
];

/// The program `archive` of this checkout, with the properties of a place.
struct Archive {
    folder: Folder,
}

impl Archive {
    fn of(properties: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let escaped = properties.replace('\\', "\\\\");
        fs::write(folder.path().join("runtime.properties"), escaped)?;
        Ok(Self { folder })
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let program: PathBuf = env::current_exe()?.with_file_name("archive");
        let file = self.folder.path().join("input");
        fs::write(&file, input)?;
        let mut command = Command::new(program);
        // Only what the properties say may be used.
        command
            .env_clear()
            .arg(self.folder.path().join("runtime.properties"))
            .args(args);
        let output = command.stdin(fs::File::open(&file)?).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`{}`: {}", exec::line(&command), said.trim());
        }
        Ok(output.stdout)
    }

    fn text(&self, args: &[&str], input: &[u8]) -> Result<String> {
        Ok(String::from_utf8(self.run(args, input)?)?.trim().to_owned())
    }
}

fn check(place: &dyn Place, progress: &Progress) -> Result<()> {
    let archive = Archive::of(&place.properties())?;
    let step = progress.step("a log in parts");
    grows_and_is_composed(place, &archive).context("a log in parts")?;
    if place.takes_large_objects() {
        is_composed_in_several_requests(place, &archive).context("a large log")?;
    }
    step.done("is composed");
    let step = progress.step("odd ids");
    archive
        .run(&[&["each"], ODD_IDS].concat(), b"")
        .context("odd ids")?;
    for id in ODD_IDS {
        has_odd_id(place, id).with_context(|| format!("the id {id:?}"))?;
    }
    step.done("are written as Druid writes them");
    let step = progress.step("tasks of one id");
    has_one_owner(place, &archive).context("an id of several tasks")?;
    are_beside_each_other(place).context("an id of several tasks at once")?;
    step.done("each have their own log");
    reads_ranges(&archive).context("ranges")?;
    keeps_history(place, &archive).context("history")?;
    if let Some((properties, expected)) = place.refused() {
        let refused = Archive::of(&properties)?.run(&["report", "t", UID], b"{}");
        let said = refused.err().context("wrong credentials were taken")?.to_string();
        ensure!(said.contains(expected), "{said}");
        let secret = properties
            .lines()
            .find_map(|line| line.strip_prefix("druid.s3.secretKey="));
        ensure!(
            secret.is_none_or(|secret| !said.contains(secret)),
            "a secret is shown: {said}"
        );
    }
    Ok(())
}

fn grows_and_is_composed(place: &dyn Place, archive: &Archive) -> Result<()> {
    let part = |attempt: &str, sequence: &str, bytes: &[u8]| {
        archive.run(&["part", "grows", UID, attempt, sequence, "2026-11-21_x"], bytes)
    };
    part("2", "0", b"third\n")?;
    part("1", "10", b"second\n")?;
    part("1", "9", b"first\n")?;
    let listed = archive.text(&["parts", "grows", UID], b"")?;
    let expected = "0001-00000009-2026-11-21_x 6\n0001-00000010-2026-11-21_x 7\n0002-00000000-2026-11-21_x 6";
    ensure!(listed == expected, "{listed}");
    let log = place.log("grows");
    ensure!(place.read(&log)?.is_none(), "there is a log already");
    // Whatever an overlord could take for a log.
    let seen: Vec<_> = place
        .keys()?
        .into_iter()
        .filter(|key| !key.contains(".peon/"))
        .collect();
    ensure!(seen.is_empty(), "parts are not set apart: {seen:?}");
    let said = archive.text(&["compose", "grows", UID], b"header\n")?;
    ensure!(said == "written 26", "{said}");
    let whole = b"header\nfirst\nsecond\nthird\n".to_vec();
    ensure!(
        place.read(&log)? == Some(whole.clone()),
        "the log is not its parts"
    );
    ensure!(
        !place
            .keys()?
            .iter()
            .any(|key| key.contains(&format!("/parts/{UID}/"))),
        "parts are left"
    );
    let said = archive.text(&["compose", "grows", UID], b"shorter")?;
    ensure!(said == "before 26", "{said}");
    ensure!(place.read(&log)? == Some(whole), "the log was replaced");
    archive.run(&["report", "grows", UID], b"{\"a\": 1}")?;
    ensure!(
        place.read(&place.report("grows"))?.as_deref() == Some(b"{\"a\": 1}"),
        "no report"
    );
    ensure!(archive.run(&["read-report", "grows", UID], b"")? == b"{\"a\": 1}");
    let said = archive.text(&["compose", "empty", "another-uid"], b"")?;
    ensure!(
        said == "nothing" && place.read(&place.log("empty"))?.is_none(),
        "{said}"
    );
    archive.run(&["forget", "grows", UID], b"")?;
    // Whose the id is stays said.
    let keys = place.keys()?.into_iter();
    let left: BTreeSet<_> = keys.filter(|key| !key.contains(".peon/claims/")).collect();
    let mut expected = BTreeSet::from([log, place.report("grows")]);
    expected.extend(place.keeps());
    ensure!(left == expected, "left: {left:?}");
    Ok(())
}

fn is_composed_in_several_requests(place: &dyn Place, archive: &Archive) -> Result<()> {
    let mut whole = b"header\n".to_vec();
    for (sequence, letter) in ["0", "1", "2", "3"].into_iter().zip(*b"abcd") {
        let part = vec![letter; 5 * MIB + 1];
        archive.run(&["part", "large", UID, "1", sequence, "c"], &part)?;
        whole.extend_from_slice(&part);
    }
    let said = archive.text(&["compose", "large", UID], b"header\n")?;
    ensure!(said == format!("written {}", whole.len()), "{said}");
    ensure!(
        place.read(&place.log("large"))? == Some(whole.clone()),
        "other bytes"
    );
    ensure!(
        archive.run(&["read-log", "large", UID], b"")? == whole,
        "read as other bytes"
    );
    Ok(())
}

fn has_odd_id(place: &dyn Place, id: &str) -> Result<()> {
    let (log, report) = (format!("log of {id}"), format!("report of {id}"));
    ensure!(
        place.read(&place.log(id))?.as_deref() == Some(log.as_bytes()),
        "no log"
    );
    ensure!(
        place.read(&place.report(id))?.as_deref() == Some(report.as_bytes()),
        "no report"
    );
    Ok(())
}

/// Whoever comes first has the id; a task of another namespace never gets it, a later one of the same one does.
fn has_one_owner(place: &dyn Place, archive: &Archive) -> Result<()> {
    let write = |uid: &str, more: &[&str]| -> Result<()> {
        let text = format!("of {uid}\n");
        let said = archive.text(&[&["compose", "shared", uid], more].concat(), text.as_bytes())?;
        ensure!(said == format!("written {}", text.len()), "{said}");
        archive.run(&[&["report", "shared", uid], more].concat(), text.as_bytes())?;
        Ok(())
    };
    let has = |owner: &str, all: &[&str]| -> Result<()> {
        let log = place.read(&place.log("shared"))?.unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        ensure!(
            log == format!("of {owner}\n"),
            "an overlord reads {log:?}, and not that of {owner}"
        );
        for uid in all {
            for step in ["read-log", "read-report"] {
                let read = archive.text(&[step, "shared", uid], b"")?;
                ensure!(read == format!("of {uid}"), "{step} of {uid}: {read:?}");
            }
        }
        Ok(())
    };
    write("uid-a", &[])?;
    write("uid-b", &["--namespace=other"])?;
    has("uid-a", &["uid-a", "uid-b"])?;
    write("uid-c", &[])?;
    has("uid-a", &["uid-a", "uid-b", "uid-c"])?;
    write("uid-d", &["--later"])?;
    has("uid-d", &["uid-a", "uid-b", "uid-c", "uid-d"])?;
    write("uid-e", &["--later", "--namespace=other"])?;
    has("uid-d", &["uid-a", "uid-b", "uid-c", "uid-d", "uid-e"])
}

/// Processes that claim one id at the same time: one has it, and all have their log.
fn are_beside_each_other(place: &dyn Place) -> Result<()> {
    let uids: Vec<String> = (0..6).map(|n| format!("raced-{n}")).collect();
    let properties = place.properties();
    let write = |uid: &str| -> Result<()> {
        let archive = Archive::of(&properties)?;
        archive.run(&["compose", "raced", uid], uid.as_bytes()).map(drop)
    };
    thread::scope(|scope| {
        let all: Vec<_> = uids.iter().map(|uid| scope.spawn(|| write(uid))).collect();
        all.into_iter()
            .try_for_each(|one| one.join().map_err(|_| anyhow!("a process was not started"))?)
    })?;
    let log = place.read(&place.log("raced"))?.unwrap_or_default();
    ensure!(
        uids.iter().any(|uid| uid.as_bytes() == log),
        "{log:?} is the log of none of the tasks"
    );
    let archive = Archive::of(&place.properties())?;
    for uid in &uids {
        let read = archive.text(&["read-log", "raced", uid], b"")?;
        ensure!(read == *uid, "{uid} reads {read:?}");
    }
    let aside: Vec<_> = place
        .keys()?
        .into_iter()
        .filter(|key| key.contains(".peon/tasks/raced-"))
        .collect();
    ensure!(aside.len() == uids.len() - 1, "put aside: {aside:?}");
    Ok(())
}

fn reads_ranges(archive: &Archive) -> Result<()> {
    archive.run(&["compose", "ranges", "ranges"], b"0123456789")?;
    for (args, expected) in [
        ([].as_slice(), "0123456789"),
        (&["--from=7"], "789"),
        (&["--from=10"], ""),
        (&["--from=11"], ""),
        (&["--last=2"], "89"),
        (&["--last=20"], "0123456789"),
    ] {
        let all = [&["read-log", "ranges", "ranges"], args].concat();
        let read = archive.text(&all, b"")?;
        ensure!(read == expected, "{args:?}: {read}");
    }
    Ok(())
}

fn keeps_history(place: &dyn Place, archive: &Archive) -> Result<()> {
    for (time, uid) in [
        ("2026-11-20T23:59:59.999Z", "b"),
        ("2026-11-21T10:00:00Z", "c"),
        ("2026-11-01T00:00:00Z", "a"),
    ] {
        let json = format!("{{\"uid\":\"{uid}\"}}");
        archive.run(&["history", "ns", time, uid], json.as_bytes())?;
    }
    let expected = "2026-11-21T10:00:00Z c {\"uid\":\"c\"}\n2026-11-20T23:59:59.999Z b {\"uid\":\"b\"}";
    let listed = archive.text(&["list-history", "ns", "2026-11-02T00:00:00Z", "10"], b"")?;
    ensure!(listed == expected, "{listed}");
    let newest = archive.text(&["list-history", "ns", "2020-01-01T00:00:00Z", "1"], b"")?;
    ensure!(
        newest.starts_with("2026-11-21T10:00:00Z c") && newest.lines().count() == 1,
        "{newest}"
    );
    let key = "/.peon/history/ns/2026-11-20/20261120T235959.999Z-b.json";
    ensure!(
        place
            .keys()?
            .iter()
            .any(|found| format!("/{found}").ends_with(key)),
        "not at {key}"
    );
    Ok(())
}

/// An overlord removes what is old in its directory, folders with all that is in them.
fn stays_young(directory: &Directory) -> Result<()> {
    let archive = Archive::of(&directory.properties())?;
    let folder = fs::File::open(directory.path().join(".peon"))?;
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for step in [
        ["part", "young", UID, "1", "0", "c"].as_slice(),
        &["history", "ns", "2026-11-21T10:00:00Z", "y"],
    ] {
        folder.set_modified(long_ago)?;
        archive.run(step, b"x")?;
        ensure!(folder.metadata()?.modified()? > long_ago, "old after {}", step[0]);
    }
    Ok(())
}

/// A port that nobody listens on: the call ends, with the object's name and without a secret.
fn down() -> Result<()> {
    let archive = Archive::of(
        "druid.indexer.logs.type=s3\ndruid.indexer.logs.s3Bucket=b\ndruid.indexer.logs.s3Prefix=p\n\
         druid.s3.accessKey=a\ndruid.s3.secretKey=hush\ndruid.s3.endpoint.url=http://127.0.0.1:1\n",
    )?;
    let said = archive.run(&["report", "t", UID], b"{}");
    let said = said.err().context("it was written")?.to_string();
    ensure!(
        said.contains("s3://b/p/.peon/claims/") && said.contains(": the store failed"),
        "{said}"
    );
    ensure!(!said.contains("hush"), "a secret is shown: {said}");
    Ok(())
}
