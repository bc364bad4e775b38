//! Reasons of the conditions of a VirtualMiddleManager.

use super::{Reason, reasons};

reasons! {
    /// Reasons of `Ready` of a VirtualMiddleManager.
    ManagerReady {
        /// Every identity is announced, and an overlord asks it for news.
        Serving = "Serving": READY = True, Change;
        /// The pod that serves the identities does not run, or is not ready.
        NotRunning = "NotRunning": READY = False, Change;
        /// A pod with the last change is not ready; the one before it serves.
        Updating = "Updating": READY = False, Change;
        /// A Service has no address yet.
        NoAddress = "NoAddress": READY = False, Change;
        /// The API server refuses what is to be created; the message is its own.
        NotCreated = "NotCreated": READY = False, Change;
        /// The pod runs and has said nothing yet.
        Starting = "Starting": READY = False, Change;
        /// An object of a needed name belongs to somebody else; the message names it.
        NameConflict = "NameConflict": READY = False, Change;
        /// Neither `authRef` nor `allowAnonymous` is set: the workers are not started.
        NoAuthentication = "NoAuthentication": READY = False, Change;
        /// The object cannot be read by this version of the operator; the message says why.
        Unreadable = "Unreadable": READY = False, Change;
    }
}

reasons! {
    /// Reasons of `Authenticated`.
    Authentication {
        /// Requests need the credentials of `spec.authRef`.
        BasicAuth = "BasicAuth": AUTHENTICATED = True, Change;
        /// `spec.allowAnonymous`: any client that reaches the workers can run any task.
        AnonymousAllowed = "AnonymousAllowed": AUTHENTICATED = False, Change;
        /// Neither `authRef` nor `allowAnonymous` is set: the workers are not started.
        NoAuthentication = "NoAuthentication": AUTHENTICATED = False, Change;
    }
}

reasons! {
    /// Reasons of `Announced`.
    Announcement {
        /// Every identity stands in discovery, and an overlord asks it for news.
        Announced = "Announced": ANNOUNCED = True, Change;
        /// An identity does not stand in discovery; the message says why.
        NotAnnounced = "NotAnnounced": ANNOUNCED = False, Change;
        /// An identity is announced, and no overlord asks it for news.
        NotPolled = "NotPolled": ANNOUNCED = False, Change;
    }
}

reasons! {
    /// Reasons of `OverlordAnswers`.
    OverlordAnswers {
        /// The overlord says who leads, and answered what else it was asked.
        Answers = "Answers": OVERLORD_ANSWERS = True, Change;
        /// It answers, and none leads.
        NoLeader = "NoLeader": OVERLORD_ANSWERS = False, Change;
        /// It does not answer, or its answer failed.
        Unavailable = "Unavailable": OVERLORD_ANSWERS = False, Change;
        /// The user of `authRef` may not ask.
        NotAuthorized = "NotAuthorized": OVERLORD_ANSWERS = False, Change;
        /// What answers is no overlord.
        Unexpected = "Unexpected": OVERLORD_ANSWERS = False, Change;
    }
}

/// The reason of a VirtualMiddleManager's `Ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyReason {
    /// A reason of `Ready` itself.
    Own(ManagerReady),
    /// The reason of `Announced`, as written by the pod, which may be of a newer version.
    Announced(String),
}

impl Reason for ReadyReason {
    fn name(&self) -> &str {
        match self {
            Self::Own(reason) => reason.as_str(),
            Self::Announced(reason) => reason,
        }
    }
}
