//! Tables of calls of host functions.

use plugin_host::CallError;
use plugin_host::Event;
use plugin_host::RootIndex;
use plugin_host::TrapKind;

use super::Guest;
use super::TestView;
use super::start;

/// A call of a host function in `proxy_on_request_headers`, and its effect. Strings of `data` are at address 1024 and
/// further multiples of it. Slots for results are at 264 and 268.
pub(crate) struct Row {
    pub(crate) about: &'static str,
    pub(crate) call: &'static str,
    pub(crate) data: &'static [&'static str],
    pub(crate) expect: Expect,
}

/// The effect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// This status.
    Status(u32),
    /// Status 0 and these bytes.
    Data(&'static [u8]),
    /// Status 0 and this number.
    Number(u64),
    Trap(TrapKind),
}

impl Row {
    pub(crate) const fn new(about: &'static str, call: &'static str, expect: Expect) -> Self {
        Self { about, call, data: &[], expect }
    }

    pub(crate) const fn data(mut self, data: &'static [&'static str]) -> Self {
        self.data = data;
        self
    }

    /// Returns the guest that makes the call.
    fn guest(&self) -> Guest {
        let arguments: String = self.call.split(' ').skip(1).map(constant).collect();
        let function = self.call.split(' ').next().unwrap();
        let mut items = format!(
            "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
               (call $report_status (call ${function} {arguments}))
               {} (i32.const 0))",
            match self.expect {
                Expect::Data(_) => "(call $report_data)",
                Expect::Number(_) => "(call $report_number)",
                Expect::Status(_) | Expect::Trap(_) => "",
            }
        );
        for (at, text) in self.data.iter().enumerate() {
            items += &format!("(data (i32.const {}) \"{text}\")", 1024 * (at + 1));
        }
        Guest::new(&items)
    }
}

/// Returns an argument. Those that end in `L` are 64 bits wide.
fn constant(argument: &str) -> String {
    match argument.strip_suffix('L') {
        Some(number) => format!("(i64.const {number})"),
        None => format!("(i32.const {argument})"),
    }
}

/// Makes each call on a stream and checks its effect. Returns the views.
pub(crate) fn run_rows(rows: &[Row], view: impl Fn() -> TestView) -> Vec<TestView> {
    let mut views = Vec::new();
    for row in rows {
        let mut instance = start(&row.guest());
        let stream = instance.open(RootIndex(0), view()).ok().unwrap();
        let result = instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true });
        let found = match result {
            Ok(_) => {
                let view = instance.view(stream).unwrap();
                match row.expect {
                    Expect::Data(_) if view.status() == Some(0) => {
                        Expect::Data(view.property("data").unwrap_or_default().to_vec().leak())
                    }
                    Expect::Number(_) if view.status() == Some(0) => Expect::Number(u64::from_le_bytes(
                        view.property("number").unwrap().try_into().unwrap(),
                    )),
                    _ => Expect::Status(view.status().unwrap()),
                }
            }
            Err(CallError::Trapped(report)) => Expect::Trap(report.kind),
            Err(error) => panic!("{}: {error}", row.about),
        };
        assert_eq!(found, row.expect, "{}: {}", row.about, row.call);
        if let Some(view) = instance.view_mut(stream) {
            views.push(std::mem::take(view));
        }
    }
    views
}
