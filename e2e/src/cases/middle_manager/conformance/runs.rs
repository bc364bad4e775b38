//! Two hundred tasks, several pollers, changes that were missed, one task twice, and a process that is replaced.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Client, HELD, IDENTITIES, PASSWORD, Registry, USER, Workers, cluster, heard, text};
use crate::{
    cases::full,
    testbed::{
        audit,
        fixture::{Fixture, LIMIT},
        images::Classes,
        kubectl::is_ready,
    },
};

/// Most that a worker of Druid remembers is 1000 changes; more are missed.
const MISSED: usize = 1100;
/// How often every worker is disabled and enabled for that.
const TOGGLES: usize = 550;
/// Tasks that run while the process is replaced.
const HELD_TASKS: usize = 20;
/// Threads that assign, in turn: what an overlord has unless it is told otherwise, and what the documentation advises.
const THREADS: [u32; 2] = [1, 5];

/// With the classes of the Druid that all other cases use.
pub(super) fn all(fixture: &Fixture) -> Result<()> {
    let each = if full() { 500 } else { 100 };
    run(fixture, Classes::Tested, each, true)
}

/// With those of the newest Druid that can be fetched; unless everything is asked for, with few tasks, and without all that
/// a worker says more than a thousand times.
pub(super) fn newest(fixture: &Fixture) -> Result<()> {
    let each = if full() { 100 } else { 10 };
    run(fixture, Classes::Newest, each, full())
}

fn run(fixture: &Fixture, classes: Classes, each: usize, misses: bool) -> Result<()> {
    let workers = Workers::start(fixture)?;
    let registry = Registry::ZooKeeper(fixture.druid.zookeeper());
    let mut client = Client::start(classes, cluster(fixture)?, registry, (USER, PASSWORD), None)?;
    exercise(&workers, &mut client, each, misses)
}

/// The whole exercise, with `each` tasks in each of two rounds.
pub(super) fn exercise(workers: &Workers, client: &mut Client, each: usize, misses: bool) -> Result<()> {
    let mut druid = Druid::meet(workers, client)?;
    druid.run_many(each)?;
    if misses {
        druid.miss_changes()?;
    }
    druid.assign_twice()?;
    if workers.is_on_pods && full() {
        druid.kill_while_assigning(each)?;
    }
    druid.replace_process()
}

/// Several overlords and pollers that know the same workers.
struct Druid<'c> {
    workers: &'c Workers<'c>,
    client: &'c mut Client,
    /// As they are announced.
    addresses: Vec<String>,
}

/// The ids that begin with a prefix.
pub(super) fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

impl<'c> Druid<'c> {
    /// An overlord that leads, one that only listens, and three pollers, of which one is held back as soon as it knows the
    /// workers.
    fn meet(workers: &'c Workers<'c>, client: &'c mut Client) -> Result<Self> {
        let addresses = client.lead("second", &workers.base, 1, IDENTITIES)?;
        for name in ["third", "fourth", "late"] {
            client.order(&json!({"do": "poll", "name": name, "workers": addresses}))?;
            client.until(&format!("{name} to know the workers"), |said| {
                let known = heard::by(name, said);
                (known.len() == IDENTITIES && known.values().all(|w| w.full == 1)).then_some(())
            })?;
        }
        client.order(&json!({"do": "pause", "name": "late"}))?;
        let manager = [
            "virtualmiddlemanager",
            super::NAME,
            "--namespace",
            &workers.namespace,
        ];
        workers.fixture.kubectl.wait_for(&manager, LIMIT, is_ready)?;
        Ok(Self {
            workers,
            client,
            addresses,
        })
    }

    fn run(&mut self, name: &str, prefix: &str, count: usize, tags: &Value) -> Result<f64> {
        let seconds = self.client.run(name, prefix, count, tags)?;
        Ok(f64::from(u32::try_from(count)?) / seconds)
    }

