use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, ObjectList, WatchEvent};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::*;
use crate::metrics::Metrics;
use crate::pool::pods::IndexerPods;
use crate::process::health::Caches as _;
use crate::process::telemetry;
use crate::task::watch::Caches;

/// Stands in a payload, and nowhere else.
const MARKER: &str = "hunter2-is-a-secret";

fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn task(name: &str, payload: &str) -> String {
    format!(
        r#"{{"apiVersion":"peon.dev/v1alpha1","kind":"PeonTask","metadata":{{"name":"{name}","namespace":"ns",
        "uid":"uid-{name}","resourceVersion":"7","managedFields":[{{"fieldsV1":{{"f:spec":{{"f:task":{{}}}}}}}}]}},
        "spec":{{"task":{{"type":"noop","password":"{MARKER}","x":{payload}}}}},
        "status":{{"phase":"Pending","reason":"WaitingForOperator"}}}}"#
    )
}

fn template(name: &str, payload: &str) -> String {
    format!(
        r#"{{"apiVersion":"peon.dev/v1alpha1","kind":"PeonTemplate","metadata":{{"name":"{name}","namespace":"ns",
        "uid":"uid-{name}","resourceVersion":"8","labels":{{"team":"a"}},"managedFields":[{{"fieldsV1":{payload}}}]}},
        "spec":{{"image":"i","template":{{"metadata":{{"annotations":{{"p":"{MARKER}"}}}},"spec":{{"x":{payload}}}}}}}}}"#
    )
}

fn list(kind: &str, items: &[String]) -> String {
    format!(
        r#"{{"apiVersion":"peon.dev/v1alpha1","kind":"{kind}List","metadata":{{"resourceVersion":"9","continue":""}},
        "items":[{}]}}"#,
        items.join(",")
    )
}

/// Runs `work` with as little stack as a level of recursion for each level of the text would overrun.
fn with_little_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work);
    thread.unwrap().join().unwrap();
}

#[test]
fn a_list_is_read_item_by_item_however_deep_one_of_them_is() {
    with_little_stack(|| {
        for levels in [200, 100_000] {
            let items = [task("one", "1"), task("deep", &deep(levels)), task("two", "2")];
            let body = list("PeonTask", &items);
            // The guard of the library itself never sees the item: the whole list fails.
            let of_library = serde_json::from_str::<ObjectList<DeserializeGuard<PeonTask>>>(&body);
            assert!(
                of_library
                    .unwrap_err()
                    .to_string()
                    .starts_with("recursion limit exceeded")
            );
            let tasks: ObjectList<Guarded<PeonTask>> = serde_json::from_str(&body).unwrap();
            assert_eq!(tasks.metadata.resource_version.as_deref(), Some("9"));
            let names: Vec<_> = tasks.items.iter().map(ResourceExt::name_any).collect();
            assert_eq!(names, ["one", "deep", "two"]);
            let is_run =
                |t: &Guarded<PeonTask>| t.0.as_ref().unwrap().spec.task.as_ref().unwrap().text().is_ok();
            assert_eq!(
                tasks.items.iter().map(is_run).collect::<Vec<_>>(),
                [true, false, true]
            );
            // It is copied, written and dropped.
            let copy = tasks.clone();
            let written = serde_json::to_string(copy.items[1].0.as_ref().unwrap()).unwrap();
            assert!(!written.contains(MARKER) && written.len() < 1000, "{written}");

            let items = [template("one", "1"), template("deep", &deep(levels))];
            let body = list("PeonTemplate", &items);
            let templates: ObjectList<Guarded<PeonTemplate>> = serde_json::from_str(&body).unwrap();
            assert!(templates.items[0].0.is_ok());
            let unreadable = templates.items[1].0.clone().unwrap_err();
            assert_eq!(unreadable.metadata.name.as_deref(), Some("deep"));
            assert_eq!(unreadable.metadata.uid.as_deref(), Some("uid-deep"));
            assert_eq!(unreadable.metadata.resource_version.as_deref(), Some("8"));
            assert_eq!(unreadable.metadata.labels, None);
            assert!(
                unreadable.error.starts_with(if levels == 200 {
                    "recursion limit exceeded"
                } else {
                    "the object has "
                }),
                "{}",
                unreadable.error
            );
        }
    });
}

