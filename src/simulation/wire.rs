//! Outcomes of the operator's requests: served, refused, lost before or after they took effect, late.

use serde_json::Value;

use super::client::Outcome;
use super::cluster::uid_of;
use super::indexers::pod_of;
use super::model_api::{Answer, Kind, Request, refusal};
use super::process::TASK;
use super::world::{Truth, World};
use crate::api::reason::Cause;
use crate::task::fixtures::ID;
use serde_json::json;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Served,
    /// It takes effect, and the answer is an error or never comes.
    LostAfter,
    FailsAfter,
    LostBefore,
    Fails(u16),
    /// Nobody waits for it any more when it arrives.
    Late,
}

pub(super) const FATES: [(u32, Fate); 9] = [
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

/// Of requests to Indexers.
pub(super) const FATES_OF_POSTS: [(u32, Fate); 6] = [
    (24, Fate::Served),
    (3, Fate::LostAfter),
    (1, Fate::FailsAfter),
    (2, Fate::LostBefore),
    (1, Fate::Fails(403)),
    (3, Fate::Late),
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
            let to_indexer = request.path.starts_with("/indexers/");
            let fate = match (faults, to_indexer) {
                (false, _) => Fate::Served,
                (true, false) => self.dice.weighted(&FATES),
                (true, true) => self.dice.weighted(&FATES_OF_POSTS),
            };
            if to_indexer && matches!(fate, Fate::Fails(_)) {
                self.allow(pod_of(&request), Cause::NoVerdict);
            }
            if self.operator.is_hasty {
                self.post_hastily(&request);
            }
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
                Fate::Late => {
                    self.flights.push((request, attempt));
                    Outcome::Lost
                }
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
        self.check_issued(process);
    }

    /// The POST that follows this claim arrives before it.
    fn post_hastily(&mut self, claim: &Request) {
        let run = &claim.body["status"]["run"];
        if let (Some(uid), Some(host)) = (run["podUID"].as_str(), run["host"].as_str()) {
            let post = Request {
                method: "POST".into(),
                path: format!("/indexers/{uid}/assignTask"),
                query: host.to_owned(),
                body: json!({"id": ID}),
            };
            self.serve_indexer(&post);
        }
    }

    /// Serves a request, and looks at what it did.
    pub fn serve(&mut self, request: &Request, attempt: u32, process: Option<usize>) -> Answer {
        if request.path.starts_with("/indexers/") {
            let answer = self.serve_indexer(request);
            let what = format!("POST {} {}", plural(request), answer.0);
            self.seen.count("requests", &what);
            return answer;
        }
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
        let late = number != current || is_final || self.claimed().is_some();
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

pub(super) fn plural(request: &Request) -> &str {
    let parts: Vec<_> = request.path.trim_matches('/').split('/').collect();
    let at = parts
        .iter()
        .position(|p| *p == "namespaces")
        .map_or(2, |at| at + 2);
    parts.get(at).copied().unwrap_or("?")
}