    /// Each of many tasks succeeds, and has one PeonTask with one pod; everybody hears everything of it. In between
    /// another overlord leads. With ZooKeeper, beside each round one of as many tasks on workers that only say yes.
    fn run_many(&mut self, each: usize) -> Result<()> {
        let (run, none) = (self.workers.fixture.run.clone(), json!({}));
        let before = audit::end(cluster(self.workers.fixture)?)?;
        let stub = if self.workers.is_on_pods {
            None
        } else {
            Some(self.stub(each)?)
        };
        let (base, mut prefixes) = (self.workers.base.clone(), Vec::new());
        for threads in THREADS {
            let beside = match &stub {
                Some(stub) => Some(self.run_stub(stub, threads, each)?),
                None => None,
            };
            let (name, prefix) = (format!("leader-{threads}"), format!("many-{threads}_{run}_"));
            self.client.lead(&name, &base, threads, IDENTITIES)?;
            let ours = self.run(&name, &prefix, each, &none)?;
            println!("assignments per second with {threads} threads: {ours:.0}");
            if let Some(stub) = beside {
                let ratio = ours / stub;
                println!("and {stub:.0} to workers that only say yes: a ratio of {ratio:.2}");
            }
            heard::until_succeeded(self.client, &[&name, "second"], &ids(&prefix, each))?;
            self.settle(&prefix, each)?;
            // The last one leads on.
            if threads != THREADS[1] {
                self.client.order(&json!({"do": "retire", "name": name}))?;
            }
            prefixes.push(prefix);
        }
        for prefix in &prefixes {
            self.check_lives(prefix, each)?;
            self.check_objects(prefix, each)?;
        }
        self.check_pods(before, 2 * each)
    }

    /// Starts stub workers that accept every task, and runs some tasks on them; returns their base path in `ZooKeeper`.
    fn stub(&mut self, each: usize) -> Result<String> {
        let stub = format!("{}-stub", self.workers.base);
        let order = json!({"do": "stub", "base": stub, "count": IDENTITIES});
        self.client.order(&order)?;
        self.client.lead("warm-up", &stub, 1, IDENTITIES)?;
        let prefix = format!("warm-up_{}_", self.workers.fixture.run);
        self.run("warm-up", &prefix, each, &json!({}))?;
        self.client.order(&json!({"do": "retire", "name": "warm-up"}))?;
        Ok(stub)
    }

    /// Assignments per second to workers that only say yes.
    fn run_stub(&mut self, stub: &str, threads: u32, each: usize) -> Result<f64> {
        let name = format!("stub-{threads}");
        self.client.lead(&name, stub, threads, IDENTITIES)?;
        let prefix = format!("{name}_{}_", self.workers.fixture.run);
        let rate = self.run(&name, &prefix, each, &json!({}))?;
        self.client.order(&json!({"do": "retire", "name": name}))?;
        Ok(rate)
    }

    /// Tells the storage of tasks that these have ended, as the queue of tasks would.
    fn settle(&mut self, prefix: &str, count: usize) -> Result<()> {
        let order = json!({"do": "settle", "prefix": prefix, "count": count});
        self.client.order(&order).map(drop)
    }

    /// Two pollers heard the same, and of each task all there is.
    fn check_lives(&mut self, prefix: &str, each: usize) -> Result<()> {
        let lives = |poller: &str, said: &[Value]| -> BTreeMap<String, Vec<String>> {
            let workers = heard::by(poller, said).into_values();
            let mut lives: BTreeMap<_, _> = workers.flat_map(|w| w.lives).collect();
            lives.retain(|id, _| id.starts_with(prefix));
            lives
        };
        let whole = |lives: &BTreeMap<String, Vec<String>>| {
            lives.len() == each && lives.values().all(|l| l.last().is_some_and(|s| s == "SUCCESS"))
        };
        let [third, fourth] = self.client.until("both pollers to hear of all", |said| {
            let both = ["third", "fourth"].map(|poller| lives(poller, said));
            both.iter().all(whole).then_some(both)
        })?;
        ensure!(
            third == fourth,
            "two pollers heard different things: {third:?} {fourth:?}"
        );
        for (id, life) in third {
            let life: Vec<&str> = life.iter().map(String::as_str).collect();
            // A pod may have ended before anybody saw it ready.
            ensure!(
                matches!(
                    life[..],
                    ["RUNNING", "SUCCESS"] | ["RUNNING", "RUNNING at 8100", "SUCCESS"]
                ),
                "{id}: {life:?}"
            );
        }
        Ok(())
    }

