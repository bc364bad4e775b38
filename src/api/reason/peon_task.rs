//! Reasons of the conditions of a PeonTask, except for the causes of its failure.

use super::reasons;

reasons! {
    /// Reasons of `Accepted`. A final one is a reason of `Failed`, too.
    Acceptance {
        /// The task is valid and its settings fit.
        Valid = "Valid": ACCEPTED = True, Change;
        /// The payload or its settings cannot run; the message says what to change.
        InvalidTask = "InvalidTask": ACCEPTED = False, End;
        /// The named PeonTemplate, or the one named `default`, does not exist.
        NoTemplate = "NoTemplate": ACCEPTED = False, Change;
        /// The PeonTemplate cannot be used; the message says what to change in it.
        InvalidTemplate = "InvalidTemplate": ACCEPTED = False, Change;
        /// The task asks for more than its template allows; the message says of what.
        LimitExceeded = "LimitExceeded": ACCEPTED = False, Change;
        /// A chunk of the payload is missing; the message names it.
        PayloadIncomplete = "PayloadIncomplete": ACCEPTED = False, ChangeOrEnd;
        /// The overlord has not assigned the task to its VirtualMiddleManager yet.
        NotAssigned = "NotAssigned": ACCEPTED = False, Change;
        /// The VirtualMiddleManager submits no tasks.
        SubmissionsDisabled = "SubmissionsDisabled": ACCEPTED = False, Change;
        /// The VirtualMiddleManager submits no tasks of this type.
        TypeNotListed = "TypeNotListed": ACCEPTED = False, Change;
        /// The overlord does not let the user of `submissions.authRef` submit the task; the message is its own.
        NotAuthorized = "NotAuthorized": ACCEPTED = False, Change;
        /// The overlord refuses the task; the message is its own.
        SubmissionRefused = "SubmissionRefused": ACCEPTED = False, End;
        /// The overlord to which the task is to be submitted does not answer.
        OverlordUnreachable = "OverlordUnreachable": ACCEPTED = False, Change;
        /// The overlord has another task of this id.
        IdConflict = "IdConflict": ACCEPTED = False, End;
        /// The task needs an overlord and none is said to have it registered.
        NeedsOverlord = "NeedsOverlord": ACCEPTED = False, End;
    }
}

reasons! {
    /// Reasons of `Started` while it is False: what the task waits for.
    Waiting {
        /// The pod exists; the scheduler and the kubelet are at work.
        Starting = "Starting": STARTED = False, Change;
        /// No node can take the pod.
        Unschedulable = "Unschedulable": STARTED = False, Change;
        /// The pod has scheduling gates, which a queue or another controller removes.
        SchedulingGated = "SchedulingGated": STARTED = False, Change;
        /// A ResourceQuota refuses the ConfigMap or the pod.
        QuotaExceeded = "QuotaExceeded": STARTED = False, Change;
        /// The image cannot be pulled.
        ImagePull = "ImagePull": STARTED = False, Change;
        /// A ConfigMap, Secret or volume that the pod names is missing or unusable.
        ContainerConfig = "ContainerConfig": STARTED = False, Change;
        /// The container runtime cannot create or start the container.
        ContainerStart = "ContainerStart": STARTED = False, Change;
        /// An object with the name that this task needs belongs to something else.
        NameConflict = "NameConflict": STARTED = False, Change;
        /// The API server refuses to create the ConfigMap or the pod for now.
        NotCreated = "NotCreated": STARTED = False, Change;
        /// An attempt ended and the next one is about to be made.
        Retrying = "Retrying": STARTED = False, Change;
        /// As many tasks of the template as it allows have a pod.
        MaxRunning = "MaxRunning": STARTED = False, Change;
        /// The task is for a pool, and no Indexer of a pool that may run it is idle.
        PoolFull = "PoolFull": STARTED = False, Change;
        /// The task is for a pool, and no pool may run it.
        NoPool = "NoPool": STARTED = False, Change;
    }
}

impl Waiting {
    /// Whether progress is expected without help: the task is `Reconciling` for kstatus, and not `Stalled`.
    #[must_use]
    pub const fn is_reconciling(self) -> bool {
        match self {
            Self::Starting => true,
            Self::Unschedulable
            | Self::SchedulingGated
            | Self::QuotaExceeded
            | Self::ImagePull
            | Self::ContainerConfig
            | Self::ContainerStart
            | Self::NameConflict
            | Self::NotCreated
            | Self::Retrying
            | Self::MaxRunning
            | Self::PoolFull
            | Self::NoPool => false,
        }
    }
}

reasons! {
    /// Reasons of `Started` once it is True.
    RunStart {
        /// The peon's container started.
        Started = "Started": STARTED = True, Change;
    }
}

reasons! {
    /// Reasons of `Ready` alone.
    Readiness {
        /// No operator has looked at the task.
        WaitingForOperator = "WaitingForOperator": READY = Unknown, Change;
        /// The peon runs.
        Running = "Running": READY = True, Change;
        /// Another worker of the overlord runs the task, which has no pod here.
        RunsElsewhere = "RunsElsewhere": READY = True, Change;
        /// The operator asked the peon to stop.
        Stopping = "Stopping": READY = False, Change;
        /// It cannot be known whether the peon is dead: its node does not answer.
        AwaitingNodeProof = "AwaitingNodeProof": READY = False, Change;
    }
}

reasons! {
    /// Reasons of `Suspended`.
    Suspension {
        /// There is no peon, and none will be started.
        Suspended = "Suspended": SUSPENDED = True, Change;
        /// The peon runs on, since the task may not be run again.
        NotRestartable = "NotRestartable": SUSPENDED = False, Change;
        /// The task goes on.
        Resumed = "Resumed": SUSPENDED = False, Change;
    }
}

reasons! {
    /// Reasons of `Complete`.
    Completion {
        /// Druid reported SUCCESS for this task.
        Succeeded = "Succeeded": COMPLETE = True, End;
    }
}

reasons! {
    /// Reasons of `LogsArchived`.
    LogsArchived {
        /// All of it is there.
        Archived = "Archived": LOGS_ARCHIVED = True, End;
        /// A part of it was rotated away before it was read; the log says where.
        Gap = "Gap": LOGS_ARCHIVED = True, End;
        /// The peon wrote nothing.
        NoLog = "NoLog": LOGS_ARCHIVED = True, End;
        /// It is there, and not under the task's id, which another PeonTask has.
        IdConflict = "IdConflict": LOGS_ARCHIVED = True, End;
        /// It is being read and written.
        Collecting = "Collecting": LOGS_ARCHIVED = False, Change;
        /// As many logs are read as the operator reads at a time.
        FollowerCap = "FollowerCap": LOGS_ARCHIVED = False, Change;
        /// The store refuses, or does not answer; it is tried again.
        StoreFailed = "StoreFailed": LOGS_ARCHIVED = False, Change;
        /// The store refused for a day; it is not tried again.
        GaveUp = "GaveUp": LOGS_ARCHIVED = False, End;
    }
}

reasons! {
    /// Reasons of `Recorded`.
    Recording {
        /// The task is in the history.
        Recorded = "Recorded": RECORDED = True, End;
        /// The store refuses, or does not answer; it is tried again.
        StoreFailed = "StoreFailed": RECORDED = False, Change;
        /// The store refused for a day; it is not tried again.
        GaveUp = "GaveUp": RECORDED = False, End;
    }
}
