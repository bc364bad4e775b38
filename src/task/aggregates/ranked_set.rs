//! An ordered set that knows the rank of an item (pure).
//!
//! A sorted list in pieces: the piece is found by binary search, and the rank is a sum over the pieces before it. There
//! are only a few hundred pieces for hundreds of thousands of items.

/// Items in a piece before it is split.
const PIECE: usize = 1024;

/// Items in their order.
#[derive(Debug)]
pub struct RankedSet<T> {
    /// No piece is empty.
    pieces: Vec<Vec<T>>,
    /// Items in all pieces.
    len: usize,
}

impl<T> Default for RankedSet<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Ord> RankedSet<T> {
    /// Inserts an item; false if it is there already.
    pub fn insert(&mut self, item: T) -> bool {
        let at = self.piece(&item).min(self.pieces.len().saturating_sub(1));
        let Some(piece) = self.pieces.get_mut(at) else {
            self.pieces.push(vec![item]);
            self.len += 1;
            return true;
        };
        let Err(place) = piece.binary_search(&item) else {
            return false;
        };
        piece.insert(place, item);
        self.len += 1;
        if piece.len() > PIECE {
            let behind = piece.split_off(PIECE / 2);
            self.pieces.insert(at + 1, behind);
        }
        true
    }

    /// Removes an item; false if it is not there.
    pub fn remove(&mut self, item: &T) -> bool {
        let at = self.piece(item);
        let Some(piece) = self.pieces.get_mut(at) else {
            return false;
        };
        let Ok(place) = piece.binary_search(item) else {
            return false;
        };
        piece.remove(place);
        self.len -= 1;
        if piece.is_empty() {
            self.pieces.remove(at);
        }
        true
    }

    /// The number of items before this one, which need not be in the set.
    #[must_use]
    pub fn before(&self, item: &T) -> usize {
        let at = self.piece(item);
        let within = self
            .pieces
            .get(at)
            .map_or(0, |piece| match piece.binary_search(item) {
                Ok(place) | Err(place) => place,
            });
        self.pieces[..at].iter().map(Vec::len).sum::<usize>() + within
    }

    /// The items, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// How many items there are; costs the same whatever their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The first piece whose last item is not before this one.
    fn piece(&self, item: &T) -> usize {
        self.pieces
            .partition_point(|piece| piece.last().is_some_and(|last| last < item))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn many_items_are_split_and_stay_in_order() {
        let mut line = RankedSet::default();
        for n in 0..10_000_u64 {
            assert!(line.insert(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
        assert!(line.pieces.len() > 5 && line.pieces.iter().all(|p| p.len() <= PIECE));
        assert!(line.iter().is_sorted());
        let last = *line.iter().last().unwrap();
        assert_eq!((line.before(&last), line.before(&0)), (9_999, 0));
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_set(steps in proptest::collection::vec((any::<bool>(), 0_u16..300), 0..400)) {
            let (mut line, mut set) = (RankedSet::default(), BTreeSet::new());
            for (insert, item) in steps {
                if insert {
                    prop_assert_eq!(line.insert(item), set.insert(item));
                } else {
                    prop_assert_eq!(line.remove(&item), set.remove(&item));
                }
                prop_assert_eq!(line.before(&item), set.range(..item).count());
                prop_assert_eq!((line.len(), line.is_empty()), (set.len(), set.is_empty()));
            }
            prop_assert!(line.iter().eq(&set));
        }
    }
}
