//! A root context: one configuration of the plugin.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use crate::config;
use crate::current_host::host;
use crate::error::Error;
use crate::executor;
use crate::host::BufferKind;
use crate::host::Level;
use crate::host::optional;
use crate::plugin::Plugin;
use crate::plugin::RootContext;

/// What a future of a root context runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Job {
    Start,
    Tick,
}

type RootFuture = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// A root context.
pub(super) struct Root<P> {
    plugin: RefCell<Option<Rc<P>>>,
    futures: RefCell<Vec<(Job, RootFuture)>>,
}

impl<P: Plugin> Root<P> {
    pub(super) fn new() -> Self {
        Self { plugin: RefCell::new(None), futures: RefCell::new(Vec::new()) }
    }

    /// Returns the plugin, if its configuration is valid.
    pub(super) fn plugin(&self) -> Option<Rc<P>> {
        self.plugin.borrow().clone()
    }

    /// Reads the configuration and creates the plugin. Returns false if it is not valid; the previous plugin stays then.
    pub(super) fn configure(&self, context: u32, size: usize) -> bool {
        let created = optional(host().buffer_bytes(BufferKind::PluginConfiguration, 0, size))
            .map_err(Error::from)
            .and_then(|text| config::parse(&text.unwrap_or_default()))
            .and_then(|settings| P::new(settings, &RootContext::new()));
        match created {
            Ok(plugin) => {
                let plugin = Rc::new(plugin);
                let previous = self.plugin.replace(Some(Rc::clone(&plugin)));
                drop(previous);
                if P::CALLBACKS.on_start {
                    self.add(context, Job::Start, Box::pin(async move { plugin.on_start().await }));
                }
                true
            }
            Err(error) => {
                log("new", &error);
                false
            }
        }
    }

    /// Starts the handler of ticks, unless the previous one still waits.
    pub(super) fn tick(&self, context: u32) {
        let is_running = self.futures.borrow().iter().any(|(job, _)| *job == Job::Tick);
        if let Some(plugin) = self.plugin().filter(|_| !is_running) {
            self.add(context, Job::Tick, Box::pin(async move { plugin.on_tick().await }));
        }
    }

    fn add(&self, context: u32, job: Job, future: RootFuture) {
        self.futures.borrow_mut().push((job, future));
        self.run(context);
    }

    /// Polls all futures.
    pub(super) fn run(&self, context: u32) {
        executor::clear_ready(context, P::CALLBACKS.waits);
        let waker = executor::waker(context, P::CALLBACKS.waits);
        let mut waiting = Vec::new();
        for (job, mut future) in self.futures.take() {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => waiting.push((job, future)),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    log(if job == Job::Start { "on_start" } else { "on_tick" }, &error)
                }
            }
        }
        self.futures.borrow_mut().append(&mut waiting);
    }
}

/// Logs the error of a handler.
pub(super) fn log(handler: &str, error: &Error) {
    // A line that the host refuses is lost: there is no other place for it.
    let _ = host().log(Level::Error, &[handler, ": ", &error.to_string()].concat());
}