    /// Each task has one PeonTask, which succeeded in its first attempt.
    fn check_objects(&self, prefix: &str, each: usize) -> Result<()> {
        let mut of_task = BTreeMap::<String, Vec<Value>>::new();
        for mut task in self.workers.peon_tasks(prefix)? {
            let id = text(&task["status"]["taskId"]).to_owned();
            of_task.entry(id).or_default().push(task["status"].take());
        }
        ensure!(of_task.len() == each, "{} tasks of {each}", of_task.len());
        for (id, statuses) in of_task {
            let [status] = &statuses[..] else {
                anyhow::bail!("{id} has {} PeonTasks", statuses.len());
            };
            let first = status["attempt"].as_u64().unwrap_or(1) == 1;
            ensure!(status["phase"] == "Succeeded" && first, "{id}: {status}");
        }
        Ok(())
    }

    /// So many pods were created since the audit log ended there, and no more. Other cases have the namespace before and after
    /// this one.
    fn check_pods(&self, before: u64, expected: usize) -> Result<()> {
        let own = cluster(self.workers.fixture)?;
        let created = audit::of_operator_from(own, before)?
            .iter()
            .filter(|r| r.namespace == self.workers.namespace && r.resource == "pods" && r.code == 201)
            .count();
        ensure!(created == expected, "{created} pods for {expected} tasks");
        Ok(())
    }

    /// A poller that stood still while more happened than a worker remembers is told so, asks for everything, and then
    /// knows what all others know.
    fn miss_changes(&mut self) -> Result<()> {
        let missed = |said: &[Value]| -> usize {
            let (all, late) = (heard::by("third", said), heard::by("late", said));
            let missed = all.iter().map(|(address, w)| w.changes - late[address].changes);
            missed.min().unwrap_or_default()
        };
        let order = json!({"do": "toggle", "workers": self.addresses, "times": TOGGLES});
        self.client.order(&order)?;
        self.client.until("more changes than are remembered", |said| {
            (missed(said) >= MISSED).then_some(())
        })?;
        let before = self.client.said(<[Value]>::len);
        self.client.order(&json!({"do": "resume", "name": "late"}))?;
        self.client.until("the late poller to know everything", |said| {
            let (all, late) = (heard::by("third", said), heard::by("late", said));
            let same = all.iter().all(|(address, w)| late[address].worker == w.worker);
            (same && late.values().all(|w| w.full == 2)).then_some(())
        })?;
        // The first thing that it heard was everything: it was not told a part of what it missed.
        let first = self.client.said(|said| {
            let later = said.iter().skip(before).filter(|s| s["poller"] == "late");
            let first: BTreeMap<_, _> = later
                .rev()
                .map(|s| (text(&s["worker"]), text(&s["sync"])))
                .collect();
            first.into_values().map(str::to_owned).collect::<Vec<_>>()
        });
        ensure!(first == ["full"; IDENTITIES], "{first:?}");
        Ok(())
    }

    /// A task that is assigned several times at once, and again later, is one task.
    fn assign_twice(&mut self) -> Result<()> {
        let (worker, prefix) = (
            self.addresses[0].clone(),
            format!("twice_{}_", self.workers.fixture.run),
        );
        let order =
            |times| json!({"do": "assign", "workers": vec![&worker; times], "prefix": prefix, "count": 1});
        let codes = self.client.order(&order(3))?;
        ensure!(codes == json!([200, 200, 200]), "{codes}");
        heard::until_succeeded(self.client, &["leader-5", "second"], &ids(&prefix, 1))?;
        let codes = self.client.order(&order(1))?;
        ensure!(codes == json!([200]), "{codes}");
        self.check_objects(&prefix, 1)?;
        self.settle(&prefix, 1)
    }

