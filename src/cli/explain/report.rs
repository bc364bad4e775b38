//! The explanation of a task, and its printed form (pure).

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::Templates;
use super::chain::{self, Known, Link, State};
use super::effective::{self, Row};
use super::findings::{self, KnownPools, choose, judge};
use super::gather::Gathered;
use super::log_end::LogEnd;
use super::pools::Pools;
use super::run_location::RunLocation;
use crate::api::crds::BORN;
use crate::api::{PeonTask, PeonTaskStatus, Phase, RunKind};
use crate::cli::advice::{self, Advice};
use crate::cli::output::{self, Style, plain};
use crate::cli::{duration, tasks};
use crate::druid::properties::RuntimeProperties;

/// An explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// Phase and reason of a task on a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether a task that is on no cluster would not be accepted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) refused: bool,
    chain: Vec<Link>,
    /// Where a task of a cluster runs, or ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunLocation>,
    /// What the pools of the namespace say about a task without a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pools: Option<Pools>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<Advice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// The end of the log of a task that runs, or whose peon ended without a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogEnd>,
    #[serde(skip)]
    now: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
    settings: Vec<Row>,
    /// What the template says and what has no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_effect: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    number: u32,
    /// Why it ended, or where it stands.
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
}

/// Explains a task of a cluster.
pub(super) fn live(
    gathered: Gathered,
    operator: &RuntimeProperties,
    operator_is_known: bool,
    now: Timestamp,
) -> Report {
    let Gathered {
        task,
        templates,
        chunks,
        warnings,
        log,
        pools,
        mut notes,
    } = gathered;
    let status = tasks::status(&task);
    let is_seen = task.task_from().is_none() || chunks.is_some();
    let payload = match findings::payload(&task, chunks.unwrap_or_else(|| Err(String::new()))) {
        Err(refused) if !is_seen => findings::unread(&task).ok_or(refused),
        read => read,
    };
    let mut choice = choose(
        &task,
        payload.as_deref().ok(),
        templates.as_deref().unwrap_or_default(),
    );
    if let Some(name) = status.template.clone().filter(|name| *name != choice.name) {
        let named = templates.iter().flatten().find(|t| t.name_any() == name);
        choice.template = named.cloned();
        choice.name = name;
        choice.why = "chosen by the operator";
    }
    let is_chosen = templates.is_some() || task.spec.template_ref.is_some() || status.template.is_some();
    if !is_chosen {
        (choice.name, choice.why) = ("?".into(), "the PeonTemplates could not be read");
    }
    let (settings, pools) = match &templates {
        Some(_) => {
            let judged = judge(&task, &choice, operator, payload, &pools, now);
            (judged.settings, judged.pools)
        }
        None => (None, None),
    };
    if settings.is_none() && templates.is_some() {
        notes.push("settings that cannot be resolved are not shown".into());
    }
    if !operator_is_known {
        notes.push(
            "the operator's runtime.properties are not known: give them with --runtime-properties".into(),
        );
    }
    // The memory of an Indexer is that of its pool.
    let has_own_pod = status
        .run
        .as_ref()
        .is_some_and(|run| run.kind == RunKind::Pod && run.pod.is_some());
    if let Some((settings, _)) = settings.as_ref().filter(|_| has_own_pod)
        && status
            .memory
            .as_ref()
            .is_some_and(|memory| *memory != settings.memory.0)
    {
        notes.push(format!(
            "the current attempt has {} of memory: retries raised it, or the template or the operator's \
             properties have changed since its start",
            status.memory.clone().unwrap_or_default()
        ));
    }
    let (reason, _) = tasks::standing(&status);
    let reason = if reason.is_empty() {
        BORN.to_owned()
    } else {
        reason
    };
    let phase = tasks::phase(&task);
    let known = Known {
        template: Some(choice.name.as_str()).filter(|_| is_chosen),
        bounded: choice
            .template
            .as_ref()
            .is_some_and(|t| t.spec.max_running.is_some()),
    };
    Report {
        name: task.name_any(),
        namespace: task.namespace(),
        phase: Some(phase),
        refused: false,
        chain: chain::live(&task, known),
        run: RunLocation::of(&task),
        pools,
        advice: advice::about(&reason, phase == Phase::Failed),
        reason: Some(reason),
        warnings,
        log,
        now,
        attempts: attempts(
            &task,
            settings.as_ref().map(|(settings, _)| settings.memory.0.as_str()),
            now,
        ),
        settings: effective::rows(&task, &choice, operator, settings.as_ref()),
        without_effect: findings::without_effect(&choice),
        notes,
    }
}

