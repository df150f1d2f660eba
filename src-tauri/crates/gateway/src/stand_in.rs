//! The answer of last resort: a text that the settings name, as the Messages API would say it.

use bytes::Bytes;
use domain::call::Call;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;

use crate::holding::Begun;

/// Its name where an upstream's would stand.
pub(crate) const NAME: &str = "static";

pub(crate) fn answer(call: &Call, text: &str) -> Begun {
    let (kind, body) = if call.stream {
        ("text/event-stream; charset=utf-8", events(call, text))
    } else {
        ("application/json", message(call, text))
    };
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::try_from(call.id.to_string()) {
        headers.insert("request-id", id);
    }
    Begun::whole(Some(NAME.into()), response.into_parts().0, Bytes::from(body))
}

fn message(call: &Call, text: &str) -> String {
    let mut message = empty_message(call);
    message["content"] = json!([{ "type": "text", "text": text }]);
    message["stop_reason"] = "end_turn".into();
    message.to_string()
}

fn events(call: &Call, text: &str) -> String {
    let usage = json!({ "output_tokens": 0 });
    [
        json!({ "type": "message_start", "message": empty_message(call) }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": usage }),
        json!({ "type": "message_stop" }),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
    .collect()
}

/// No model has said it and nothing was used.
fn empty_message(call: &Call) -> serde_json::Value {
    json!({
        "id": format!("msg_{}", call.id),
        "type": "message",
        "role": "assistant",
        "model": &*call.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": { "input_tokens": 0, "output_tokens": 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use domain::call::{Attribution, CallId, Class};
    use domain::time::Timestamp;
    use domain::usage::Usage;

    fn call(stream: bool) -> Call {
        let (id, started_at) = (CallId::new(Timestamp::default(), 1), Timestamp::default());
        let (who, model) = (Attribution::default(), "claude-x".into());
        Call { id, started_at, class: Class::Critical, who, model, max_tokens: None, stream, body_bytes: 0 }
    }

    #[test]
    fn it_is_a_whole_answer_in_either_form_and_uses_nothing() {
        for stream in [false, true] {
            let begun = answer(&call(stream), "Busy; \"a person\" will answer.");
            let mut meter = Meter::for_answer(begun.headers());
            meter.feed(&begun.read[0]);
            meter.finish();
            assert!(meter.tally().whole_known, "{stream}");
            assert_eq!(meter.tally().settled(&Usage::default(), None), (Usage::default(), false));
            assert!(String::from_utf8_lossy(&begun.read[0]).contains(r#""text":"Busy; \"a person\" will answer.""#));
        }
    }
}
