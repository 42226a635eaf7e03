//! Properties of chains: random filters over random heads.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use http1::{BodyLength, HeadBuilder};
use proptest::prelude::*;

use super::*;
use crate::message::{FieldName, FieldValue, Patch};

/// Names that filters try to write. Some are reserved.
const NAMES: &[&str] = &[
    "x-a",
    "X-B",
    "cookie",
    "server",
    "vary",
    "content-length",
    "Transfer-Encoding",
    "connection",
    "X-Forwarded-For",
    "x_forwarded_for",
    "host",
    "te",
    "upgrade",
    "trailer",
    "keep-alive",
];

/// Result of a random filter for the request.
#[derive(Clone, Copy, Debug)]
enum TestAction {
    Continue,
    Reply,
}

#[derive(Debug)]
struct Random {
    index: usize,
    stage: Stage,
    does: TestAction,
    edits: Vec<(usize, Option<u8>, bool)>,
    /// Indices of the filters whose response half ran.
    responded: Arc<Mutex<Vec<usize>>>,
}

fn edit(patch: &mut Patch, edits: &[(usize, Option<u8>, bool)]) {
    for (name, value, adds) in edits {
        let Ok(name) = FieldName::parse(NAMES[*name]) else { continue };
        match value {
            None => patch.remove(name),
            Some(value) => {
                let value = FieldValue::parse(value.to_string()).unwrap();
                if *adds { patch.add(name, value) } else { patch.set(name, value) }
            }
        }
    }
}

impl Filter for Random {
    fn stage(&self) -> Stage {
        self.stage
    }

    fn phases(&self) -> Phases {
        Phases { request: true, response: true, ..Phases::default() }
    }

    fn request(&self, slot: &mut Slot, head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        slot.word = u32::try_from(self.index).unwrap() + 1;
        edit(head.patch(), &self.edits);
        match self.does {
            TestAction::Continue => Step::Continue,
            TestAction::Reply => Step::Reply(Box::new(LocalReply::new(403, "test"))),
        }
    }

    fn response(&self, slot: &mut Slot, head: &mut ResponseHead<'_>, _cx: &FilterContext<'_>) -> Step {
        assert_eq!(slot.word as usize, self.index + 1, "the slot is the filter's own");
        self.responded.lock().unwrap().push(self.index);
        edit(head.patch(), &self.edits);
        Step::Continue
    }
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![Just(Stage::Redirect), Just(Stage::Cors), Just(Stage::Custom), Just(Stage::Headers)]
}

fn is_protected(name: &[u8]) -> bool {
    api::policy::is_reserved_field(str::from_utf8(name).unwrap())
}

fn context(request: &Head) -> FilterContext<'_> {
    FilterContext {
        scheme: Scheme::Http,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host: "a.example",
        path: "/",
        request,
        is_request_end: true,
        exchange: None,
        facts: None,
    }
}

/// Records the bytes that it gets, and whether the end came with them.
#[derive(Debug)]
struct BodyRecorder(Arc<Mutex<Vec<(usize, bool)>>>);

impl Filter for BodyRecorder {
    fn stage(&self) -> Stage {
        Stage::Custom
    }

    fn phases(&self) -> Phases {
        Phases { request_body: true, ..Phases::default() }
    }

    fn body(&self, _: &mut Slot, _: Direction, data: Bytes, end: Option<BodyEnd>) -> BodyStep {
        self.0.lock().unwrap().push((data.len(), end.is_some()));
        BodyStep::Pass { data, end }
    }
}

