//! Interning of strings that many Ingresses have in common.
//!
//! Most of 100,000 Ingresses have the same class, path types, paths and Services. A source interns them before it
//! delivers the objects, and everything compiled from the objects shares them.

use std::sync::Arc;

use super::kinds::Ingress;
use super::kinds::IngressBackend;
use super::kinds::PortRef;
use crate::interner::Interner;

/// Number of strings below which unused ones are not removed.
const MIN_SWEEP: usize = 1024;

/// The strings of all Ingresses of a source. Unused ones are removed from time to time (`Interner`).
#[derive(Debug, Default)]
pub struct StringInterner {
    strings: Interner<str, MIN_SWEEP>,
}

impl StringInterner {
    /// Replaces the strings of an Ingress by interned ones. Names and hosts are left out, because they are unique. Rules
    /// that are shared already are left out, too.
    pub fn intern_ingress(&mut self, ingress: &mut Ingress) {
        self.intern(&mut ingress.name.namespace);
        for text in ingress.class.iter_mut().chain(&mut ingress.class_annotation) {
            self.intern(text);
        }
        for annotation in &mut ingress.annotations {
            self.intern(&mut annotation.key);
            self.intern(&mut annotation.value);
        }
        for path in Arc::get_mut(&mut ingress.rules).into_iter().flatten().flat_map(|rule| &mut rule.paths) {
            self.intern(&mut path.path);
            path.path_type.iter_mut().for_each(|text| self.intern(text));
            self.intern_backend(&mut path.backend);
        }
        ingress.default_backend.iter_mut().for_each(|backend| self.intern_backend(backend));
    }

    fn intern_backend(&mut self, backend: &mut IngressBackend) {
        let IngressBackend::Service { name, port } = backend else { return };
        self.intern(name);
        if let PortRef::Name(name) = port {
            self.intern(name);
        }
    }

    fn intern(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.strings.get(&**text) {
            *text = Arc::clone(known);
            return;
        }
        self.strings.insert(Arc::clone(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interner_drops_unused_strings_and_keeps_used_ones() {
        let mut interner = StringInterner::default();
        let mut kept: Arc<str> = "kept".into();
        interner.intern(&mut kept);
        for number in 0..10 * MIN_SWEEP {
            interner.intern(&mut number.to_string().into());
            assert!(interner.strings.len() <= MIN_SWEEP);
        }
        let mut again: Arc<str> = "kept".into();
        interner.intern(&mut again);
        assert!(Arc::ptr_eq(&kept, &again));
        let mut used: Vec<Arc<str>> = (0..4 * MIN_SWEEP).map(|number| number.to_string().into()).collect();
        used.iter_mut().for_each(|text| interner.intern(text));
        let all_known = used.iter().all(|text| interner.strings.get(text).is_some());
        assert!(all_known, "all strings in use are kept");
    }
}
