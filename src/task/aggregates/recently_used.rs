//! A bounded map whose entries leave when they were not used for the longest time (pure).

use std::collections::{BTreeMap, HashMap};

/// Namespace and key.
type Key = (String, String);

/// Values by namespace and key. Beyond `most` entries, the least recently used one of the namespace with the most is
/// removed: one namespace's entries do not displace those of another.
#[derive(Debug)]
pub(super) struct RecentlyUsed<V> {
    most: usize,
    entries: HashMap<Key, (V, u64)>,
    /// By last use, oldest first.
    order: BTreeMap<u64, Key>,
    of_namespaces: BTreeMap<String, usize>,
    uses: u64,
}

impl<V> RecentlyUsed<V> {
    /// An empty map for so many entries.
    pub(super) fn with_most(most: usize) -> Self {
        Self {
            most,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            of_namespaces: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The value of a key, which counts as a use.
    pub(super) fn get(&mut self, namespace: &str, key: &str) -> Option<&mut V> {
        let key = (namespace.to_owned(), key.to_owned());
        let (value, used) = self.entries.get_mut(&key)?;
        self.uses += 1;
        self.order.remove(used);
        *used = self.uses;
        self.order.insert(self.uses, key);
        Some(value)
    }

    /// Sets the value of a key, which counts as a use.
    pub(super) fn put(&mut self, namespace: &str, key: &str, value: V) {
        if let Some(known) = self.get(namespace, key) {
            *known = value;
            return;
        }
        let key = (namespace.to_owned(), key.to_owned());
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        *self.of_namespaces.entry(key.0.clone()).or_default() += 1;
        self.entries.insert(key, (value, self.uses));
        if self.entries.len() > self.most {
            self.remove_one();
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        assert_eq!(self.entries.len(), self.of_namespaces.values().sum::<usize>());
        self.entries.len()
    }

    fn remove_one(&mut self) {
        let most = self.of_namespaces.iter().max_by_key(|(_, entries)| **entries);
        let oldest =
            most.and_then(|(most, _)| self.order.iter().find(|(_, (namespace, _))| namespace == most));
        let Some((used, key)) = oldest.map(|(used, key)| (*used, key.clone())) else {
            return;
        };
        self.order.remove(&used);
        self.entries.remove(&key);
        if let Some(entries) = self.of_namespaces.get_mut(&key.0) {
            *entries -= 1;
            if *entries == 0 {
                self.of_namespaces.remove(&key.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entry_of_the_largest_namespace_leaves() {
        let mut map = RecentlyUsed::with_most(4);
        map.put("quiet", "a", 0);
        for n in 0..3 {
            map.put("loud", &n.to_string(), n);
        }
        assert_eq!(map.get("loud", "0").copied(), Some(0), "used again");
        map.put("loud", "3", 3);
        assert_eq!(map.get("loud", "1"), None);
        for n in 4..9 {
            map.put("loud", &n.to_string(), n);
        }
        map.put("loud", "8", 9);
        assert_eq!(map.get("loud", "8").copied(), Some(9));
        assert_eq!((map.get("quiet", "a").copied(), map.len()), (Some(0), 4));
    }
}
