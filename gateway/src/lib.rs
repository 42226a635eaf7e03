//! The gateway as a library. `main.rs` only parses the command line.
//!
//! Objects enter through [`control`], become one [`live::Live`] value, and [`data`] serves requests from it.
//! [`observe`] counts and logs, [`cli`] holds the commands and connects the parts. `ARCHITECTURE.md` has the picture.

pub mod settings;

pub mod message;

pub mod filter;

pub mod plan;

pub mod live;

pub mod observe;

pub mod control;

pub mod data;

pub mod cli;
