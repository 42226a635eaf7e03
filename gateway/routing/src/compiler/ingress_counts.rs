//! Counts of the Ingresses that are served, and of those that are not.
//!
//! Not here: why an Ingress is not served (`class_index`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Numbers of Ingresses by what this gateway does with them. Prints as one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressCounts {
    /// Served by this gateway, whole or in part.
    pub served: usize,
    /// Of a class of this gateway, but not served because of a mistake. Each has a Problem.
    pub refused: usize,
    /// Without a class. No controller serves them, unless it takes all.
    pub without_class: usize,
    /// Of other classes, by class.
    pub other_classes: BTreeMap<Arc<str>, usize>,
    /// Name of the default class of the cluster. The API server writes it into new Ingresses only.
    pub default_class: Option<Arc<str>>,
}

/// What this gateway does with an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IngressStanding {
    Served,
    Refused,
    WithoutClass,
    OtherClass(Arc<str>),
}

impl IngressCounts {
    /// Returns the number of Ingresses of other classes.
    pub fn of_other_classes(&self) -> usize {
        self.other_classes.values().sum()
    }

    /// Returns the number of all Ingresses.
    pub fn total(&self) -> usize {
        self.served + self.refused + self.without_class + self.of_other_classes()
    }

    pub(super) fn add(&mut self, standing: &IngressStanding) {
        match standing {
            IngressStanding::Served => self.served += 1,
            IngressStanding::Refused => self.refused += 1,
            IngressStanding::WithoutClass => self.without_class += 1,
            IngressStanding::OtherClass(class) => {
                *self.other_classes.entry(Arc::clone(class)).or_default() += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, standing: &IngressStanding) {
        let less = |count: &mut usize| *count = count.saturating_sub(1);
        match standing {
            IngressStanding::Served => less(&mut self.served),
            IngressStanding::Refused => less(&mut self.refused),
            IngressStanding::WithoutClass => less(&mut self.without_class),
            IngressStanding::OtherClass(class) => {
                let Some(count) = self.other_classes.get_mut(class) else { return };
                less(count);
                if *count == 0 {
                    self.other_classes.remove(class);
                }
            }
        }
    }
}

impl fmt::Display for IngressCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.served == 1 { "" } else { "es" };
        write!(f, "{} Ingress{plural} served", self.served)?;
        if self.refused > 0 {
            write!(f, ", {} refused", self.refused)?;
        }
        if !self.other_classes.is_empty() {
            let classes: Vec<_> =
                self.other_classes.iter().map(|(class, count)| format!("{class} {count}")).collect();
            write!(f, ", {} of other classes ({})", self.of_other_classes(), classes.join(", "))?;
        }
        if self.without_class > 0 {
            write!(f, ", {} without a class", self.without_class)?;
            match &self.default_class {
                Some(class) => write!(f, " (written before {class} became the default)")?,
                None => write!(f, " (no IngressClass is the default)")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_down_and_print() {
        let mut counts = IngressCounts::default();
        let all = [
            IngressStanding::Served,
            IngressStanding::Refused,
            IngressStanding::WithoutClass,
            IngressStanding::OtherClass("nginx".into()),
            IngressStanding::OtherClass("nginx".into()),
            IngressStanding::OtherClass("kong".into()),
        ];
        all.iter().for_each(|standing| counts.add(standing));
        assert_eq!(counts.total(), 6);
        assert_eq!(
            counts.to_string(),
            "1 Ingress served, 1 refused, 3 of other classes (kong 1, nginx 2), 1 without a class (no IngressClass is \
             the default)"
        );
        all.iter().for_each(|standing| counts.remove(standing));
        assert_eq!((counts.total(), counts.to_string()), (0, "0 Ingresses served".to_owned()));
    }
}
