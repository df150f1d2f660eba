//! A text that was cut goes on where it broke off, once, for a caller who asked for that with `x-tidegate-continue: on`.
//!
//! The upstream gets the same request again with the words so far as the beginning of its answer; what it adds is
//! joined to the client's stream. Where the model takes no such beginning, or the answer was more than text, the cut stays.

use std::sync::Arc;

use bytes::Bytes;
use domain::config::Client;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::BoxFuture;
use crate::entry::OpenEntry;
use crate::holding::Begun;
use crate::pipeline::{Pipeline, Sent};
use crate::stand_in;
use crate::wire::anthropic;
use crate::wire::json;
use crate::wire::sse::{Event, Sse};

/// Held beside an answer that may be continued.
pub(crate) struct Continuing {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) client: Client,
    pub(crate) request: HeaderMap,
    pub(crate) sent: Sent,
    said: Said,
    sse: Sse,
    /// The beginning of an event, kept from the client until the rest of it is here.
    begun: Vec<u8>,
}

/// What becomes of a call that goes on.
pub(crate) type GoesOn = BoxFuture<(OpenEntry, Option<Begun>)>;

const HEADER: &str = "x-tidegate-continue";
/// More is not sent as a beginning.
const TEXT_BYTES_MAX: usize = 1 << 20;

pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(HEADER).is_some_and(|value| value.as_bytes() == b"on")
}

impl Continuing {
    pub(crate) fn of(pipeline: Arc<Pipeline>, client: &Client, request: HeaderMap, sent: Sent) -> Continuing {
        let (said, sse, begun) = (Said::default(), Sse::default(), Vec::new());
        Continuing { pipeline, client: client.clone(), request, sent, said, sse, begun }
    }

    /// More of the answer has passed.
    pub(crate) fn hears(&mut self, piece: &[u8]) {
        let said = &mut self.said;
        let fits = self.sse.feed(piece, |event| said.event(&event)).is_ok();
        said.is_more_than_text |= !fits;
    }

    /// Of what has come, the whole events, which end at `end` of this piece.
    pub(crate) fn whole_events(&mut self, piece: &Bytes, end: usize) -> Bytes {
        if self.begun.is_empty() && end == piece.len() {
            return piece.clone();
        }
        let mut whole = Vec::new();
        if end > 0 {
            whole = std::mem::take(&mut self.begun);
            whole.extend_from_slice(&piece[..end]);
        }
        self.begun.extend_from_slice(&piece[end..]);
        whole.into()
    }

    /// What was kept of an event that is whole only now.
    pub(crate) fn begun(self) -> Vec<u8> {
        self.begun
    }

    /// Asks for the rest. Gives the entry back where nobody can continue this.
    pub(crate) fn go_on(self, mut entry: OpenEntry, output: u64) -> Result<(GoesOn, Splice), Box<OpenEntry>> {
        let Continuing { pipeline, client, request, sent, said, .. } = self;
        let text = said.text.trim_end();
        let Some(body) = said.is_continuable().then(|| with_beginning(sent.body(), text)).flatten() else {
            return Err(Box::new(entry));
        };
        let splice = Splice::after(&said, output);
        entry.continues();
        let sent = sent.with(body);
        let going_on = async move {
            let answer = pipeline.ask(&mut entry, &client, &request, &sent).await;
            (entry, answer.ok().filter(is_a_stream_of_a_model))
        };
        Ok((Box::pin(going_on), splice))
    }
}

fn is_a_stream_of_a_model(answer: &Begun) -> bool {
    let is_ours = answer.from.as_deref() == Some(stand_in::NAME);
    answer.head.status.is_success() && anthropic::is_event_stream(answer.headers()) && !is_ours
}

/// What an answer has said so far.
#[derive(Default)]
struct Said {
    text: String,
    /// The index of the latest block, and whether it is still open.
    block: Option<(u64, bool)>,
    is_more_than_text: bool,
}

impl Said {
    fn event(&mut self, event: &Event<'_>) {
        let Ok(data) = serde_json::from_slice::<Value>(event.data) else {
            self.is_more_than_text = true;
            return;
        };
        match data["type"].as_str() {
            Some("content_block_start") => {
                self.block = data["index"].as_u64().map(|index| (index, true));
                self.is_more_than_text |= data["content_block"]["type"] != "text";
                self.text.push_str(data["content_block"]["text"].as_str().unwrap_or_default());
            }
            Some("content_block_delta") => match data["delta"]["text"].as_str() {
                Some(text) => self.text.push_str(text),
                None => self.is_more_than_text = true,
            },
            Some("content_block_stop") => self.block = self.block.map(|(index, _)| (index, false)),
            Some("message_delta" | "message_stop" | "error") => self.is_more_than_text = true,
            _ => {}
        }
        self.is_more_than_text |= self.text.len() > TEXT_BYTES_MAX;
    }

    fn is_continuable(&self) -> bool {
        !self.is_more_than_text && !self.text.trim().is_empty()
    }
}

/// The request with `text` as the beginning of the answer; `None` where its messages end with an answer already.
fn with_beginning(body: &[u8], text: &str) -> Option<Bytes> {
    let messages = json::member(body, "messages")?.get();
    let last = serde_json::from_str::<Vec<Role>>(messages).ok()?.pop()?;
    if last.role != "user" {
        return None;
    }
    let end = messages.as_ptr() as usize - body.as_ptr() as usize + messages.len() - 1;
    let beginning = json!({ "role": "assistant", "content": text });
    Some([&body[..end], b",", beginning.to_string().as_bytes(), &body[end..]].concat().into())
}

