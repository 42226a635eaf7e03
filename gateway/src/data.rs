//! Data plane: one thread for each worker. It takes no lock, resolves no name and spawns no task for a request.

pub mod wire;

pub mod client_network;
pub mod drain;
pub mod idle;
pub mod pressure;

pub mod upstream;

pub mod exchange;

pub mod plugins;

pub mod listener;
