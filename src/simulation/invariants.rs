//! Invariants that hold in every history.

use serde_json::Value;

use super::cluster::uid_of;
use super::model_api::{Answer, Kind, Request, pod_ended};
use super::pool::is_indexer;
use super::process::TASK;
use super::world::World;
use crate::api::conditions::{COMPLETE, FAILED, is_true};
use crate::api::reason::Cause;
use crate::api::{PeonTask, Phase};
use crate::task::decide::deadlines;
use crate::task::run::worker::claim::WorkerClaim;

/// The state of the peon's container, once it ended.
fn peon_end(pod: &Value) -> Option<&Value> {
    let all = pod["status"]["containerStatuses"].as_array()?;
    let peon = all.iter().find(|c| c["name"] == "peon")?;
    Some(&peon["state"]["terminated"]).filter(|t| t.is_object())
}

/// Whether the API server has the SUCCESS of this pod's peon.
pub fn reports_success(pod: &Value) -> bool {
    peon_end(pod).is_some_and(|t| t["message"].as_str().is_some_and(|m| m.contains("SUCCESS")))
}

impl World {
    /// After every happening.
    pub fn check_lives(&mut self) {
        let live = self.jvms.iter().filter(|j| j.live && !j.late && j.has_task());
        let live = live.count();
        let detail = || "two JVMs live that belong to one task".to_owned();
        self.hold("at most one live JVM", live <= 1, detail);
        if self.jvms.iter().any(|j| j.live && j.late && j.has_task()) {
            self.seen.count(
                "tolerated",
                "a JVM of a request that came after its attempt was over",
            );
        }
    }

    /// After the task began in a JVM.
    pub fn check_started(&mut self, jvm: usize) {
        let is_final = self.is_final();
        let known = self.jvms[jvm].late || !is_final || self.final_knows(jvm);
        self.hold("no JVM after the verdict", known, || {
            "a JVM was started after the verdict".into()
        });
        let began = self.truths.values().filter(|t| t.began && !t.late).count();
        let may = self.setting.safe || self.setting.always;
        self.hold("an unsafe task begins once", may || began <= 1, || {
            format!("a task that may not be run twice was begun {began} times")
        });
    }

    /// A pod that was there when the verdict fell may be started before the operator has it deleted.
    fn final_knows(&self, jvm: usize) -> bool {
        let task = self.task();
        let status = task.as_ref().and_then(|t| t.status.as_ref());
        status.is_none_or(|s| s.pod_uid() == Some(self.jvms[jvm].pod_uid.as_str()))
    }

    /// Before a request takes effect.
    pub fn check_request(&mut self, request: &Request) {
        if request.method != "DELETE" {
            return;
        }
        let name = request.path.rsplit('/').next().unwrap_or_default();
        let uid = &request.body["preconditions"]["uid"];
        let version = &request.body["preconditions"]["resourceVersion"];
        let fits = |o: &Value| {
            o["metadata"]["uid"] == *uid
                && (version.is_null() || o["metadata"]["resourceVersion"] == *version)
        };
        self.hold("deletions name a uid", uid.is_string(), || format!("{request:?}"));
        if request.path.contains("/pods/") {
            let Some(pod) = self.api.get(Kind::Pod, name).filter(|p| fits(p)).cloned() else {
                return;
            };
            // A pool deletes what has ended, too.
            let by_pool = is_indexer(&pod) && !request.body["gracePeriodSeconds"].is_null();
            let claimed = is_indexer(&pod) && self.claims.has(&uid_of(&pod));
            let ours = pod["metadata"]["ownerReferences"][0]["uid"] == self.task_uid.as_str();
            self.hold("only own pods are deleted", ours || claimed || by_pool, || {
                format!("{pod}")
            });
            let ended = !by_pool && (pod_ended(&pod) || peon_end(&pod).is_some());
            self.hold("no pod that has ended is deleted", !ended, || format!("{pod}"));
        } else if let Some(task) = self.task().filter(|t| t.metadata.uid.as_deref() == uid.as_str()) {
            let status = task.status.clone().unwrap_or_default();
            let ttl = task.spec.ttl_seconds_after_finished.unwrap_or(3600);
            let kept = status
                .completion_time
                .map(|t| i64::from(self.now()) - t.0.as_second());
            let over = task.is_final() && ttl >= 0 && kept.is_some_and(|k| k >= i64::from(ttl));
            self.hold("tasks are deleted after their time", over, || format!("{kept:?}"));
        }
    }

    /// After a request was served.
    pub fn check_answer(
        &mut self,
        request: &Request,
        answer: &Answer,
        before: Option<PeonTask>,
        process: Option<usize>,
    ) {
        if answer.0 >= 300 || request.method == "GET" {
            if answer.0 == 422 {
                self.hold("a verdict never changes", false, || format!("{}", request.body));
            }
            return;
        }
        if !request.path.contains("events") {
            self.writes += 1;
        }
        if !request.path.ends_with("/status") {
            return;
        }
        let (Some(before), Some(after)) = (before, self.task()) else {
            return;
        };
        let raw = self.api.get(Kind::Task, TASK).map(|t| t["status"].to_string());
        let bytes = raw.unwrap_or_default().len();
        self.hold("a status below 4096 bytes", bytes < 4096, || {
            format!("{bytes} bytes")
        });
        self.check_status(&before, &after, process);
    }