#[test]
fn a_watch_goes_on_past_what_it_cannot_read() {
    with_little_stack(|| {
        for levels in [200, 100_000] {
            for kind in ["ADDED", "MODIFIED", "DELETED"] {
                let line = format!(
                    r#"{{"type":"{kind}","object":{}}}"#,
                    template("deep", &deep(levels))
                );
                let event: WatchEvent<Guarded<PeonTemplate>> = serde_json::from_str(&line).unwrap();
                let (WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) =
                    event
                else {
                    panic!("another event")
                };
                // Without it the watch would begin anew, from the version before.
                assert_eq!(object.resource_version().as_deref(), Some("8"));
                assert!(object.0.is_err());
            }
        }
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410,"reason":"Expired","message":""}}"#;
        let event: WatchEvent<Guarded<PeonTask>> = serde_json::from_str(gone).unwrap();
        assert!(matches!(event, WatchEvent::Error(status) if status.code == 410));
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"PeonTask","apiVersion":"peon.dev/v1alpha1","metadata":{"resourceVersion":"12"}}}"#;
        let event: WatchEvent<Guarded<PeonTask>> = serde_json::from_str(bookmark).unwrap();
        assert!(matches!(event, WatchEvent::Bookmark(mark) if mark.metadata.resource_version == "12"));
    });
}

