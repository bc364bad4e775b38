//! Reads the Secrets with which Indexers are called.
//!
//! Secrets are not watched: a watch would need the right to list all of them, and would keep all of them in memory. One
//! that pools need is read again when it was read a minute ago.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::Mutex;

use super::decide::connection::Content;
use crate::api::names;
use crate::apiserver::request::request;
use crate::clock::Clock;

/// A Secret is read again after this time: a change takes effect no later.
const AGAIN: Duration = Duration::from_secs(60);
/// The same for one that was not there, or could not be read.
const ABSENT: Duration = Duration::from_secs(10);

/// The Secrets of all pools; those that were read in the last minute are in memory.
pub(super) struct Secrets {
    client: Client,
    clock: Clock,
    /// By namespace and name.
    read: Mutex<BTreeMap<(String, String), Reading>>,
}

#[derive(Clone)]
struct Reading {
    content: Content,
    until: Instant,
}

impl Secrets {
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            read: Mutex::default(),
        }
    }

    /// What is known of a Secret, and how long that counts.
    ///
    /// # Access control
    /// secrets: get.
    pub(super) async fn read(&self, namespace: &str, name: &str) -> (Content, Duration) {
        let key = (namespace.to_owned(), name.to_owned());
        let now = self.clock.instant();
        let known = self.read.lock().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.until > now) {
            return (known.content, known.until.saturating_duration_since(now));
        }
        let content = self.ask(namespace, name).await;
        let counts = match content {
            Content::Keys(_) => AGAIN,
            Content::Missing | Content::Forbidden | Content::Unread(_) => ABSENT,
        };
        let mut read = self.read.lock();
        // What no pool needs any more is forgotten.
        read.retain(|_, reading| reading.until > now);
        let reading = Reading {
            content: content.clone(),
            until: now + counts,
        };
        read.insert(key, reading);
        (content, counts)
    }

    async fn ask(&self, namespace: &str, name: &str) -> Content {
        // The name becomes part of a URL path.
        if !names::is_object_name(name) {
            return Content::Missing;
        }
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        match request("get secret", api.get_opt(name)).await {
            Ok(Some(secret)) => {
                let data = secret.data.unwrap_or_default().into_iter();
                Content::Keys(data.map(|(key, value)| (key, value.0)).collect())
            }
            Ok(None) => Content::Missing,
            Err(error) if error.code() == Some(403) => Content::Forbidden,
            Err(error) => Content::Unread(error.why()),
        }
    }
}
