//! Texts that many objects have in common, held once.
//!
//! Of 100,000 Ingresses most have the same class, path types, paths and Services. Purpose: a source shares them before
//! it hands objects on, and whatever is compiled from them goes on sharing. Not here: what the texts mean.

use std::collections::HashSet;
use std::sync::Arc;

use super::Ingress;
use super::IngressBackend;
use super::PortRef;

/// Texts seen so far. It holds each of them for as long as it lives: one per file that is read, not one for ever.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// Makes an Ingress use the texts of those before it. Names and hosts are left alone: they are its own. So is
    /// all of it that somebody holds already.
    pub fn share(&mut self, ingress: &mut Ingress) {
        self.one(&mut ingress.name.namespace);
        for text in ingress.class.iter_mut().chain(&mut ingress.class_annotation) {
            self.one(text);
        }
        for path in Arc::get_mut(&mut ingress.rules).into_iter().flatten().flat_map(|rule| &mut rule.paths) {
            self.one(&mut path.path);
            path.path_type.iter_mut().for_each(|text| self.one(text));
            self.backend(&mut path.backend);
        }
        ingress.default_backend.iter_mut().for_each(|backend| self.backend(backend));
    }

    fn backend(&mut self, backend: &mut IngressBackend) {
        let IngressBackend::Service { name, port } = backend else { return };
        self.one(name);
        if let PortRef::Name(name) = port {
            self.one(name);
        }
    }

    fn one(&mut self, text: &mut Arc<str>) {
        match self.0.get(&**text) {
            Some(known) => *text = Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(text));
            }
        }
    }
}
