//! Chooses the template of a task that names none (pure).

use serde_json::Value;

use crate::api::Match;
use crate::druid::payload::Payload;

/// Name of the template for tasks that no other template matches.
pub const DEFAULT: &str = "default";

/// The fields of a template that the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Name of the template.
    pub name: &'a str,
    /// Which tasks it is for.
    pub matches: Option<&'a Match>,
    /// Its priority.
    pub priority: i32,
}

/// The template that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Name of the template.
    pub name: String,
    /// The names of the other matching templates with the same priority, in order.
    pub tied: Vec<String>,
}

/// The template of a task: of the matching ones, the one with the highest priority; among equals, the first by name.
#[must_use]
pub fn select<'a>(payload: &Payload, templates: impl IntoIterator<Item = Candidate<'a>>) -> Option<Chosen> {
    let mut best: Vec<Candidate<'a>> = Vec::new();
    for candidate in templates {
        if !candidate.matches.is_some_and(|m| fits(m, payload)) {
            continue;
        }
        let highest = best.first().map_or(candidate.priority, |b| b.priority);
        if candidate.priority > highest {
            best.clear();
        }
        if candidate.priority >= highest {
            best.push(candidate);
        }
    }
    best.sort_by_key(|candidate| candidate.name);
    let mut names = best.into_iter().map(|candidate| candidate.name.to_owned());
    Some(Chosen {
        name: names.next()?,
        tied: names.collect(),
    })
}

/// Whether a task fits every list that is given.
pub(super) fn fits(matches: &Match, payload: &Payload) -> bool {
    let listed = |list: &[String], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|item| item == value))
    };
    listed(&matches.types, Some(&payload.type_))
        && listed(&matches.data_sources, payload.data_source.as_deref())
        && matches.context_tags.iter().all(|(name, values)| {
            let tag = tag(payload, name);
            // An empty list matches any value of a tag that exists.
            tag.is_some() && listed(values, tag.as_deref())
        })
}

/// An entry of `tags` in the task's context.
fn tag(payload: &Payload, name: &str) -> Option<String> {
    match payload.context.get("tags")?.get(name)? {
        Value::String(text) => Some(text.clone()),
        plain @ (Value::Number(_) | Value::Bool(_)) => Some(plain.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use crate::api::PeonTemplate;
    use crate::task::fixtures::{payload, template};
    use serde_json::json;

    fn named(name: &str, spec: Value) -> PeonTemplate {
        let mut template = template(spec);
        template.metadata.name = Some(name.into());
        template
    }

    fn chosen(task: Value, templates: &[PeonTemplate]) -> Option<(String, Vec<String>)> {
        let candidates = templates.iter().map(|t| Candidate {
            name: t.metadata.name.as_deref().unwrap_or_default(),
            matches: t.spec.matches.as_ref(),
            priority: t.spec.priority.unwrap_or(0),
        });
        select(&payload(task), candidates).map(|c| (c.name, c.tied))
    }

    fn one(task: Value, matches: Value) -> bool {
        chosen(task, &[named("t", json!({ "match": matches }))]).is_some()
    }

    fn kafka(context: Value) -> Value {
        json!({"type": "index_kafka", "dataSchema": {"dataSource": "clicks"}, "context": context})
    }

    #[test]
    fn every_list_that_is_given_must_fit() {
        let task = || kafka(json!({"tags": {"team": "ads", "tier": 1, "deep": {}}}));
        for fits in [
            json!({}),
            json!({"types": ["index", "index_kafka"]}),
            json!({"dataSources": ["clicks"]}),
            json!({"contextTags": {"team": ["search", "ads"], "tier": ["1"]}}),
            json!({"contextTags": {"team": []}}),
            json!({"types": ["index_kafka"], "dataSources": ["clicks"], "contextTags": {"team": ["ads"]}}),
        ] {
            assert!(one(task(), fits.clone()), "{fits}");
        }
        for misses in [
            json!({"types": ["index"]}),
            json!({"dataSources": ["Clicks"]}),
            json!({"contextTags": {"team": ["search"]}}),
            json!({"contextTags": {"owner": []}}),
            json!({"contextTags": {"deep": ["{}"]}}),
            json!({"types": ["index_kafka"], "dataSources": ["other"]}),
        ] {
            assert!(!one(task(), misses.clone()), "{misses}");
        }
        assert!(!one(
            kafka(json!({"tags": "ads"})),
            json!({"contextTags": {"team": ["ads"]}})
        ));
        assert!(!one(json!({"type": "noop"}), json!({"dataSources": ["clicks"]})));
    }

    #[test]
    fn the_highest_priority_wins_and_of_equals_the_first_by_name() {
        let any = |name: &str, priority: i32| named(name, json!({"match": {}, "priority": priority}));
        let none = Vec::<String>::new();
        let task = || json!({"type": "noop"});
        let templates = [any("c", 1), any("a", -5), any("b", 0)];
        assert_eq!(chosen(task(), &templates), Some(("c".into(), none)));
        let templates = [
            any("z", 2),
            any("c", 1),
            any("b", 2),
            any("d", 2),
            named("a", json!({"match": {}})),
        ];
        let tied = vec!["d".to_owned(), "z".to_owned()];
        assert_eq!(chosen(task(), &templates), Some(("b".into(), tied)));
    }

    #[test]
    fn a_template_without_match_is_for_those_that_name_it() {
        let templates = [named(DEFAULT, json!({})), named("large", json!({"priority": 9}))];
        assert_eq!(chosen(json!({"type": "noop"}), &templates), None);
    }
}