/// Explains a task that is on no cluster.
pub(super) fn offline(
    task: &PeonTask,
    templates: &Templates,
    pools: &KnownPools,
    operator: &RuntimeProperties,
    now: Timestamp,
) -> Report {
    let mut notes = Vec::new();
    let payload = findings::payload(task, Err("a chunk".into()));
    let choice = choose(task, payload.as_deref().ok(), templates);
    if task.task_from().is_some() {
        notes.push("the payload is in ConfigMaps or Secrets of a cluster, which -f does not read".into());
    }
    let judged = judge(task, &choice, operator, payload, pools, now);
    let refused = judged.refused.as_ref().map(|r| (r.reason, r.message.as_str()));
    let known = Known {
        template: Some(&choice.name),
        bounded: choice
            .template
            .as_ref()
            .is_some_and(|t| t.spec.max_running.is_some()),
    };
    Report {
        name: task.name_any(),
        namespace: task.namespace(),
        phase: None,
        reason: refused.map(|(reason, _)| reason.to_string()),
        refused: refused.is_some(),
        chain: chain::offline(task, known, refused, &judged.next),
        run: None,
        pools: judged.pools.clone(),
        advice: refused.and_then(|(reason, _)| {
            advice::about(reason.as_str(), false).or_else(|| advice::about(reason.as_str(), true))
        }),
        warnings: Vec::new(),
        log: None,
        now,
        attempts: Vec::new(),
        settings: effective::rows(task, &choice, operator, judged.settings.as_ref()),
        without_effect: findings::without_effect(&choice),
        notes,
    }
}

/// `next` is the memory of an attempt that has not begun.
fn attempts(task: &PeonTask, next: Option<&str>, now: Timestamp) -> Vec<Attempt> {
    let status = tasks::status(task);
    let ended = status.attempts.iter().map(|record| Attempt {
        number: record.number,
        cause: record.cause.clone(),
        memory: record.memory.clone(),
        exit_code: record.exit_code,
        duration: match (&record.start_time, &record.completion_time) {
            (Some(start), Some(end)) => Some(duration::between(start.0, end.0)),
            _ => None,
        },
    });
    let current = tasks::attempt(&status).map(|number| Attempt {
        number,
        cause: tasks::standing(&status).0,
        // What the status has is that of the attempt before, until this one is created.
        memory: match next {
            Some(next) if is_claimed_only(&status) => Some(next.to_owned()),
            _ => status.memory.clone(),
        },
        exit_code: status.exit_code,
        duration: tasks::duration(&status, now),
    });
    ended.chain(current).collect()
}

/// Whether the current attempt follows another one and has nothing yet.
fn is_claimed_only(status: &PeonTaskStatus) -> bool {
    status.run.is_none() && !status.attempts.is_empty() && status.phase == Some(Phase::Pending)
}

impl Report {
    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = style.heading(&plain(&self.title())) + "\n";
        let mut section = |title: &str, body: &str| {
            if !body.is_empty() {
                let body = plain(body);
                text.extend(["\n", &style.heading(title), "\n"]);
                text.extend(body.lines().flat_map(|line| ["  ", line, "\n"]));
            }
        };
        section("State", &chain::line(&self.chain));
        if let Some(location) = &self.run {
            section(location.title(), &location.text());
        }
        if let Some(pools) = &self.pools {
            section("Pools", &pools.text());
        }
        if let Some(advice) = self.advice {
            section("What it means", advice.meaning);
            section("What to do", advice.action);
        }
        section("Warnings of the pod", &self.warnings.join("\n"));
        if let Some(log) = &self.log {
            section("The end of its log", &log.text(self.now));
        }
        section("Attempts", &self.attempts_table());
        let rows: Vec<Vec<String>> = self
            .settings
            .iter()
            .map(|row| [&row.setting, &row.value, &row.source].map(Clone::clone).to_vec())
            .collect();
        section("Settings", &output::table(&["SETTING", "VALUE", "FROM"], &rows));
        section(
            "Without effect, of the PeonTemplate",
            &self.without_effect.join("\n"),
        );
        section("Not known", &self.notes.join("\n"));
        self.coloured(&text, style)
    }

    /// Marks the end of the chain, which is what one looks for.
    fn coloured(&self, text: &str, style: Style) -> String {
        match self.chain.last().map(|link| link.state) {
            Some(State::Blocked) => text.replacen('✗', &style.bad("✗"), 1),
            Some(State::Done | State::Underway) | None => text.replace('✓', &style.good("✓")),
        }
    }

    fn title(&self) -> String {
        let namespace = self
            .namespace
            .as_ref()
            .map_or_else(String::new, |n| format!("{n}/"));
        let state = match (self.phase, &self.reason) {
            (Some(phase), Some(reason)) if phase.as_str() != reason => {
                format!("{} ({reason})", phase.as_str())
            }
            (Some(phase), _) => phase.as_str().to_owned(),
            (None, Some(reason)) => format!("would not be accepted ({reason})"),
            (None, None) => "would be accepted".to_owned(),
        };
        format!("PeonTask {namespace}{}: {state}", self.name)
    }

    fn attempts_table(&self) -> String {
        if self.attempts.is_empty() {
            return String::new();
        }
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let rows: Vec<Vec<String>> = self
            .attempts
            .iter()
            .map(|a| {
                vec![
                    a.number.to_string(),
                    a.cause.clone(),
                    text(a.memory.clone()),
                    text(a.exit_code.map(|c| c.to_string())),
                    text(a.duration.clone()),
                ]
            })
            .collect();
        output::table(&["ATTEMPT", "STATE", "MEMORY", "EXIT", "DURATION"], &rows)
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
