//! Reasons of the conditions of an IndexerPool.

use super::reasons;

reasons! {
    /// Reasons of `Ready` of an IndexerPool; `Reconciling` and `Stalled` repeat them.
    PoolReadiness {
        /// As many Indexers can take a task as are kept idle.
        Warm = "Warm": READY = True, Change;
        /// All Indexers that could take a task are cordoned: their heaps are full.
        Cordoned = "Cordoned": READY = False, Change;
        /// Indexers start; the message says what they wait for.
        Starting = "Starting": READY = False, Change;
        /// The overlord sees an Indexer as a worker: none is given a task.
        NotHidden = "NotHidden": READY = False, Change;
        /// The memory limit cannot hold the JVM and its task; the message has the arithmetic.
        InvalidSizing = "InvalidSizing": READY = False, Change;
        /// There is no PeonTemplate with the name in `templateRef`.
        NoTemplate = "NoTemplate": READY = False, Change;
        /// The PeonTemplate cannot be used for Indexers; the message names the setting.
        InvalidTemplate = "InvalidTemplate": READY = False, Change;
        /// There is no VirtualMiddleManager with the name in `middleManagerRef`.
        NoMiddleManager = "NoMiddleManager": READY = False, Change;
        /// A Secret with which Indexers are called is missing, or cannot be used; the message names it.
        InvalidSecret = "InvalidSecret": READY = False, Change;
        /// Indexers refuse the requests of the operator: its user is not known to them, or lacks rights.
        NotAuthorized = "NotAuthorized": READY = False, Change;
        /// Indexers end before they are ready; the message has the last lines of one.
        IndexerFails = "IndexerFails": READY = False, Change;
        /// The API server refuses the pods; the message is its own.
        NotCreated = "NotCreated": READY = False, Change;
        /// The object cannot be read by this version of the operator; the message says why.
        Unreadable = "Unreadable": READY = False, Change;
    }
}

reasons! {
    /// Reasons of `QueriesServed`, which a pool with `serving: Queries` has.
    QueriesServed {
        /// The pods of the VirtualMiddleManager announce the Indexers in ZooKeeper.
        ZooKeeperDiscovery = "ZooKeeperDiscovery": QUERIES_SERVED = True, Change;
        /// The VirtualMiddleManager has `discovery.kubernetes`: the Indexers are not announced, and `serving: Queries` has no
        /// effect.
        KubernetesDiscovery = "KubernetesDiscovery": QUERIES_SERVED = False, Change;
    }
}
