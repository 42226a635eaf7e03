//! A view of a stream that records what the guest does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use plugin_host::Direction;
use plugin_host::EditError;
use plugin_host::EditOutcome;
use plugin_host::HttpView;
use plugin_host::MapEdit;
use plugin_host::MapKind;
use plugin_host::PropertyValue;

type TestFields = Vec<(Vec<u8>, Vec<u8>)>;

/// A stream with a request head. `content-length` cannot be edited, values with a line feed are malformed.
pub(crate) struct TestView {
    pub(crate) request: TestFields,
    pub(crate) response: Option<TestFields>,
    pub(crate) bodies: [Option<Vec<u8>>; 2],
    pub(crate) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Number of ignored edits.
    pub(crate) ignored: usize,
    /// Counts the views that exist.
    #[expect(dead_code, reason = "it counts references")]
    pub(crate) alive: Arc<()>,
}

impl Default for TestView {
    fn default() -> Self {
        let fields = [
            (":method", "GET"),
            (":path", "/a?b"),
            (":authority", "x.example"),
            ("a", "1"),
            ("a", "2"),
            ("empty", ""),
        ];
        Self {
            request: fields.map(|(name, value)| (name.into(), value.into())).into(),
            response: None,
            bodies: [None, None],
            properties: BTreeMap::new(),
            ignored: 0,
            alive: Arc::default(),
        }
    }
}

impl TestView {
    /// Returns the property of this name that the guest set.
    pub(crate) fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// Returns the status that the guest reported.
    pub(crate) fn status(&self) -> Option<u32> {
        Some(u32::from_le_bytes(self.property("status")?.try_into().unwrap()))
    }

    /// Returns a map as text, for comparisons.
    pub(crate) fn text(&self, map: MapKind) -> String {
        let mut text = String::new();
        self.for_each_field(map, &mut |name, value| {
            text += &format!("{}={};", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        });
        text
    }

    fn map(&self, map: MapKind) -> Option<&TestFields> {
        match map {
            MapKind::RequestHeaders => Some(&self.request),
            MapKind::ResponseHeaders => self.response.as_ref(),
            MapKind::RequestTrailers | MapKind::ResponseTrailers => None,
        }
    }
}

impl HttpView for TestView {
    fn for_each_field(&self, map: MapKind, on_field: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        let fields = self.map(map);
        for (name, value) in fields.into_iter().flatten() {
            on_field(name, value);
        }
        fields.is_some()
    }

    fn field(&self, map: MapKind, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut fields = self.map(map)?.iter();
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| Cow::Borrowed(&**value))
    }

    fn edit(&mut self, map: MapKind, edit: MapEdit<'_>) -> Result<EditOutcome, EditError> {
        let fields = match map {
            MapKind::RequestHeaders => &mut self.request,
            MapKind::ResponseHeaders => self.response.as_mut().ok_or(EditError::Unavailable)?,
            MapKind::RequestTrailers | MapKind::ResponseTrailers => return Err(EditError::Unavailable),
        };
        match edit {
            MapEdit::Set { name, .. } | MapEdit::Add { name, .. } | MapEdit::Remove { name }
                if name.eq_ignore_ascii_case(b"content-length") =>
            {
                self.ignored += 1;
                return Ok(EditOutcome::Ignored);
            }
            MapEdit::Set { value, .. } | MapEdit::Add { value, .. } if value.contains(&b'\n') => {
                return Err(EditError::Malformed);
            }
            MapEdit::Set { name, value } => {
                fields.retain(|(known, _)| known != name);
                fields.push((name.into(), value.into()));
            }
            MapEdit::Add { name, value } => fields.push((name.into(), value.into())),
            MapEdit::Remove { name } => fields.retain(|(known, _)| known != name),
            MapEdit::ReplaceAll(pairs) => {
                *fields = pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            }
        }
        Ok(EditOutcome::Applied)
    }

    fn body(&self, direction: Direction) -> Option<&[u8]> {
        self.bodies[direction as usize].as_deref()
    }

    fn edit_body(
        &mut self,
        direction: Direction,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), EditError> {
        let body = self.bodies[direction as usize].as_mut().ok_or(EditError::Unavailable)?;
        let start = start.min(body.len());
        let end = start.saturating_add(size).min(body.len());
        body.splice(start..end, data.iter().copied());
        Ok(())
    }

    fn property(&self, path: &[u8]) -> Option<PropertyValue<'_>> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(7);
        Some(match path {
            b"request\0path" => PropertyValue::Bytes(Cow::Borrowed(b"/a?b")),
            b"request\0size" => PropertyValue::Int(-2),
            b"connection\0mtls" => PropertyValue::Bool(true),
            b"request\0duration" => PropertyValue::Duration(Duration::from_micros(3)),
            b"request\0time" => PropertyValue::Time(time),
            b"request\0headers" => PropertyValue::Map(vec![(b"a".into(), b"1".into())]),
            _ => PropertyValue::Bytes(self.properties.get(path)?.into()),
        })
    }

    fn set_property(&mut self, path: &[u8], value: &[u8]) -> bool {
        let is_own = path != b"route_name";
        if is_own {
            self.properties.insert(path.into(), value.into());
        }
        is_own
    }

    fn route(&self) -> &str {
        "shop/web /a"
    }
}
