//! Guards the shape of the workspace from the text of the tree.
//!
//! Each file holds one kind of rule: `crates` and `modules` the dependency arrows, `shape` sizes and names, `words`
//! the language of comments, `documents` what README and docs point at. The rules are tables at the top of each
//! file; changing one is a decision about DESIGN §2. Not here: what clippy's lint table already checks.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod crates;
mod documents;
mod modules;
mod shape;
mod tokens;
mod tree;
mod words;
