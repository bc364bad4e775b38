//! Input files of users: PeonTasks, templates and plain Druid tasks (pure).

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api::{IndexerPool, PeonTask, PeonTemplate};

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Document {
    /// A PeonTask.
    Task(Box<PeonTask>),
    /// A PeonTemplate.
    Template(Box<PeonTemplate>),
    /// An IndexerPool.
    Pool(Box<IndexerPool>),
    /// A Druid task as it would be sent to an overlord, to the byte.
    Payload(String),
    /// Any other object of Kubernetes, as kind and name.
    Other(String),
}

/// Reads a file: JSON, of which there may be several documents one after the other, or YAML.
///
/// # Errors
/// Says what is wrong and where.
pub(crate) fn read(text: &str) -> Result<Vec<Document>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err("the input is empty".into());
    }
    match json(text) {
        Ok(parts) => all(parts.iter().map(|(value, source)| (value, Some(*source)))),
        // What begins like JSON is meant as JSON: YAML would take much of it, in other ways than Druid.
        Err(error) if text.trim_start().starts_with(['{', '[']) => Err(format!("not valid JSON: {error}")),
        Err(_) => {
            let values: Vec<Value> = serde_yaml::from_multiple(text)
                .map_err(|e| format!("not valid YAML: {}", first_line(&e.to_string())))?;
            all(values.iter().filter(|v| !v.is_null()).map(|v| (v, None)))
        }
    }
}

/// The documents of values, each with its text where that is known.
fn all<'a>(values: impl Iterator<Item = (&'a Value, Option<&'a str>)>) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for (value, source) in values {
        documents.extend(document(value, source)?);
    }
    Ok(documents)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// JSON values and the text of each.
fn json(text: &str) -> Result<Vec<(Value, &str)>, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut parts = Vec::new();
    let mut start = 0;
    while let Some(value) = values.next() {
        let end = values.byte_offset();
        parts.push((value?, text[start..end].trim()));
        start = end;
    }
    Ok(parts)
}

fn document(value: &Value, source: Option<&str>) -> Result<Vec<Document>, String> {
    let Value::Object(object) = value else {
        return Err("a document is not an object: give PeonTasks or Druid tasks".into());
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let version = text("apiVersion");
    match (version.split('/').next().unwrap_or_default(), text("kind")) {
        ("", _) if object.contains_key("type") => match source {
            Some(source) => Ok(vec![Document::Payload(source.to_owned())]),
            None => Err("a Druid task must be JSON: the peon gets its bytes unchanged".into()),
        },
        ("", "") if is_answer(object) => match source.map(serde_json::from_str::<Answer<'_>>) {
            Some(Ok(answer)) => Ok(vec![Document::Payload(answer.payload.get().to_owned())]),
            Some(Err(error)) => Err(format!("the payload beside task cannot be read: {error}")),
            None => Err("a Druid task must be JSON: the peon gets its bytes unchanged".into()),
        },
        ("", _) => Err(what_it_is(object).into()),
        ("v1", "List") => {
            let items = object.get("items").and_then(Value::as_array);
            all(items.into_iter().flatten().map(|item| (item, None)))
        }
        (crate::api::GROUP, "PeonTask") => Ok(vec![Document::Task(Box::new(decode(value, name)?))]),
        (crate::api::GROUP, "PeonTemplate") => Ok(vec![Document::Template(Box::new(decode(value, name)?))]),
        (crate::api::GROUP, "IndexerPool") => Ok(vec![Document::Pool(Box::new(decode(value, name)?))]),
        (_, kind) => Ok(vec![Document::Other(format!("{kind} {name}"))]),
    }
}

/// What the overlord answers to a request for the payload of a task (`GET /druid/indexer/v1/task/<id>`).
#[derive(serde::Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn is_answer(object: &Map<String, Value>) -> bool {
    object.get("task").is_some_and(Value::is_string) && object.get("payload").is_some_and(Value::is_object)
}

/// What an object is that is no task, and where it belongs.
fn what_it_is(object: &Map<String, Value>) -> &'static str {
    let has = |name: &str| object.contains_key(name);
    if object.get("query").is_some_and(Value::is_string) {
        return "a document is a SQL query: post it to the router or broker (/druid/v2/sql/task to ingest), whose overlord \
                then gives its tasks to a VirtualMiddleManager";
    }
    if has("queryType") {
        return "a document is a native query: post it to the router or broker (/druid/v2)";
    }
    if has("supervisorId") || has("spec") && (has("id") || has("suspended")) {
        return "a document is the spec of a supervisor: post it to the overlord (/druid/indexer/v1/supervisor), whose tasks \
                a VirtualMiddleManager then runs as PeonTasks";
    }
    if has("dataSchema") && has("ioConfig") {
        return "a document is the spec of a task without its type: give {\"type\": …, \"spec\": …}";
    }
    if has("task") && (has("status") || object.len() == 1) {
        return "a document is an answer of the overlord about a task, without the task: get its payload from \
                /druid/indexer/v1/task/<id>";
    }
    "a document is neither a PeonTask (with apiVersion and kind) nor a Druid task (with type)"
}

