//! The pod that every Indexer of a pool is made from (pure).
//!
//! The pod brings its configuration along: the argument file and the logging configuration are environment variables,
//! from which its script writes files. So a pod needs no ConfigMap, and pods of two revisions never share one.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::heap::gc_log;
use super::heap::watchdog::Heap;
use super::idle_cpu;
use super::jvm;
use crate::api::indexer_pool::IndexerPoolSpec;
use crate::api::peon_endpoint::ADDRESS;
use crate::api::reason::PoolReadiness;
use crate::api::{
    ANNOTATION_CONTAINER, ANNOTATION_HEAP, ANNOTATION_INDEXER_PORTS, ANNOTATION_SERVING, ANNOTATION_SLOTS,
    Collect, IndexerPool, LABEL_MANAGED_BY, LABEL_MIDDLE_MANAGER, LABEL_POOL, LABEL_REVISION, MemoryLadder,
    OPERATOR, PeonTaskSpec, PeonTemplate, PoolServing, PoolSlots, names,
};
use crate::digest::hex;
use crate::druid::indexer_ports::IndexerPorts;
use crate::druid::properties::RuntimeProperties;
use crate::logs::format::shared_log;
use crate::task::accept::jvm::LOG4J as LOG4J_PROPERTIES;
use crate::task::accept::settings::{Levels, Settings};
use crate::task::accept::{peon_ports, template_fields, template_shape};
use crate::task::run::pod::build::BASE_TASK_DIR;
use crate::task::run::pod::java_container::{LOG4J, fill_container, fill_spec};
use crate::task::run::pod::template::{default_to, merge_list, object, take_peon};

/// Most bytes of an argument file: the kernel takes an environment variable of at most 128 KiB.
const LONGEST_ARGUMENTS: usize = 100 << 10;
/// Seconds of a pod's grace period besides those for its task.
const GRACE: u32 = 40;

/// Seconds after which an Indexer that does not start is ended.
const LONGEST_START: u32 = 1800;
/// Seconds before SIGTERM besides those that a task may take to stop.
const BEFORE_SIGTERM: u32 = 10;

/// Druid's authenticators: it is secured where a template names some.
const AUTHENTICATORS: &str = "druid.auth.authenticatorChain";
const ARGUMENTS: &str = "INDEXER_JVM_ARGS";
const LOGGING: &str = "INDEXER_LOG4J2";
/// Writes the files. Nothing in the script comes from a user.
const PREPARE: &str = "set -eu\nmkdir -p /peon/base /peon/tmp\n\
    printf '%s' \"$INDEXER_JVM_ARGS\" >/peon/jvm.args\n\
    printf '%s' \"$INDEXER_LOG4J2\" >/peon/log4j2.xml\n\
    unset INDEXER_JVM_ARGS INDEXER_LOG4J2\n";
const EXEC: &str = "exec java \"-Ddruid.host=$PEON_POD_IP\" @/peon/jvm.args\n";

/// Why no Indexer of a pool can be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The reason of `Ready`.
    pub reason: PoolReadiness,
    /// What to change.
    pub message: String,
}

/// What the Indexers of a pool are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// A hash of it, for a label.
    pub hash: String,
    /// The cpu request that an Indexer is given with its task, where it is not the one that it begins with.
    pub busy_cpu: Option<String>,
    /// The ports of its Indexers.
    pub ports: IndexerPorts,
    pod: Value,
}

