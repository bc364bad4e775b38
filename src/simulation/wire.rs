//! Outcomes of the operator's requests: served, refused, lost before or after they took effect, late.

use serde_json::Value;

use super::cluster::uid_of;
use super::model_api::{Answer, Kind, Request, refusal};
use super::process::{Outcome, TASK};
use super::world::{Truth, World};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Served,
    /// It takes effect, and the answer is an error or never comes.
    LostAfter,
    FailsAfter,
    LostBefore,
    Fails(u16),
}

const FATES: [(u32, Fate); 9] = [
    (40, Fate::Served),
    (2, Fate::LostAfter),
    (2, Fate::FailsAfter),
    (2, Fate::LostBefore),
    (1, Fate::Fails(500)),
    (1, Fate::Fails(429)),
    (1, Fate::Fails(409)),
    (1, Fate::Fails(403)),
    (1, Fate::Fails(503)),
];

impl World {
    /// Serves the request that a process waits for, or delivers its answer.
    pub async fn move_request(&mut self, process: usize, faults: bool) {
        let now = self.now();
        let Some((request, attempt, served)) =
            self.processes[process].parked(|p| (p.request.clone(), p.attempt, p.served.is_some()))
        else {
            return;
        };
        if !served {
            let fate = if faults {
                self.dice.weighted(&FATES)
            } else {
                Fate::Served
            };
            if fate != Fate::Served {
                self.seen.count("faults", &format!("{fate:?}"));
            }
            self.note(format!("{process}: {} {} {fate:?}", request.method, request.path));
            let error =
                |code: u16| refusal(code, if code == 409 { "Conflict" } else { "Failure" }, "a fault");
            let answer = match fate {
                Fate::Served => Outcome::Answered(self.serve(&request, attempt, Some(process))),
                Fate::LostAfter => {
                    self.serve(&request, attempt, Some(process));
                    Outcome::Lost
                }
                Fate::FailsAfter => {
                    self.serve(&request, attempt, Some(process));
                    Outcome::Answered(error(500))
                }
                Fate::LostBefore => Outcome::Lost,
                Fate::Fails(code) => Outcome::Answered(error(code)),
            };
            self.processes[process].parked(|p| p.served = Some(answer));
            // The answer may be held back while other things happen.
            if faults && self.dice.one_in(8) {
                self.seen.count("faults", "the answer is held back");
                return;
            }
        }
        if self.processes[process].stopped {
            return;
        }
        self.processes[process].answer();
        let attempt = self.attempt();
        self.processes[process].go_on(now, attempt).await;
    }

    /// Serves a request, and looks at what it did.
    pub fn serve(&mut self, request: &Request, attempt: u32, process: Option<usize>) -> Answer {
        self.check_request(request);
        let before = request.path.ends_with("/status").then(|| self.task()).flatten();
        let pod = request
            .path
            .contains("/pods/")
            .then(|| self.pod_named(request))
            .flatten();
        let answer = self.api.serve(request);
        self.seen.count(
            "requests",
            &format!("{} {} {}", request.method, plural(request), answer.0),
        );
        if request.method == "POST" && request.path.ends_with("/pods") && answer.0 == 201 {
            self.pod_was_created(&answer.1, attempt);
        }
        if request.method == "DELETE" && answer.0 == 200 {
            self.note(format!("   deleted {:?}", pod.as_ref().map(uid_of)));
            self.mark_orphans();
        }
        self.check_answer(request, &answer, before, process);
        answer
    }

    fn pod_named(&self, request: &Request) -> Option<Value> {
        let name = request.path.rsplit('/').next()?;
        self.api.get(Kind::Pod, name).cloned()
    }

    fn pod_was_created(&mut self, pod: &Value, issued: u32) {
        let name = super::cluster::name_of(pod);
        let number = name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let current = self.attempt();
        let is_final = self.is_final();
        let late = number != current || is_final;
        if late {
            self.seen.count(
                "tolerated",
                "a pod of a request that came after its attempt was over",
            );
        }
        self.hold("a pod is claimed first", issued >= number, || {
            format!("{name} while the attempt was {issued}")
        });
        let truth = Truth {
            attempt: number,
            late,
            ..Truth::default()
        };
        self.truths.insert(uid_of(pod), truth);
    }

    /// A request of a process that died arrives after all, or never does.
    pub fn land(&mut self) {
        let Some((request, attempt)) = self.flights.pop() else {
            return;
        };
        if self.dice.one_in(2) {
            self.seen.count("faults", "a dead process' request arrives");
            self.note(format!("late: {} {}", request.method, request.path));
            self.serve(&request, attempt, None);
        }
    }

    /// Changes the task's spec, as its user does.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        self.api
            .update(Kind::Task, TASK, |task| change(&mut task["spec"]));
    }
}

fn plural(request: &Request) -> &str {
    let parts: Vec<_> = request.path.trim_matches('/').split('/').collect();
    let at = parts
        .iter()
        .position(|p| *p == "namespaces")
        .map_or(2, |at| at + 2);
    parts.get(at).copied().unwrap_or("?")
}