#[derive(serde::Deserialize)]
struct Role {
    #[serde(default)]
    role: String,
}

/// Joins the events of the rest to a stream that has begun.
pub(crate) struct Splice {
    sse: Sse,
    /// Added to the index of each block.
    offset: u64,
    /// The client's last block is open: the rest's first goes on in it.
    is_open: bool,
    /// White space at the end of the words so far, which the beginning left out and the rest may say again.
    owed: String,
    /// Of the words so far, in tokens.
    output: u64,
}

/// Of the rest, as the client gets it: up to its last event, and that.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Joined {
    pub(crate) before: Vec<u8>,
    pub(crate) last: Vec<u8>,
}

impl Splice {
    fn after(said: &Said, output: u64) -> Splice {
        let (offset, is_open) =
            said.block.map_or((0, false), |(index, open)| (if open { index } else { index + 1 }, open));
        let owed = said.text[said.text.trim_end().len()..].to_owned();
        Splice { sse: Sse::default(), offset, is_open, owed, output }
    }

    pub(crate) fn join(&mut self, piece: &[u8]) -> Joined {
        let Splice { sse, offset, is_open, owed, output } = self;
        let mut joined = Joined::default();
        let each = |event: Event<'_>| {
            let Ok(mut data) = serde_json::from_slice::<Value>(event.data) else { return };
            let kind = data["type"].as_str().unwrap_or_default().to_owned();
            match kind.as_str() {
                "message_start" => return,
                "content_block_start" if std::mem::take(is_open) => return,
                "content_block_delta" => {
                    if let Some(text) = data["delta"]["text"].as_str().filter(|_| !owed.is_empty()) {
                        data["delta"]["text"] = unsaid(std::mem::take(owed), text).into();
                    }
                }
                "message_delta" => {
                    if let Some(own) = data["usage"]["output_tokens"].as_u64() {
                        data["usage"]["output_tokens"] = own.saturating_add(*output).into();
                    }
                }
                _ => {}
            }
            if let Some(index) = data["index"].as_u64() {
                data["index"] = index.saturating_add(*offset).into();
            }
            let text = format!("event: {kind}\ndata: {data}\n\n");
            let out =
                if matches!(kind.as_str(), "message_stop" | "error") { &mut joined.last } else { &mut joined.before };
            out.extend_from_slice(text.as_bytes());
        };
        // What is too long for us is left out of a text: nothing of it is.
        let _ = sse.feed(piece, each);
        joined
    }
}

/// What `text` says beyond the white space that was said before.
fn unsaid(owed: String, text: &str) -> String {
    let again = owed.chars().zip(text.chars()).take_while(|(said, says)| said == says).map(|(_, says)| says.len_utf8());
    text[again.sum::<usize>()..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(events: &[&str]) -> Said {
        let mut said = Said::default();
        for data in events {
            said.event(&Event { name: b"", data: data.as_bytes(), starts: 0 });
        }
        said
    }

    const BLOCK: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    const WORDS: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"High "}}"#;

    #[test]
    fn only_text_is_continued() {
        assert!(said(&[BLOCK, WORDS]).is_continuable());
        for more in [
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"x"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            "nonsense",
        ] {
            assert!(!said(&[BLOCK, WORDS, more]).is_continuable(), "{more}");
        }
        assert!(!said(&[BLOCK]).is_continuable(), "nothing was said");
    }

    #[test]
    fn the_words_so_far_become_the_beginning_of_the_answer() {
        let body = r#"{"model":"m", "messages": [ {"role":"user","content":"x"} ] ,"stream":true}"#;
        let with = with_beginning(body.as_bytes(), "a \"b\"").expect("it ends with a question");
        let expected = r#"{"model":"m", "messages": [ {"role":"user","content":"x"} ,{"content":"a \"b\"","role":"assistant"}] ,"stream":true}"#;
        assert_eq!(String::from_utf8_lossy(&with), expected);
        for not in [r#"{"messages":[]}"#, r#"{"messages":[{"role":"assistant"}]}"#, "{}", r#"{"messages":7}"#] {
            assert_eq!(with_beginning(not.as_bytes(), "a"), None, "{not}");
        }
    }

    #[test]
    fn the_rest_is_joined_without_a_seam() {
        let mut splice = Splice::after(&said(&[BLOCK, WORDS]), 5);
        let rest = "event: message_start\ndata: {\"type\":\"message_start\"}\n\n\
            event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0}\n\n\
            event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\" water\"}}\n\n\
            event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
            event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":2}}\n\n\
            event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        let mut joined = Joined::default();
        for byte in rest.as_bytes() {
            let more = splice.join(&[*byte]);
            joined.before.extend(more.before);
            joined.last.extend(more.last);
        }
        let text = String::from_utf8(joined.before).expect("text");
        assert!(!text.contains("message_start") && !text.contains("content_block_start"), "{text}");
        assert!(text.contains(r#""text":"water""#) && text.contains(r#""output_tokens":7"#), "{text}");
        assert_eq!(joined.last, b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}
