//! The custom resources of the API group [`GROUP`].
//!
//! The types here are the only source of the CRD manifests: `make generate` writes `crds/`, the chart's
//! copy and the reference in `docs/api` from them, and a test fails when they drift.

pub mod status_patch;

pub mod attempts;
pub mod conditions;
pub mod crds;
pub mod indexer_pool;
pub mod names;
pub mod peon_endpoint;
pub mod peon_task;
pub mod peon_template;
pub mod placement;
mod pool_scaling;
mod pool_sizing;
mod pool_slots;
pub mod pool_watchdog;
pub mod reason;
pub mod reference;
pub mod registration;
pub mod retry;
pub mod rules;
mod run_status;
pub mod schema;
pub mod submission;
pub mod task_from;
pub mod task_object;
pub mod virtual_middle_manager;

pub use attempts::{AttemptRecord, Stop};
pub use indexer_pool::{IndexerPool, IndexerPoolSpec, IndexerPoolStatus, PoolServing};
pub use peon_endpoint::PeonEndpoint;
pub use peon_task::{MiddleManagerRef, PeonTask, PeonTaskSpec, PeonTaskStatus, Phase, TemplateRef};
pub use peon_template::{
    AfterSuccess, Collect, IngestionMemory, JavaOpts, Logs, Match, Overrides, PeonTemplate, PeonTemplateSpec,
    PeonTemplateStatus, Permission, PropertiesSource, SecurityDefault, Sizing, SourceRef,
};
pub use placement::{Placement, PoolRef};
pub use pool_scaling::{PoolAutoscaling, PoolScaling};
pub use pool_slots::{PoolOutOfMemory, PoolQuarantine, PoolSlots, TaskKind};
pub use registration::Registration;
pub use retry::{AfterNodeLoss, MemoryLadder, Rerun, RetryPolicy};
pub use run_status::{RunKind, RunStatus, TaskSlot};
pub use submission::{Submission, SubmissionState};
pub use task_from::{Chunk, TaskFrom};
pub use task_object::TaskObject;
pub use virtual_middle_manager::{
    VirtualMiddleManager, VirtualMiddleManagerSpec, VirtualMiddleManagerStatus,
};

/// API group of all custom resources of this project.
pub const GROUP: &str = "peon.dev";

/// Name of the operator as the reporting controller of Events and in `app.kubernetes.io/managed-by`.
pub const OPERATOR: &str = "peon-operator";

/// Label on every object that the operator creates, with the value [`OPERATOR`]; the operator's watches select on it.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Label with the name of the PeonTask (shortened as in [`names::label_value`] when longer than 63 characters).
pub const LABEL_TASK: &str = "peon.dev/task";

/// Label with the uid of the PeonTask.
pub const LABEL_TASK_UID: &str = "peon.dev/task-uid";

/// Label with the name of the VirtualMiddleManager (shortened as in [`names::label_value`]) on its PeonTasks and their pods.
pub const LABEL_MIDDLE_MANAGER: &str = "peon.dev/middle-manager";

/// Label with the name of the IndexerPool on its pods.
pub const LABEL_POOL: &str = "peon.dev/pool";

/// Label on the pods of an IndexerPool: a hash of what the pods are made of. Pods with another one are replaced.
pub const LABEL_REVISION: &str = "peon.dev/revision";

/// Label, with the value `true`, on a ConfigMap or Secret that no PeonTask owns. Every PeonTask of the namespace may
/// use such an object as its payload (`taskFrom`), and so may print it.
pub const LABEL_PAYLOAD: &str = "peon.dev/payload";

/// Label with the ordinal of the identity to which the overlord assigned a PeonTask.
pub const LABEL_IDENTITY: &str = "peon.dev/identity";

/// Annotation on a finished PeonTask of a VirtualMiddleManager: whether the overlord is done with the task.
pub const ANNOTATION_OVERLORD: &str = "peon.dev/overlord";

/// Value of [`ANNOTATION_OVERLORD`]: the overlord knows the verdict and is done with the task.
pub const FORGOTTEN: &str = "forgotten";

/// Annotation with the exact Druid task id, which may contain characters that labels and names do not allow.
pub const ANNOTATION_TASK_ID: &str = "peon.dev/task-id";

/// Annotation with the Druid task type.
pub const ANNOTATION_TASK_TYPE: &str = "peon.dev/task-type";

/// Annotation with the datasource of an assigned task.
pub const ANNOTATION_DATA_SOURCE: &str = "peon.dev/data-source";

/// Annotation with the availability group of an assigned task: the overlord never puts two tasks of a group on one
/// worker.
pub const ANNOTATION_AVAILABILITY_GROUP: &str = "peon.dev/availability-group";

/// Annotation with the number of worker slots that an assigned task takes.
pub const ANNOTATION_REQUIRED_CAPACITY: &str = "peon.dev/required-capacity";

/// Annotation with the name of the peon's container; `kubectl logs` reads it too.
pub const ANNOTATION_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Annotation on the pod of an attempt whose peon is not called at the pod's address and port 8100: where it is, as
/// [`PeonEndpoint`] writes it.
pub const ANNOTATION_ENDPOINT: &str = "peon.dev/endpoint";

/// Annotation on the pods of an IndexerPool whose Indexer has a port for TLS: `https`, or `http,https` with one without
/// TLS, too.
pub const ANNOTATION_INDEXER_PORTS: &str = "peon.dev/indexer-ports";

/// Annotation on the pods of an IndexerPool whose Indexers run several tasks: the numbers of heavy and of light slots, as
/// `4,4`.
pub const ANNOTATION_SLOTS: &str = "peon.dev/slots";

/// Annotation on the pods of an IndexerPool whose Indexers run several tasks: the bytes of the heap, and those of rows that a
/// task holds at most, as `536870912,22369621`.
pub const ANNOTATION_HEAP: &str = "peon.dev/heap";

/// Annotation on the pods of an IndexerPool that serves queries: the value of its `serving`.
pub const ANNOTATION_SERVING: &str = "peon.dev/serving";

/// Name of the container that runs the peon, unless the template names another.
pub const PEON_CONTAINER: &str = "peon";

/// Labels of a PeonTask that the operator and the workers read.
pub const LABELS_READ: [&str; 2] = [LABEL_MIDDLE_MANAGER, LABEL_IDENTITY];

/// Annotations of a PeonTask that the operator and the workers read.
pub const ANNOTATIONS_READ: [&str; 6] = [
    ANNOTATION_OVERLORD,
    ANNOTATION_TASK_ID,
    ANNOTATION_TASK_TYPE,
    ANNOTATION_DATA_SOURCE,
    ANNOTATION_AVAILABILITY_GROUP,
    ANNOTATION_REQUIRED_CAPACITY,
];