impl Revision {
    /// The revision of a pool with this template. `secured` says whether the VirtualMiddleManager has credentials: then
    /// an Indexer refuses requests without any, as those of the kubelet are.
    ///
    /// # Errors
    /// What is wrong with the pool's sizes or with its template.
    pub fn of(
        pool: &IndexerPool,
        template: &PeonTemplate,
        operator: &RuntimeProperties,
        resizes: bool,
        secured: bool,
    ) -> Result<Self, Unusable> {
        let unusable = |message: String| Unusable {
            reason: PoolReadiness::InvalidTemplate,
            message: format!(
                "the PeonTemplate {} cannot be used: {message}",
                template.name_any()
            ),
        };
        let sizing = jvm::size(&pool.spec).map_err(|message| Unusable {
            reason: PoolReadiness::InvalidSizing,
            message,
        })?;
        template_shape::check(template.spec.template.as_ref()).map_err(unusable)?;
        template_fields::check(template.spec.template.as_ref()).map_err(unusable)?;
        let collect = template.spec.logs.as_ref().and_then(|logs| logs.collect);
        if collect == Some(Collect::Sidecar) {
            let message = "logs.collect is Sidecar, and the logs of a pool are read by the operator: use a \
                           template with Follower";
            return Err(unusable(message.to_owned()));
        }
        let mut settings = settings(&pool.spec, template, operator).map_err(unusable)?;
        if settings.host != ADDRESS {
            let message = "host of the PeonTemplate is for peons in pods of their own, and an Indexer is known by its \
                           address: use a template without host";
            return Err(unusable(message.to_owned()));
        }
        let slots = pool.spec.shared_slots();
        let layout = LOG4J_PROPERTIES
            .iter()
            .find_map(|name| Some((name, settings.property(name)?)));
        if let Some((name, given)) = layout.filter(|_| slots.is_some()) {
            return Err(unusable(format!(
                "-D{name}={given} replaces the layout by which the lines of the tasks of a shared Indexer are \
                 told apart: remove it, or use another template"
            )));
        }
        let ports = jvm::ports(&settings).map_err(unusable)?;
        let arguments = jvm::argument_file(&settings, &sizing, ports, pool.spec.kill_grace_seconds);
        let mut arguments = arguments.map_err(unusable)?;
        if slots.is_some() {
            arguments = format!("{}\n{arguments}", gc_log::OPTION);
        }
        if arguments.len() > LONGEST_ARGUMENTS {
            return Err(unusable(format!(
                "properties and JVM options have {} bytes, at most {LONGEST_ARGUMENTS} are possible",
                arguments.len()
            )));
        }
        let idle = pool.spec.idle_cpu.as_ref();
        // A shared Indexer is not idle for long.
        let resizes = resizes && slots.is_none();
        let cpu = idle_cpu::requests(&settings.resources, idle).filter(|_| resizes);
        if let Some(cpu) = &cpu {
            let requests = settings.resources.requests.get_or_insert_default();
            requests.insert("cpu".to_owned(), Quantity(cpu.idle.clone()));
        }
        let secured = secured || settings.property(AUTHENTICATORS).is_some();
        let mut pod = pod(pool, template, &settings, &arguments, &health(ports, secured));
        if let Some(text) = ports.text() {
            pod["metadata"]["annotations"][ANNOTATION_INDEXER_PORTS] = text.into();
        }
        if let Some(slots) = slots {
            pod["metadata"]["annotations"][ANNOTATION_SLOTS] = slot_text(slots).into();
            let heap = Heap {
                bytes: sizing.heap,
                task_bytes: sizing.task_bytes,
            };
            pod["metadata"]["annotations"][ANNOTATION_HEAP] = heap.text().into();
        }
        if pool.spec.serving == PoolServing::Queries {
            pod["metadata"]["annotations"][ANNOTATION_SERVING] = pool.spec.serving.as_str().into();
        }
        let mut hash = hex(&Sha256::digest(pod.to_string().as_bytes()));
        hash.truncate(10);
        pod["metadata"]["labels"][LABEL_REVISION] = hash.clone().into();
        Ok(Self {
            hash,
            pod,
            ports,
            busy_cpu: cpu.map(|cpu| cpu.busy),
        })
    }

    /// The pod, without a name: the API server adds five characters to its `generateName`.
    #[must_use]
    pub fn pod(&self) -> Value {
        self.pod.clone()
    }
}

/// Waits until the Indexer has no task, and two seconds more, so that the operator reads the result. After SIGTERM the JVM
/// does not answer any more, and the result of its task would be lost. The Indexer keeps a file for each task that it has not completed
/// (`org.apache.druid.indexing.worker.WorkerTaskManager`); where that is not so, nothing is waited for.
fn await_task(kill_grace_seconds: u32) -> String {
    let most = kill_grace_seconds.saturating_add(BEFORE_SIGTERM);
    format!(
        "n=0\nwhile [ $n -lt {most} ] && [ -n \"$(ls {BASE_TASK_DIR}/assignedTasks 2>/dev/null)\" ]\n\
         do sleep 1; n=$((n + 1)); done\n[ $n -eq 0 ] || sleep 2\n"
    )
}

/// Image, options and properties of the template; cpu and memory of the pool.
fn settings(
    pool: &IndexerPoolSpec,
    template: &PeonTemplate,
    operator: &RuntimeProperties,
) -> Result<Settings, String> {
    let mut of_pool = template.spec.clone();
    of_pool.resources = Some(pool.resources.clone());
    let levels = Levels {
        task: &PeonTaskSpec::default(),
        payload: None,
        template: &of_pool,
        operator,
        memory_step: 0,
        ladder: &MemoryLadder::default(),
    };
    Settings::resolve(&levels)
        .map_err(|invalid| format!("{} (to be changed in {})", invalid.message, invalid.source))
}

/// An Indexer is ready when it sees its own announcement. On a secured Druid only a user with `STATE` `READ` may ask
/// that, and of what everybody may ask, its health says the most. That it is announced is proven before it gets a task in
/// any case.
fn health(ports: IndexerPorts, secured: bool) -> Value {
    let path = if secured {
        "/status/health"
    } else {
        "/status/selfDiscovered/status"
    };
    let mut get = match ports.plain() {
        Some(port) => json!({"port": port}),
        // The kubelet does not look whose certificate it is.
        None => json!({"port": ports.called().0, "scheme": "HTTPS"}),
    };
    get["path"] = path.into();
    get
}