#[test]
fn nothing_of_the_value_is_quoted() {
    let of = |spec: Value| {
        let object =
            json!({"metadata": {"name": "a"}, "spec": spec, "status": {"reason": "WaitingForOperator"}});
        Guarded::<PeonTask>::read(&object.to_string()).0.unwrap_err()
    };
    for (spec, expected) in [
        (
            json!({"suspend": MARKER}),
            "invalid type, expected a boolean at line 1 column ",
        ),
        (
            json!({"startDeadlineSeconds": -5}),
            "invalid value, expected u32 at line 1 column ",
        ),
        (
            json!({"taskJson": {"a": MARKER}}),
            "invalid type, expected a string at line 1 column ",
        ),
        (
            json!({"task": MARKER}),
            "invalid type, expected an object at line 1 column ",
        ),
        (
            json!({"retry": {"rerun": format!("{MARKER}, expected {MARKER}")}}),
            "unknown variant, expected ",
        ),
        (
            json!({"taskFrom": {}}),
            "missing field `sha256` at line 1 column ",
        ),
    ] {
        let unreadable = of(spec);
        assert!(unreadable.error.starts_with(expected), "{}", unreadable.error);
        assert!(!unreadable.error.contains(MARKER), "{}", unreadable.error);
        assert_eq!(unreadable.reason.as_deref(), Some("WaitingForOperator"));
    }
    let error = serde_json::from_str::<Status>(&format!(r#"{{"code": "{MARKER}"}}"#)).unwrap_err();
    let chained = crate::apiserver::error::chain(&kube::Error::SerdeError(error));
    assert!(
        chained.contains("invalid type, expected i32") && !chained.contains(MARKER),
        "{chained}"
    );
}

#[test]
fn what_is_no_object_is_unreadable_too() {
    for odd in [
        "5",
        "null",
        "[]",
        r#"{"metadata":5}"#,
        r#"{"metadata":{"name":"a","labels":7}}"#,
    ] {
        let read = Guarded::<PeonTask>::read(odd);
        assert!(read.0.is_err(), "{odd}");
        assert_eq!(read.meta().name.as_deref().unwrap_or("a"), "a", "{odd}");
    }
}

#[test]
fn what_is_kept_is_what_is_read() {
    let object = |status: Value| {
        let object = json!({
            "metadata": {
                "name": "a", "managedFields": [{"manager": "m"}],
                "annotations": {LAST_APPLIED: "x", "peon.dev/overlord": "forgotten", "peon.dev/mine": "y"},
                "labels": {"peon.dev/identity": "0", "team": "z"},
            },
            "spec": {"task": {"type": "noop"}, "javaOpts": ["-Xmx1g"]}, "status": status,
        });
        Guarded::<PeonTask>::read(&object.to_string()).0.unwrap()
    };
    let waiting = object(json!({}));
    assert_eq!(waiting.metadata.managed_fields, None);
    assert_eq!(
        waiting.annotations().keys().collect::<Vec<_>>(),
        ["peon.dev/overlord"]
    );
    assert_eq!(waiting.labels().keys().collect::<Vec<_>>(), ["peon.dev/identity"]);
    assert!(waiting.spec.task.is_some() && !waiting.spec.java_opts.is_empty());
    let finished = object(json!({"conditions": [{
        "type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}));
    assert!(finished.spec.task.is_none() && finished.spec.java_opts.is_empty());
}

#[test]
fn what_is_large_is_not_kept() {
    let large = "x".repeat(1_400_000);
    let read = Guarded::<PeonTask>::read(&task("a", &format!("\"{large}\"")));
    let kept = read.0.unwrap().spec.task.unwrap();
    assert!(kept.text().unwrap_err().to_string().contains("1400"), "{kept:?}");
    assert_eq!(kept.given(), "");
    let read = Guarded::<PeonTemplate>::read(&template("a", &format!("\"{large}\"")));
    let error = read.0.unwrap_err().error;
    assert!(error.ends_with("bytes, at most 262144 are read"), "{error}");
    let options = vec!["y".repeat(4096); 65];
    let object = json!({"metadata": {"name": "a"}, "spec": {"task": {"type": "noop"}, "javaOpts": options}});
    let error = Guarded::<PeonTask>::read(&object.to_string())
        .0
        .unwrap_err()
        .error;
    assert_eq!(error, "spec.javaOpts has 266240 bytes, at most 262144 are read");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn under(filter: EnvFilter) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

/// An API server over HTTP that has one object of each kind that is nested too deeply, and good ones.
async fn server() -> Client {
    let answer = |uri: Uri| async move {
        let is_watch = uri.query().unwrap_or_default().contains("watch=true");
        let answer = match (uri.path().rsplit('/').next().unwrap_or_default(), is_watch) {
            ("peontasks", false) => list("PeonTask", &[task("one", "1"), task("deep", &deep(200))]),
            ("peontemplates", false) => list(
                "PeonTemplate",
                &[template("deep", &deep(200)), template("one", "1")],
            ),
            ("pods", false) => list("Pod", &[]),
            ("peontasks", true) => {
                let object = task("odd", "1").replace(r#""spec":{"#, r#""spec":{"suspend":7,"#);
                format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", object.replace('\n', ""))
            }
            _ => String::new(),
        };
        ([("content-type", "application/json")], answer)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(answer))
            .await
            .unwrap();
    });
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    Client::try_from(config).unwrap()
}

/// What the client itself does with a page that has an object that cannot be read. The first log is what it would write
/// if nobody kept it from it: without that the second one would prove nothing.
#[tokio::test]
async fn no_body_is_logged_whatever_the_user_asks_for() {
    let client = server().await;
    let templates: Api<PeonTemplate> = Api::namespaced(client, "ns");
    let (log, guard) = Log::under(EnvFilter::new("info"));
    templates.list(&ListParams::default()).await.unwrap_err();
    drop(guard);
    assert!(
        log.text().contains(MARKER),
        "the client does not log bodies any more"
    );
    for asked in ["info", "debug", "trace"] {
        let (log, guard) = Log::under(telemetry::filter(asked).unwrap());
        templates.list(&ListParams::default()).await.unwrap_err();
        tracing::info!("this is logged");
        drop(guard);
        assert!(log.text().contains("this is logged"));
        assert!(!log.text().contains(MARKER), "{asked}: {}", log.text());
    }
}

#[tokio::test]
async fn the_caches_fill_past_what_cannot_be_read_and_say_what_it_is() {
    let client = server().await;
    let (log, _guard) = Log::under(telemetry::filter("debug").unwrap());
    let metrics = Metrics::default();
    let (caches, watches) = Caches::start(
        &client,
        Some("ns"),
        &metrics,
        std::sync::Arc::new(IndexerPods::default()),
    );
    let mut wakes = Box::pin(caches.wakes());
    let seen = async {
        caches.complete().await;
        assert!(caches.pending().is_empty());
        // The one that the watch brings after the list.
        while wakes.next().await.unwrap().name != "odd" {}
    };
    tokio::select! {
        () = watches => panic!("the watches ended"),
        () = seen => {}
    }
    let get = |name: &str| caches.tasks.get(&ObjectRef::new(name).within("ns")).unwrap();
    assert!(get("one").read().is_ok() && get("odd").read().is_err());
    let deep = get("deep").read().unwrap();
    let payload = deep.spec.task.as_ref().unwrap();
    // The task itself is one level more.
    assert_eq!(
        payload.text().unwrap_err().to_string(),
        "the task is nested 201 levels deep, at most 64 are allowed: use taskJson or taskFrom"
    );
    let template = caches
        .templates
        .get(&ObjectRef::new("deep").within("ns"))
        .unwrap();
    assert!(template.0.is_err());
    let text = log.text();
    assert!(!text.contains(MARKER), "{text}");
    for line in [
        "kind=\"PeonTemplate\" namespace=\"ns\" name=\"deep\" error=\"recursion limit exceeded",
        "kind=\"PeonTask\" namespace=\"ns\" name=\"odd\" error=\"invalid type, expected a boolean",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let counted = metrics.text().unwrap();
    for kind in ["PeonTask", "PeonTemplate"] {
        let series = format!("peon_operator_undecodable_objects_total{{kind=\"{kind}\"}} ");
        assert!(counted.contains(&series), "{series} in {counted}");
    }
}
