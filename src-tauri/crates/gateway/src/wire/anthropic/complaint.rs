//! What an error of the Messages API says: its type, its code, its words. A body that is none says nothing.

use domain::admission::Measure;
use domain::routing::measure_named;

use crate::wire::json;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Complaint {
    /// `error.type`.
    pub(crate) kind: Option<Box<str>>,
    /// `error.details.error_code`.
    pub(crate) code: Option<Box<str>>,
    /// `error.message`, its beginning.
    pub(crate) message: Option<Box<str>>,
}

const NAME_CHARS_MAX: usize = 256;
/// Whatever a decision reads stands at the beginning of a message.
const MESSAGE_CHARS_MAX: usize = 2_048;

impl Complaint {
    /// Reads an error envelope: a whole body, or the data of an error event.
    pub(crate) fn read(envelope: &[u8]) -> Complaint {
        let mut complaint = Complaint::default();
        let Some(error) = json::member(envelope, "error") else { return complaint };
        let _ = json::members(error.get().as_bytes(), &["type", "message", "details"], |name, value| match name {
            "type" => complaint.kind = json::text(value).map(|text| cut(&text, NAME_CHARS_MAX)),
            "message" => complaint.message = json::text(value).map(|text| cut(&text, MESSAGE_CHARS_MAX)),
            _ => {
                let details = json::small_value(value);
                complaint.code = details["error_code"].as_str().map(|code| cut(code, NAME_CHARS_MAX));
            }
        });
        complaint
    }

    /// The limit that its words name.
    pub(crate) fn measure(&self) -> Option<Measure> {
        self.message.as_deref().and_then(measure_named)
    }
}

fn cut(text: &str, chars_max: usize) -> Box<str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => text[..end].into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_and_anything_else_says_nothing() {
        let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"50 requests per minute","details":{"error_code":"x"}}}"#;
        let complaint = Complaint::read(body.as_bytes());
        assert_eq!((complaint.kind.as_deref(), complaint.code.as_deref()), (Some("rate_limit_error"), Some("x")));
        assert_eq!(complaint.measure(), Some(Measure::Requests));
        for nothing in
            ["", "<html>", r#"{"error":7}"#, r#"{"error":{"type":7,"details":null}}"#, r#"{"error":{"type":"a""#]
        {
            assert_eq!(Complaint::read(nothing.as_bytes()), Complaint::default(), "{nothing}");
        }
        let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "ü".repeat(100_000));
        assert_eq!(Complaint::read(long.as_bytes()).message.map(|message| message.len()), Some(2 * MESSAGE_CHARS_MAX));
    }
}
