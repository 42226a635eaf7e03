//! Data plane: one thread per worker. No locks, no name resolution, no task per request.

pub mod wire;

pub mod upstream;

pub mod exchange;

pub mod listener;
