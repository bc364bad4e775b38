//! The Helm chart, rendered by the real Helm: no cluster is needed.
//!
//! Helm is the program named in `HELM`, else `helm` on the path; `make tools` provides it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end this way")]

mod access;
mod custom_resources;
mod dependency;
mod installation;
mod network;
mod pods;
mod render;
mod rights;
mod validation;
mod values;