    fn check_status(&mut self, before: &PeonTask, after: &PeonTask, process: Option<usize>) {
        let (old, new) = (
            before.status.clone().unwrap_or_default(),
            after.status.clone().unwrap_or_default(),
        );
        let reason = new.reason.clone().unwrap_or_default();
        if let Some(truth) = new.pod_uid().and_then(|uid| self.truths.get_mut(uid)) {
            truth.recorded = true;
        }
        self.note(format!(
            "   status: {:?} {reason} attempt {:?}",
            new.phase, new.attempt
        ));
        self.hold("every status has a reason", !reason.is_empty(), || {
            format!("{new:?}")
        });
        let frozen = !before.is_final() || old.conditions == new.conditions;
        self.hold("a verdict never changes", frozen, || {
            format!("{old:?} became {new:?}")
        });
        let (complete, failed) = (
            is_true(&new.conditions, COMPLETE),
            is_true(&new.conditions, FAILED),
        );
        let phase =
            complete == (new.phase == Some(Phase::Succeeded)) && failed == (new.phase == Some(Phase::Failed));
        self.hold(
            "the phase sums up the conditions",
            phase && !(complete && failed),
            || format!("{new:?}"),
        );
        self.check_place(before, after, process);
        let in_indexer = |task: &PeonTask| WorkerClaim::recorded(task).is_some();
        let (was, is) = (before.attempt(), after.attempt());
        self.hold(
            "attempts are numbered without gaps",
            is == was || is == was + 1,
            || format!("{was} to {is}"),
        );
        if is > was {
            let record = new.attempts.last().cloned().unwrap_or_default();
            self.seen.count("attempts ended by", &record.cause);
            if in_indexer(before) {
                self.seen.count("attempts in a pool ended by", &record.cause);
            }
            let lives = self.jvms.iter().any(|j| j.live && !j.late && j.has_task());
            self.hold("a new attempt needs a dead JVM", !lives, || {
                "the last attempt's JVM lives".into()
            });
            self.hold("an attempt is recorded", record.number == was, || {
                format!("{record:?}")
            });
            self.check_cause(before, was, &record.cause, process);
            for (cause, many) in &new.failures {
                let most = Cause::parse(cause).and_then(|c| self.budgets.get(&c)).copied();
                let within = cause == Cause::Suspended.as_str() || most.is_some_and(|most| *many <= most);
                self.hold("budgets are kept", within, || {
                    format!("{cause}: {many} of {most:?}")
                });
            }
        } else if complete && !before.is_final() {
            self.seen.count("verdicts", "Succeeded");
            if in_indexer(after) {
                self.seen.count("verdicts in a pool", "Succeeded");
            }
            let told = self.truths.values().any(|t| t.attempt == is && t.success);
            self.hold("no success is invented", told, || {
                "no JVM of the attempt wrote SUCCESS".into()
            });
        } else if failed && !before.is_final() {
            self.seen.count("verdicts", &reason);
            if in_indexer(after) {
                self.seen.count("verdicts in a pool", &reason);
            }
            self.check_cause(before, is, &reason, process);
        } else {
            self.seen.count("reasons", &reason);
        }
    }

    /// No verdict is guessed: the cause is one of those that truly were, and no success is passed over.
    fn check_cause(&mut self, task: &PeonTask, attempt: u32, cause: &str, process: Option<usize>) {
        let now = i64::from(self.now());
        let waited = deadlines::waiting_since(task).map_or(0, |t| now - t.as_second());
        let spec = &task.spec;
        let status = task.status.clone().unwrap_or_default();
        let parsed = Cause::parse(cause);
        let by_operator = parsed.is_some_and(|cause| match cause {
            Cause::Cancelled => spec.cancel,
            Cause::Suspended => self.suspended_once,
            // Begun while it was being suspended, and not to be run again.
            Cause::NoVerdict => status
                .stop
                .as_ref()
                .is_some_and(|s| s.cause == Cause::Suspended.as_str()),
            Cause::StartDeadline => spec
                .start_deadline_seconds
                .is_some_and(|s| waited >= i64::from(s)),
            Cause::Deadline => {
                let since = status
                    .stop
                    .as_ref()
                    .is_some_and(|s| s.cause == Cause::Deadline.as_str());
                since && spec.active_deadline_seconds.is_some()
            }
            Cause::TaskFailed
            | Cause::OomKilled
            | Cause::JavaOutOfMemory
            | Cause::Evicted
            | Cause::Drained
            | Cause::Preempted
            | Cause::NodeShutdown
            | Cause::NodeLost
            | Cause::PodRejected
            | Cause::PodRefused
            | Cause::PodDeleted
            | Cause::ImagePull
            | Cause::ContainerStart => false,
        });
        let mut of_attempt = self.truths.iter().filter(|(_, t)| t.attempt == attempt);
        let truly = by_operator || of_attempt.any(|(_, t)| parsed.is_some_and(|c| t.allowed.contains(&c)));
        let truths: Vec<_> = self
            .truths
            .values()
            .map(|t| (t.attempt, t.allowed.clone()))
            .collect();
        self.hold("no verdict is guessed", truly, || {
            format!("attempt {attempt}: {cause}, and truly {truths:?}")
        });
        let recorded = status.pod_uid();
        let shown = recorded
            .and_then(|uid| self.api.pod_by_uid(uid))
            .is_some_and(reports_success);
        let told = recorded.zip(process).is_some_and(|(uid, p)| {
            self.processes
                .get(p)
                .is_some_and(|p| p.told_success.iter().any(|t| t == uid) || p.heard_success(uid))
        });
        self.hold("no success is passed over", !shown && !told, || {
            format!("attempt {attempt} wrote SUCCESS (shown: {shown}, told: {told}) and was judged {cause}")
        });
    }
}
