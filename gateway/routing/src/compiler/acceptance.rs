//! Decides whether an Ingress is served: by its class, then by its annotations.
//!
//! Not here: its rules (`translate`).

use std::sync::Arc;

use super::annotations;
use super::annotations::AnnotationEffect;
use super::annotations::AnnotationRules;
use super::class_index::ClassIndex;
use super::class_index::ClassMatch;
use super::class_index::ClassParameters;
use super::ingress_counts::IngressStanding;
use crate::object::Ingress;
use crate::problem::Problem;

/// Whether an Ingress is served, and the Problems found on the way.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) standing: IngressStanding,
    /// The parameters of its class. `None` if it is not served.
    pub(super) parameters: Option<Arc<ClassParameters>>,
    /// Whether all its paths get a 503.
    pub(super) is_closed: bool,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn accept(classes: &ClassIndex, ingress: &Ingress) -> Acceptance {
    let mut problems: Vec<_> = classes.annotation_note(ingress).into_iter().collect();
    let parameters = match classes.match_ingress(ingress) {
        ClassMatch::Served(parameters) => parameters,
        ClassMatch::Rejected(problem) => {
            problems.push(*problem);
            return unserved(IngressStanding::Refused, problems);
        }
        ClassMatch::Foreign => {
            let class = ingress.class_name().cloned();
            let standing = class.map_or(IngressStanding::WithoutClass, IngressStanding::OtherClass);
            return unserved(standing, problems);
        }
    };
    let rules = AnnotationRules {
        foreign: parameters.foreign_annotations,
        config: &parameters.config,
        handler: parameters.handler.as_ref().map(|handler| &handler.definition),
    };
    let report = annotations::judge(ingress, rules);
    problems.extend(report.problems);
    if report.effect == AnnotationEffect::LeftOut {
        return unserved(IngressStanding::Refused, problems);
    }
    let is_closed = report.effect == AnnotationEffect::Closed;
    Acceptance { standing: IngressStanding::Served, parameters: Some(parameters), is_closed, problems }
}

fn unserved(standing: IngressStanding, problems: Vec<Problem>) -> Acceptance {
    Acceptance { standing, parameters: None, is_closed: false, problems }
}
