//! The Ingress conformance suite: cases as data, two drivers, and reports.
//!
//! - [`case`] and [`catalog`]: the format of a case file, and how files are read
//! - [`driver`]: what a run needs from the cluster or gateway under test; [`local`] and [`kubernetes`] implement it
//! - [`runner`]: executes cases through a driver
//! - [`report`]: results as text, JSON, JUnit and YAML

pub mod backends;
pub mod case;
pub mod catalog;
pub mod certificate;
pub mod client;
pub mod driver;
pub mod execution;
pub mod kubernetes;
pub mod load;
pub mod local;
pub mod manifest;
pub mod report;
pub mod runner;
pub mod verdict;
