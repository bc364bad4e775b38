//! Where the API server has what `kubectl get` is asked for.
//!
//! A `kubectl` process takes a tenth of a second of a core for each question, which was a seventh of all that a run of the
//! cases took; the same question through a `kubectl proxy` that runs already takes a few milliseconds.

use std::fmt::Write as _;

use crate::testbed::proxy::encoded;

/// Kinds that the cases ask for, with the path of their group and their plural.
const NAMESPACED: [(&str, &str, &str); 8] = [
    ("pod", "/api/v1", "pods"),
    ("service", "/api/v1", "services"),
    ("secret", "/api/v1", "secrets"),
    ("configmap", "/api/v1", "configmaps"),
    ("deployment", "/apis/apps/v1", "deployments"),
    ("peontask", "/apis/peon.dev/v1alpha1", "peontasks"),
    ("peontemplate", "/apis/peon.dev/v1alpha1", "peontemplates"),
    (
        "virtualmiddlemanager",
        "/apis/peon.dev/v1alpha1",
        "virtualmiddlemanagers",
    ),
];

/// Objects of one kind in one namespace: one of them, or those that a selector selects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    collection: String,
    name: Option<String>,
    selector: Option<String>,
}

impl Resource {
    /// What these arguments of `kubectl get` ask for; `None` for all that is better left to kubectl.
    pub(crate) fn of(args: &[&str]) -> Option<Self> {
        let (mut names, mut namespace, mut selector) = (Vec::new(), None, None);
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            let (flag, value) = arg
                .split_once('=')
                .map_or((arg, None), |(flag, value)| (flag, Some(value)));
            match flag {
                "--namespace" => namespace = Some(value.or_else(|| args.next())?),
                "--selector" => selector = Some(value.or_else(|| args.next())?),
                _ if arg.starts_with('-') => return None,
                _ => names.push(arg),
            }
        }
        let (kind, name) = match names[..] {
            [kind] => (kind, None),
            [kind, name] if selector.is_none() => (kind, Some(name)),
            _ => return None,
        };
        let known = |(singular, _, plural): &&(&str, &str, &str)| [*singular, *plural].contains(&kind);
        let (_, group, plural) = NAMESPACED.iter().find(known)?;
        Some(Self {
            collection: format!("{group}/namespaces/{}/{plural}", encoded(namespace?)),
            name: name.map(encoded),
            selector: selector.map(encoded),
        })
    }

    /// Path and query by which it is read.
    pub(crate) fn read(&self) -> String {
        match (&self.name, &self.selector) {
            (Some(name), _) => format!("{}/{name}", self.collection),
            (None, Some(selector)) => format!("{}?labelSelector={selector}", self.collection),
            (None, None) => self.collection.clone(),
        }
    }

    /// Path and query by which its changes are told, after what there is now.
    pub(crate) fn watch(&self) -> String {
        let mut path = format!("{}?watch=true", self.collection);
        // Writing to a String cannot fail.
        let _ = match (&self.name, &self.selector) {
            (Some(name), _) => write!(path, "&fieldSelector=metadata.name%3D{name}"),
            (None, Some(selector)) => write!(path, "&labelSelector={selector}"),
            (None, None) => Ok(()),
        };
        path
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

    fn paths(args: &[&str]) -> Option<(String, String)> {
        Resource::of(args).map(|found| (found.read(), found.watch()))
    }

    #[test]
    fn one_object() {
        let (read, watch) = paths(&["peontask", "a", "--namespace", "n"]).unwrap();
        assert_eq!(read, "/apis/peon.dev/v1alpha1/namespaces/n/peontasks/a");
        assert_eq!(
            watch,
            "/apis/peon.dev/v1alpha1/namespaces/n/peontasks?watch=true&fieldSelector=metadata.name%3Da"
        );
    }

    #[test]
    fn selected_objects() {
        let (read, watch) = paths(&["pods", "--selector=peon.dev/task=a,b", "--namespace=n"]).unwrap();
        assert_eq!(
            read,
            "/api/v1/namespaces/n/pods?labelSelector=peon.dev%2Ftask%3Da%2Cb"
        );
        assert_eq!(
            watch,
            "/api/v1/namespaces/n/pods?watch=true&labelSelector=peon.dev%2Ftask%3Da%2Cb"
        );
    }

    #[test]
    fn everything_else_is_left_to_kubectl() {
        for args in [
            &["pods"][..],
            &["node", "a"],
            &["pod,service", "--namespace", "n"],
            &["pod", "a", "b", "--namespace", "n"],
            &["pods", "--all-namespaces"],
            &["pods", "--namespace", "n", "--field-selector=a=b"],
        ] {
            assert_eq!(paths(args), None, "{args:?}");
        }
    }
}