/// Decodes an object whose spec has no field that we do not know.
fn decode<T: DeserializeOwned + serde::Serialize>(value: &Value, name: &str) -> Result<T, String> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let mut value = value.clone();
    // A status says nothing of what is wanted, and one of another version need not be readable.
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    let decoded: T = serde_json::from_value(value.clone()).map_err(|e| format!("{kind} {name}: {e}"))?;
    let known = serde_json::to_value(&decoded).map_err(|e| format!("{kind} {name}: {e}"))?;
    let (empty, none) = (Map::new(), Value::Null);
    let given = value.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    match unknown(given, known.get("spec").unwrap_or(&none), "spec") {
        Some(field) => Err(format!("{kind} {name}: unknown field {field}")),
        None => Ok(decoded),
    }
}

/// The first field that decoding lost. What is empty or false is not written, and no loss.
fn unknown(given: &Map<String, Value>, known: &Value, path: &str) -> Option<String> {
    given.iter().find_map(|(key, value)| {
        let path = format!("{path}.{key}");
        match (value, known.get(key)) {
            (Value::Null | Value::Bool(false), None) => None,
            (Value::Array(items), None) if items.is_empty() => None,
            (Value::Object(fields), None) if fields.is_empty() => None,
            (_, None) => Some(path),
            (Value::Object(fields), Some(known)) => unknown(fields, known, &path),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Document {
        let mut all = read(text).unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn a_druid_task_is_kept_to_the_byte() {
        let text = "{ \"type\":\"noop\",\n  \"big\": 12345678901234567890.50, \"a\": 1, \"a\": 2 }";
        assert_eq!(only(&format!("\n{text}\n")), Document::Payload(text.into()));
        let two = read("{\"type\":\"noop\"} {\"type\": \"kill\"}").unwrap();
        let expected = ["{\"type\":\"noop\"}", "{\"type\": \"kill\"}"].map(|t| Document::Payload(t.into()));
        assert_eq!(two, expected);
    }

    #[test]
    fn the_payload_in_an_answer_of_the_overlord_is_the_task() {
        let payload = "{ \"type\": \"noop\",  \"big\": 12345678901234567890.50}";
        let answer = format!("{{\"task\": \"a\", \"payload\": {payload}}}");
        assert_eq!(only(&answer), Document::Payload(payload.into()));
    }

    #[test]
    fn what_belongs_elsewhere_is_told_where() {
        for (text, said) in [
            (r#"{"query": "SELECT 1", "context": {}}"#, "a SQL query"),
            (r#"{"queryType": "scan"}"#, "a native query"),
            (r#"{"id": "clicks", "spec": {"type": "kafka"}}"#, "a supervisor"),
            (r#"{"dataSchema": {}, "ioConfig": {}}"#, "without its type"),
            (r#"{"task": "a", "status": {}}"#, "an answer of the overlord"),
            (r#"{"task": "a"}"#, "an answer of the overlord"),
            (r#"{"a": 1}"#, "neither a PeonTask"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn peontasks_come_as_yaml_as_json_and_as_lists() {
        let yaml = "# comment\napiVersion: peon.dev/v1alpha1\nkind: PeonTask\nmetadata: {name: a}\nspec:\n  task: {type: noop}\n";
        let Document::Task(task) = only(yaml) else {
            panic!("no task")
        };
        assert_eq!(task.metadata.name.as_deref(), Some("a"));
        assert_eq!(read(&format!("{yaml}---\n{yaml}---\n")).unwrap().len(), 2);
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(only(&json), Document::Task(task.clone()));
        let list = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{json}, {json}]}}");
        assert_eq!(read(&list).unwrap().len(), 2);
    }

    #[test]
    fn templates_and_other_objects_are_told_apart() {
        let template = "apiVersion: peon.dev/v1alpha1\nkind: PeonTemplate\nmetadata: {name: default}\nspec: {image: x}\n";
        assert!(matches!(only(template), Document::Template(_)));
        let other = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
        assert_eq!(only(other), Document::Other("Secret s".into()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |text: &str| read(text).unwrap_err();
        assert_eq!(
            error("{\n  \"type\": \"noop\",\n}"),
            "not valid JSON: trailing comma at line 3 column 1"
        );
        assert!(
            error("a: [1\nb: 2").starts_with("not valid YAML: "),
            "{}",
            error("a: [1\nb: 2")
        );
        assert!(error("type: noop").contains("must be JSON"));
        assert!(error("{}").contains("neither a PeonTask"));
        assert!(error("[1]").contains("not an object"));
        assert_eq!(error(" \n"), "the input is empty");
        let typo = "apiVersion: peon.dev/v1alpha1\nkind: PeonTask\nmetadata: {name: a}\nspec: {task: {type: noop}, resource: {x: 1}}\n";
        assert_eq!(error(typo), "PeonTask a: unknown field spec.resource");
        let wrong =
            "apiVersion: peon.dev/v1alpha1\nkind: PeonTask\nmetadata: {name: a}\nspec: {suspend: maybe}\n";
        assert!(
            error(wrong).starts_with("PeonTask a: invalid type"),
            "{}",
            error(wrong)
        );
    }

    #[test]
    fn what_means_nothing_is_no_unknown_field() {
        let spec = "{task: {type: noop, any: {thing: [1]}}, suspend: false, javaOpts: [], templateRef: null}";
        let yaml = format!(
            "apiVersion: peon.dev/v1alpha1\nkind: PeonTask\nmetadata: {{name: a}}\nspec: {spec}\nstatus: {{phase: Odd}}\n"
        );
        assert!(matches!(only(&yaml), Document::Task(_)));
    }
}