    /// The process is killed while an overlord assigns: what was not acknowledged is assigned again, and is one task.
    fn kill_while_assigning(&mut self, count: usize) -> Result<()> {
        let prefix = format!("assigned_{}_", self.workers.fixture.run);
        let all = ids(&prefix, count);
        let assigned = |said: &[Value]| {
            let heard = heard::by("third", said).into_values();
            let lives = heard.flat_map(|worker| worker.lives);
            lives.filter(|(id, _)| id.starts_with(&prefix)).count()
        };
        let order = Client::run_order("leader-5", &prefix, count, &json!({}));
        let from = self.client.give(&order)?;
        self.client
            .until("the first assignment", |said| (assigned(said) > 0).then_some(()))?;
        self.workers.kill()?;
        let before = self.client.said(assigned);
        println!("{before} of {count} tasks were assigned when another process was there");
        self.client.answer(&order, from)?;
        heard::until_succeeded(self.client, &["leader-5", "second"], &all)?;
        self.check_objects(&prefix, count)?;
        self.settle(&prefix, count)
    }

    /// The process is killed under tasks that run, and on pods another pod takes over, too: whoever polls is told to begin
    /// anew, and no task is lost.
    fn replace_process(&mut self) -> Result<()> {
        let prefix = format!("held_{}_", self.workers.fixture.run);
        self.run("leader-5", &prefix, HELD_TASKS, &json!({HELD.0: HELD.1}))?;
        let all = ids(&prefix, HELD_TASKS);
        for overlord in ["leader-5", "second"] {
            self.client.until("the locations of all", |said| {
                let located = heard::located(overlord, said);
                all.iter().all(|id| located.contains(id)).then_some(())
            })?;
        }
        self.until_replaced(&prefix, Workers::kill)?;
        if self.workers.is_on_pods {
            self.until_replaced(&prefix, Workers::replace_pod)?;
        }
        self.workers.end()?;
        heard::until_succeeded(self.client, &["leader-5", "second"], &all)?;
        self.check_objects(&prefix, HELD_TASKS)
    }

    /// Has another process take over, and waits until it is known by everybody, with all tasks that run.
    fn until_replaced(&mut self, prefix: &str, replace: fn(&Workers<'c>) -> Result<()>) -> Result<()> {
        let full = |said: &[Value]| {
            heard::by("third", said)
                .into_values()
                .map(|w| w.full)
                .collect::<Vec<_>>()
        };
        let (before, found) = (self.client.said(full), self.client.said(heard::found));
        replace(self.workers)?;
        self.client.until("the pollers to begin anew", |said| {
            let anew = full(said).iter().zip(&before).all(|(now, before)| now > before);
            anew.then_some(())
        })?;
        let known = self.client.said(|said| {
            let workers = heard::by("third", said).into_values();
            let known = workers.flat_map(|w| w.worker.tasks);
            known
                .filter(|(id, stage)| id.starts_with(prefix) && stage == "RUNNING at 8100")
                .count()
        });
        ensure!(
            known == HELD_TASKS,
            "{known} of {HELD_TASKS} are known to the new process"
        );
        if !self.workers.is_on_pods {
            return Ok(());
        }
        // Each of two overlords looks for itself.
        self.client
            .until("the overlords to lose and find the workers", |said| {
                let now = heard::found(said);
                let again = found.iter().all(|(worker, before)| {
                    now.get(worker)
                        .is_some_and(|now| now.came > before.came && now.went > before.went && now.is_there())
                });
                (again && found.len() == 2 * IDENTITIES).then_some(())
            })
    }
}
