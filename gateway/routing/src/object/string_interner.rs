//! Texts that many objects have in common, held once.
//!
//! Of 100,000 Ingresses most have the same class, path types, paths and Services. Purpose: a source shares them before
//! it hands objects on, and whatever is compiled from them goes on sharing. Not here: what the texts mean.

use std::sync::Arc;

use super::Ingress;
use super::IngressBackend;
use super::PortRef;
use crate::interner::Interner;

/// Fewer texts than this are not worth a look.
const MIN_SWEEP: usize = 1024;

/// Texts seen so far. Those that nobody else holds are dropped when there are twice as many as were in use the last
/// time, so it may live as long as a source does.
#[derive(Debug, Default)]
pub struct StringInterner {
    known: Interner<str, MIN_SWEEP>,
}

impl StringInterner {
    /// Makes an Ingress use the texts of those before it. Names and hosts are left alone: they are its own. So is
    /// all of it that somebody holds already.
    pub fn intern_ingress(&mut self, ingress: &mut Ingress) {
        self.intern(&mut ingress.name.namespace);
        for text in ingress.class.iter_mut().chain(&mut ingress.class_annotation) {
            self.intern(text);
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
        if let Some(known) = self.known.get(&**text) {
            *text = Arc::clone(known);
            return;
        }
        self.known.insert(Arc::clone(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_nobody_holds_any_more_are_dropped() {
        let mut texts = StringInterner::default();
        let mut kept: Arc<str> = "kept".into();
        texts.intern(&mut kept);
        for number in 0..10 * MIN_SWEEP {
            texts.intern(&mut number.to_string().into());
            assert!(texts.known.len() <= MIN_SWEEP);
        }
        let mut again: Arc<str> = "kept".into();
        texts.intern(&mut again);
        assert!(Arc::ptr_eq(&kept, &again));
        let mut held: Vec<Arc<str>> = (0..4 * MIN_SWEEP).map(|number| number.to_string().into()).collect();
        held.iter_mut().for_each(|text| texts.intern(text));
        let all_known = held.iter().all(|text| texts.known.get(text).is_some());
        assert!(all_known, "what is in use stays, however much it is");
    }
}
