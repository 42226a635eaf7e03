//! Contexts by the ID that the host gave them.

use std::cell::RefCell;

/// Values by ID, in the order of the IDs. A module has few root contexts and as many streams as its worker serves.
pub(crate) struct Contexts<T>(RefCell<Vec<(u32, T)>>);

impl<T: Clone> Contexts<T> {
    pub(crate) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// Returns the value of an ID.
    pub(crate) fn get(&self, id: u32) -> Option<T> {
        let contexts = self.0.borrow();
        let at = contexts.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        contexts.get(at).map(|(_, context)| context.clone())
    }

    /// Sets the value of an ID and returns the previous one.
    pub(crate) fn insert(&self, id: u32, context: T) -> Option<T> {
        let mut contexts = self.0.borrow_mut();
        match contexts.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => contexts.get_mut(at).map(|(_, old)| std::mem::replace(old, context)),
            Err(at) => {
                contexts.insert(at, (id, context));
                None
            }
        }
    }

    /// Removes and returns the value of an ID.
    pub(crate) fn remove(&self, id: u32) -> Option<T> {
        let mut contexts = self.0.borrow_mut();
        let at = contexts.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(contexts.remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_found_in_any_order_of_insertion() {
        let contexts = Contexts::new();
        for id in [5, 1, 3, 9] {
            assert_eq!(contexts.insert(id, id * 10), None);
        }
        assert_eq!([1, 3, 5, 9].map(|id| contexts.get(id)), [10, 30, 50, 90].map(Some));
        assert_eq!((contexts.get(0), contexts.get(4), contexts.get(10)), (None, None, None));
        assert_eq!(contexts.insert(3, 31), Some(30));
        assert_eq!((contexts.remove(3), contexts.remove(3), contexts.get(5)), (Some(31), None, Some(50)));
    }
}
