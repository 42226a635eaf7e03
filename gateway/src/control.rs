//! Control plane: reads objects, compiles them, and publishes the result. Runs on its own runtime; it may allocate
//! and wait.

pub mod source;

pub mod dns;

pub mod certificates;

mod module_file;

pub mod handler;
pub mod plugin;

pub mod reload;

pub mod leader;

pub mod status;