fn pod(
    pool: &IndexerPool,
    template: &PeonTemplate,
    settings: &Settings,
    arguments: &str,
    health: &Value,
) -> Value {
    let template = template.spec.template.clone().unwrap_or_default();
    let mut spec = template.get("spec").cloned().map(object).unwrap_or_default();
    let (mut indexer, others) = take_peon(&mut spec);
    let properties = settings.properties_file.script();
    let checks = peon_ports::script(settings);
    let is_shared = pool.spec.shared_slots().is_some();
    let token = if is_shared { shared_log::SCRIPT } else { "" };
    fill_container(
        &mut indexer,
        settings,
        &[PREPARE, properties, &checks, token, EXEC].concat(),
    );
    let logging = if is_shared {
        shared_log::layout(LOG4J)
    } else {
        LOG4J.to_owned()
    };
    let variables = [(ARGUMENTS, arguments), (LOGGING, &logging)];
    let variables = variables.map(|(name, value)| json!({"name": name, "value": verbatim(value)}));
    merge_list(&mut indexer, "env", "name", variables.into(), false);
    if is_shared {
        let uid =
            json!({"name": shared_log::VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}});
        merge_list(&mut indexer, "env", "name", vec![uid], false);
    }
    // The last lines of an Indexer that does not start.
    indexer.insert("terminationMessagePolicy".into(), "FallbackToLogsOnError".into());
    let probe = |seconds: u32, failures: u32| json!({"httpGet": health, "periodSeconds": seconds, "timeoutSeconds": 5, "failureThreshold": failures});
    // Each of them is a line in the Indexer's log.
    indexer.insert("startupProbe".into(), probe(1, LONGEST_START));
    indexer.insert("readinessProbe".into(), probe(10, 3));
    let lifecycle = indexer.entry("lifecycle").or_insert_with(|| json!({}));
    if let Value::Object(lifecycle) = lifecycle {
        let script = await_task(pool.spec.kill_grace_seconds);
        let wait = json!({"exec": {"command": ["/bin/sh", "-c", script]}});
        lifecycle.entry("preStop").or_insert(wait);
    }
    for probe in ["livenessProbe", "terminationMessagePath"] {
        indexer.remove(probe);
    }
    let container = indexer.get("name").cloned().unwrap_or_default();
    let containers = std::iter::once(Value::Object(indexer)).chain(others).collect();
    spec.insert("containers".into(), Value::Array(containers));
    spec.remove("activeDeadlineSeconds");
    let grace = pool
        .spec
        .kill_grace_seconds
        .saturating_mul(2)
        .saturating_add(GRACE);
    // A task needs this time to stop, whatever a template says of its peons.
    spec.insert("terminationGracePeriodSeconds".into(), grace.into());
    fill_spec(&mut spec, settings, grace);
    let metadata = json!({
        "namespace": pool.namespace(),
        "generateName": format!("{}-", pool.name_any()),
        "labels": {
            LABEL_MANAGED_BY: OPERATOR,
            LABEL_POOL: names::label_value(&pool.name_any()),
            LABEL_MIDDLE_MANAGER: names::label_value(&pool.spec.middle_manager_ref.name),
        },
        "annotations": {ANNOTATION_CONTAINER: container},
        "ownerReferences": [{
            "apiVersion": "peon.dev/v1alpha1",
            "kind": "IndexerPool",
            "name": pool.name_any(),
            "uid": pool.uid(),
            "controller": true,
        }],
    });
    let given = template.get("metadata").cloned().map(object).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": over(given, metadata),
        "spec": spec,
    })
}

/// Slots as an annotation has them: heavy and light ones.
fn slot_text(slots: PoolSlots) -> String {
    format!("{},{}", slots.heavy, slots.light)
}

/// Reads the annotation of a pod; `None` if its Indexer runs one task.
#[must_use]
pub fn slots_of(text: Option<&str>) -> Option<PoolSlots> {
    let (heavy, light) = text?.split_once(',')?;
    Some(PoolSlots {
        heavy: heavy.parse().ok()?,
        light: light.parse().ok()?,
    })
}

/// `ours` over `given`, deeply.
fn over(given: Map<String, Value>, ours: Value) -> Map<String, Value> {
    let mut all = object(ours);
    default_to(&mut all, Value::Object(given));
    all
}

/// The kubelet expands `$(NAME)` in a value, and `$$` to `$`.
fn verbatim(value: &str) -> String {
    value.replace('$', "$$")
}

#[cfg(test)]
#[path = "revision_tests.rs"]
mod tests;
