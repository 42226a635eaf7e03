//! HTTP/2 connections, over the `h2` crate.
//!
//! Streams, header lists, fields, resets, idle and stalled connections are all limited.

mod connection;
mod frames;
mod head;
mod io;
mod send_queue;
mod stream;
mod stream_reader;
mod stream_writer;

pub(super) use connection::serve;