#[test]
fn last_bytes_come_with_the_end_if_it_is_known() {
    struct Case {
        name: &'static str,
        declared: BodyLength,
        has_trailers: bool,
        calls: &'static [(usize, bool)],
    }
    let cases = [
        Case {
            name: "declared",
            declared: BodyLength::Exact(5),
            has_trailers: false,
            calls: &[(3, false), (2, true)],
        },
        Case {
            name: "chunked",
            declared: BodyLength::Chunked,
            has_trailers: false,
            calls: &[(3, false), (2, false), (0, true)],
        },
        Case {
            name: "trailers behind a declared length, as in HTTP/2",
            declared: BodyLength::Exact(5),
            has_trailers: true,
            calls: &[(3, false), (2, false), (0, true)],
        },
    ];
    for Case { name, declared, has_trailers, calls } in cases {
        let recorders = [(); 2].map(|()| Arc::new(BodyRecorder(Arc::default())));
        let chain = recorders.iter().map(|recorder| Arc::clone(recorder) as Arc<dyn Filter>).collect();
        let mut progress = Progress::new(Arc::new(Chain::new(chain).unwrap()), declared);
        let head = HeadBuilder::request(b"POST", b"/", 0).build();
        assert!(matches!(progress.request(&context(&head)), Outcome::Pass));
        let end = if has_trailers { BodyEnd::Trailers(Box::new(head.clone())) } else { BodyEnd::Plain };
        let mut pieces = [
            BodyPiece::Data(Bytes::from_static(b"abc")),
            BodyPiece::Data(Bytes::from_static(b"de")),
            BodyPiece::End(end),
        ]
        .into_iter();
        let mut source = |_: &mut Context<'_>| Poll::Ready(Ok::<_, Infallible>(pieces.next().unwrap()));
        let mut passed = Vec::new();
        loop {
            let mut task = Context::from_waker(Waker::noop());
            match progress.poll_piece(Direction::Request, &mut source, &mut task) {
                Poll::Ready(Ok(BodyPiece::Data(data))) => passed.extend_from_slice(&data),
                Poll::Ready(Ok(BodyPiece::End(end))) => {
                    assert_eq!(matches!(end, BodyEnd::Trailers(_)), has_trailers, "{name}");
                    break;
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(passed, b"abcde", "{name}");
        for recorder in recorders {
            assert_eq!(*recorder.0.lock().unwrap(), calls, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn chain_edits_no_protected_field_and_replies_pass_the_reached_filters(
        filters in prop::collection::vec(
            (stage(), prop::bool::weighted(0.15), prop::collection::vec(
                (0..NAMES.len(), prop::option::of(any::<u8>()), any::<bool>()), 0..5)),
            1..8,
        ),
        fields in prop::collection::vec((0..NAMES.len(), any::<u8>()), 0..8),
    ) {
        let responded = Arc::new(Mutex::new(Vec::new()));
        let mut order: Vec<_> = filters.iter().enumerate().map(|(index, (stage, replies, _))| (*stage, index, *replies)).collect();
        order.sort_by_key(|(stage, index, _)| (*stage, *index));
        let chain = filters.iter().enumerate().map(|(index, (stage, replies, edits))| {
            let does = if *replies { TestAction::Reply } else { TestAction::Continue };
            let responded = Arc::clone(&responded);
            Arc::new(Random { index, stage: *stage, does, edits: edits.clone(), responded }) as Arc<dyn Filter>
        });
        let chain = Arc::new(Chain::new(chain.collect()).unwrap());
        let mut head = HeadBuilder::request(b"GET", b"/", fields.len());
        for (name, value) in &fields {
            head.field(NAMES[*name].as_bytes(), value.to_string().as_bytes());
        }
        let head = head.build();
        let cx = context(&head);
        let mut progress = Progress::new(chain, BodyLength::Empty);
        let replied = matches!(progress.request(&cx), Outcome::Reply(_));
        let reached = order.iter().position(|(_, _, replies)| *replies).map_or(order.len(), |at| at + 1);
        prop_assert_eq!(replied, order.iter().any(|(_, _, replies)| *replies));
        if replied {
            progress.begin_local_reply();
            progress.local_reply(&LocalReply::new(403, "test"), &cx);
        } else {
            progress.response(&HeadBuilder::response(200, 0).build(), true, &cx);
        }
        let mut expected: Vec<_> = order.iter().take(reached).map(|(_, index, _)| *index).collect();
        expected.reverse();
        prop_assert_eq!(&*responded.lock().unwrap(), &expected);
        for patch in [progress.request_patch(), progress.response_patch()] {
            for (name, value) in patch.added() {
                prop_assert!(!is_protected(name), "{:?}", str::from_utf8(name));
                prop_assert!(api::policy::is_field_value(value));
            }
            for name in NAMES.iter().filter(|name| is_protected(name.as_bytes())) {
                prop_assert!(!patch.drops(name.as_bytes()), "{}", name);
            }
        }
    }
}
