//! The rules by which a pool refuses a task (pure).

use super::super::settings::Source;
use super::super::template_choice::fits;
use super::Case;
use crate::api::reason::Cause;
use crate::api::{Collect, PeonTask, PoolQuarantine};
use crate::logs::format::shared_log;
use crate::quantity;
use crate::task::aggregates::idle_indexers::PoolOffer;

/// Most bytes of a task's JSON: an Indexer has it in memory several times.
pub(super) const LARGEST: usize = 1 << 20;
/// Tasks of the multi-stage query engine plan for three quarters of the heap, other tasks for a third.
const MULTI_STAGE: [&str; 2] = ["query_controller", "query_worker"];

/// Why a pool may not run a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the rule.
    pub rule: &'static str,
    /// What it says of this task.
    pub why: String,
}

type Rule = (&'static str, fn(&Case<'_>, &PoolOffer) -> Option<String>);

/// The rules, in the order in which they are named.
const RULES: [Rule; 15] = [
    ("multi-stage queries", multi_stage),
    ("queries on streams", unserved),
    ("match", unmatched),
    ("JVM options", own_options),
    ("template", other_template),
    ("log collection", sidecar),
    ("size", too_large),
    ("own memory", |case, pool| own_resource(case, pool, "memory")),
    ("own cpu", |case, pool| own_resource(case, pool, "cpu")),
    ("attempt", another_attempt),
    ("id", ambiguous_id),
    ("quarantine", quarantined),
    ("expected duration", too_long),
    ("memory", too_little_memory),
    ("cpu", too_little_cpu),
];

/// Why this pool may not run the task, one reason for each rule that it breaks; none if it may.
pub fn refusals<'a>(case: &'a Case<'a>, pool: &'a PoolOffer) -> impl Iterator<Item = Refusal> + 'a {
    RULES
        .iter()
        .filter_map(|(rule, check)| check(case, pool).map(|why| Refusal { rule, why }))
}

/// Whether the task shares no Indexer of the pool, and nothing that it could wait for would change that.
pub(super) fn isolates(case: &Case<'_>, pool: &PoolOffer) -> bool {
    let rules = [another_attempt, quarantined, too_long];
    rules.iter().any(|rule| rule(case, pool).is_some())
}

fn multi_stage(case: &Case<'_>, _: &PoolOffer) -> Option<String> {
    let type_ = &case.accepted.payload.type_;
    MULTI_STAGE
        .contains(&type_.as_str())
        .then(|| format!("tasks of type {type_} run in their own pods"))
}

fn unserved(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let payload = &case.accepted.payload;
    let listed = pool.matches.as_ref().map(|matches| &matches.types[..]);
    let is_listed = listed.is_some_and(|types| types.contains(&payload.type_));
    let is_unserved = payload.is_streaming() && !is_listed && !case.names(pool) && !pool.serves_queries;
    is_unserved.then(|| {
        format!(
            "tasks of type {} run in a pool only if it serves queries (its condition QueriesServed), or its match.types \
             names them: else what they have not published cannot be queried",
            payload.type_
        )
    })
}

fn unmatched(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let payload = &case.accepted.payload;
    let is_matched = pool.matches.as_ref().is_none_or(|matches| fits(matches, payload));
    (!case.names(pool) && !is_matched).then(|| "its match does not fit the task".to_owned())
}

fn own_options(case: &Case<'_>, _: &PoolOffer) -> Option<String> {
    let mut options = case.accepted.settings.java_opts.iter();
    let (option, source) = options.find(|(_, source)| matches!(source, Source::Context | Source::Task))?;
    let name = option.split(['=', ':']).next().unwrap_or_default();
    Some(format!(
        "the task sets {name} ({source}), and the JVM has started already"
    ))
}

fn other_template(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let template = case.accepted.template_name();
    (pool.template != template).then(|| {
        format!(
            "its Indexers are made from the PeonTemplate {}, the task's is {template}",
            pool.template
        )
    })
}

fn sidecar(case: &Case<'_>, _: &PoolOffer) -> Option<String> {
    let logs = case.accepted.template().spec.logs.as_ref();
    let collect = logs.and_then(|logs| logs.collect);
    (collect == Some(Collect::Sidecar))
        .then(|| "logs.collect of the template is Sidecar, and Indexers have none".to_owned())
}

fn too_large(case: &Case<'_>, _: &PoolOffer) -> Option<String> {
    let size = case.accepted.payload.size;
    (size > LARGEST)
        .then(|| format!("the task has {size} bytes of JSON, at most {LARGEST} are given to an Indexer"))
}

fn own_resource(case: &Case<'_>, pool: &PoolOffer, name: &str) -> Option<String> {
    let settings = &case.accepted.settings;
    let (value, source) = match name {
        "memory" => &settings.memory,
        _ => &settings.cpu,
    };
    let is_own = pool.is_shared && matches!(source, Source::Context | Source::Task);
    is_own.then(|| {
        format!("the task asks for {value} of {name} of its own ({source}), and its Indexers are shared")
    })
}

fn another_attempt(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    (pool.is_shared && case.task.attempt() > 1)
        .then(|| "another attempt runs alone, and its Indexers are shared".to_owned())
}

fn ambiguous_id(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    (pool.is_shared && !shared_log::is_distinct(&case.accepted.payload.id)).then(|| {
        "the task's id contains `]-`, `][` or a line break: in the log of a shared Indexer its lines could be taken for \
         another task's"
            .to_owned()
    })
}

fn quarantined(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let payload = &case.accepted.payload;
    let is_it = |found: &&PoolQuarantine| {
        found.kind.task_type == payload.type_ && found.kind.data_source == payload.data_source
    };
    let found = pool.quarantined.iter().filter(|_| pool.is_shared).find(is_it)?;
    Some(format!(
        "two of the last three Indexers that ran out of memory had tasks of its type and datasource: it runs alone, as all \
         of them do until {}",
        found.until.0
    ))
}

fn too_long(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let longest = pool.longest.filter(|_| !case.accepted.payload.is_streaming())?;
    let expected = case.expected.filter(|expected| expected.mean > longest)?;
    Some(format!(
        "{expected}, and its maxExpectedSeconds is {}",
        longest.as_secs()
    ))
}

fn too_little_memory(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let least = needed_memory(case.task, &case.accepted.settings.memory.0);
    let fits = least.is_some_and(|least| least <= pool.memory.0);
    (!pool.is_shared && !fits).then(|| {
        format!(
            "the task needs more memory than its Indexers have ({})",
            pool.memory.1
        )
    })
}

fn too_little_cpu(case: &Case<'_>, pool: &PoolOffer) -> Option<String> {
    let cpu = &case.accepted.settings.cpu.0;
    let exceeds = quantity::milli(cpu).is_ok_and(|cpu| cpu > u128::from(pool.cpu_milli.0));
    (!pool.is_shared && exceeds).then(|| {
        format!(
            "the task needs {cpu} of cpu, its Indexers have {}",
            pool.cpu_milli.1
        )
    })
}

/// Memory that an attempt needs at least, in bytes: more than one had that ran out of it.
fn needed_memory(task: &PeonTask, wanted: &str) -> Option<u64> {
    let wanted = quantity::parse(wanted).ok()?;
    let attempts = task.status.iter().flat_map(|status| &status.attempts);
    let too_little = attempts
        .filter(|attempt| Cause::parse(&attempt.cause).is_some_and(Cause::needs_memory))
        .filter_map(|attempt| quantity::parse(attempt.memory.as_deref()?).ok())
        .max();
    Some(wanted.max(too_little.map_or(0, |bytes| bytes.saturating_add(1))))
}
