//! Clients of all kinds, and what the upstream would count for their calls.

use base64::Engine;
use fastrand::Rng;
use serde_json::{Value, json};

use super::Counted;
use super::tokenizer::{Generation, tokens};

/// One client: how it makes its next call.
pub(super) struct Client {
    pub(super) name: &'static str,
    model: &'static str,
    generation: Generation,
    /// What the API adds where tools are offered.
    tool_prompt: u64,
    habit: fn(&mut Rng, &mut Memory) -> Value,
    memory: Memory,
}

/// What a client keeps from call to call.
#[derive(Default)]
struct Memory {
    calls: usize,
    conversations: Vec<Vec<Value>>,
    system: String,
    tools: Vec<Value>,
}

pub(super) fn clients() -> Vec<Client> {
    use Generation::{New, Old};
    let client = |name, model, generation, tool_prompt, habit| Client {
        name,
        model,
        generation,
        tool_prompt,
        habit,
        memory: Memory::default(),
    };
    vec![
        client("template, texts of all lengths", "claude-haiku-4-5", Old, 496, extract),
        client("chat, turn by turn", "claude-sonnet-4-6", Old, 497, chat),
        client("agent with tools", "claude-opus-4-8", New, 290, agent),
        client("pictures", "claude-sonnet-5", New, 354, pictures),
        client("Japanese and Russian", "claude-haiku-4-5", Old, 496, translate),
        client("code review", "claude-opus-5", New, 286, review),
        client("changes its habit", "claude-sonnet-4-6", Old, 497, changes),
        client("small questions", "claude-haiku-4-5", Old, 496, questions),
    ]
}

impl Client {
    pub(super) fn call(&mut self, rng: &mut Rng) -> Counted {
        let mut body = (self.habit)(rng, &mut self.memory);
        self.memory.calls += 1;
        body["model"] = self.model.into();
        body["max_tokens"] = 1_024.into();
        let prompt = self.count(&body);
        let bytes = body.to_string().into_bytes();
        Counted {
            client: self.name.to_owned(),
            model: self.model.to_owned(),
            shape: gateway::shape_of(&bytes).expect("a call"),
            text: body.to_string(),
            prompt,
            output: rng.u64(50..400),
        }
    }

    fn count(&self, body: &Value) -> u64 {
        let tools = body["tools"]
            .as_array()
            .map_or(0, |tools| self.tool_prompt + tools.iter().map(|tool| self.of(&tool.to_string())).sum::<u64>());
        let system = body["system"].as_str().map_or(0, |text| self.of(text) + 2);
        let messages: u64 =
            body["messages"].as_array().into_iter().flatten().map(|message| self.message(message)).sum();
        4 + tools + system + messages
    }

    fn message(&self, message: &Value) -> u64 {
        let content = &message["content"];
        let text = content.as_str().map_or(0, |text| self.of(text));
        let blocks: u64 = content.as_array().into_iter().flatten().map(|block| self.block(block)).sum();
        text + blocks + 3
    }

    fn block(&self, block: &Value) -> u64 {
        match block["type"].as_str() {
            Some("tool_use") => 24 + self.of(&block["input"].to_string()),
            Some("tool_result") => 18 + self.of(block["content"].as_str().unwrap_or_default()),
            Some("image") => block["tokens"].as_u64().unwrap_or_default(),
            _ => self.of(block["text"].as_str().unwrap_or_default()),
        }
    }

    fn of(&self, text: &str) -> u64 {
        tokens(text, self.generation)
    }
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn extract(rng: &mut Rng, memory: &mut Memory) -> Value {
    if memory.system.is_empty() {
        memory.system = prose(rng, 700);
    }
    let words = rng.usize(30..1_500);
    json!({"system": memory.system, "messages": [user(prose(rng, words))]})
}

fn chat(rng: &mut Rng, memory: &mut Memory) -> Value {
    let many = memory.conversations.len();
    if many == 0 || rng.u8(..8) == 0 {
        memory.conversations.push(vec![]);
    }
    let place = memory.conversations.len() - 1 - rng.usize(..memory.conversations.len().min(3));
    let conversation = &mut memory.conversations[place];
    if !conversation.is_empty() {
        let words = rng.usize(20..300);
        conversation.push(json!({"role": "assistant", "content": prose(rng, words)}));
    }
    let words = rng.usize(4..60);
    conversation.push(user(prose(rng, words)));
    json!({"messages": conversation})
}

fn agent(rng: &mut Rng, memory: &mut Memory) -> Value {
    if memory.tools.is_empty() {
        memory.system = prose(rng, 2_500);
        memory.tools = (0..12).map(|_| tool(rng)).collect();
    }
    if memory.conversations.len() < 3 || rng.u8(..40) == 0 {
        memory.conversations.push(vec![user(prose(rng, 40))]);
    } else {
        let place = memory.conversations.len() - 1 - rng.usize(..3);
        let result = if rng.bool() { code(rng, 60) } else { table(rng, 15) };
        let said = json!({"type": "text", "text": prose(rng, 20)});
        let used = json!({"type": "tool_use", "id": id(rng), "name": "read_file",
            "input": {"path": name(rng), "from": rng.u32(..900), "pattern": prose(rng, 3)}});
        let result = json!({"type": "tool_result", "tool_use_id": id(rng), "content": result});
        let turn = [json!({"role": "assistant", "content": [said, used]}), user(json!([result]))];
        memory.conversations[place].extend(turn);
        let conversation = memory.conversations.remove(place);
        memory.conversations.push(conversation);
    }
    let last = memory.conversations.last().expect("one");
    json!({"system": memory.system, "tools": memory.tools, "messages": last})
}

/// Sizes whose tokens the vendor's documentation names, for models that see sharply.
const PICTURES: [(u32, u32, u64); 5] =
    [(200, 200, 64), (1_000, 1_000, 1_296), (1_920, 1_080, 2_691), (2_000, 1_500, 3_888), (3_840, 2_160, 4_784)];

fn pictures(rng: &mut Rng, _: &mut Memory) -> Value {
    let images = (0..rng.usize(1..4)).map(|_| {
        let (width, height, tokens) = PICTURES[rng.usize(..PICTURES.len())];
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend(width.to_be_bytes().into_iter().chain(height.to_be_bytes()));
        png.extend((0..rng.usize(500..4_000)).map(|_| rng.u8(..)));
        let data = base64::engine::general_purpose::STANDARD.encode(png);
        json!({"type": "image", "tokens": tokens,
            "source": {"type": "base64", "media_type": "image/png", "data": data}})
    });
    let mut blocks: Vec<Value> = images.collect();
    let words = rng.usize(5..80);
    blocks.push(json!({"type": "text", "text": prose(rng, words)}));
    json!({"system": "Describe what you see, briefly.", "messages": [user(blocks)]})
}

fn translate(rng: &mut Rng, _: &mut Memory) -> Value {
    let length = rng.usize(40..900);
    let text: String = if rng.bool() {
        (0..length).map(|_| char::from_u32(0x4e00 + rng.u32(..900)).expect("an ideograph")).collect()
    } else {
        let word = |rng: &mut Rng| -> String {
            (0..rng.usize(2..11)).map(|_| char::from_u32(0x430 + rng.u32(..32)).expect("a letter")).collect()
        };
        (0..length / 3).map(|_| word(rng) + " ").collect()
    };
    json!({"system": "Translate the text into English. Answer with the translation only.", "messages": [user(text)]})
}

fn review(rng: &mut Rng, memory: &mut Memory) -> Value {
    if memory.system.is_empty() {
        memory.system = prose(rng, 300);
    }
    let lines = rng.usize(20..600);
    json!({"system": memory.system, "messages": [user(code(rng, lines))]})
}

fn changes(rng: &mut Rng, memory: &mut Memory) -> Value {
    if memory.calls < 120 {
        let words = rng.usize(100..900);
        return json!({"messages": [user(prose(rng, words))]});
    }
    let rows = rng.usize(10..120);
    json!({"messages": [user(table(rng, rows))]})
}

fn questions(rng: &mut Rng, _: &mut Memory) -> Value {
    let words = rng.usize(12..40);
    json!({"system": "You answer questions of customers.", "messages": [user(prose(rng, words))]})
}

/// Words as often as they are in a language: a few all the time, most of them hardly ever.
fn prose(rng: &mut Rng, words: usize) -> String {
    let mut text = String::new();
    for i in 0..words {
        let rank = (rng.f64().powi(3) * 4_000.0) as u64;
        let mut word = Rng::with_seed(rank);
        let length = if rank < 60 { word.usize(1..5) } else { word.usize(3..12) };
        let letters = (0..length).map(|_| word.lowercase());
        text.extend(letters);
        text.push_str(match (i % 13, rng.u8(..20)) {
            (12, 0..5) => ".\n\n",
            (12, _) => ". ",
            (_, 0) => ", ",
            _ => " ",
        });
    }
    text
}

fn code(rng: &mut Rng, lines: usize) -> String {
    let line = |rng: &mut Rng| {
        let indent = " ".repeat(4 * rng.usize(..4));
        match rng.u8(..5) {
            0 => format!("{indent}fn {}({}: &{}) -> {} {{\n", name(rng), name(rng), name(rng), name(rng)),
            1 => format!("{indent}let {} = {}.{}({});\n", name(rng), name(rng), name(rng), rng.u32(..5_000)),
            2 => format!("{indent}if {} >= {} && !{} {{ return {}; }}\n", name(rng), name(rng), name(rng), name(rng)),
            3 => format!("{indent}// {}\n", prose(rng, 9).replace('\n', " ")),
            _ => format!("{indent}}}\n"),
        }
    };
    (0..lines).map(|_| line(rng)).collect()
}

fn name(rng: &mut Rng) -> String {
    let words = prose(rng, 2).replace(['.', ',', '\n'], "");
    let mut parts = words.split_whitespace();
    let first = parts.next().unwrap_or("x").to_owned();
    parts.fold(first, |name, part| if rng.bool() { name + "_" + part } else { name + &capital(part) })
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// Long JSON, as tools answer it.
fn table(rng: &mut Rng, rows: usize) -> String {
    let row = |rng: &mut Rng| {
        json!({"id": id(rng), "name": prose(rng, 2), "amount": rng.u32(..100_000), "open": rng.bool(),
            "updated_at": format!("2026-{:02}-{:02}T{:02}:00:00Z", rng.u8(1..13), rng.u8(1..29), rng.u8(..24))})
    };
    Value::Array((0..rows).map(|_| row(rng)).collect()).to_string()
}

fn tool(rng: &mut Rng) -> Value {
    let names: Vec<String> = (0..rng.usize(2..7)).map(|_| name(rng)).collect();
    let fields: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({"type": "string", "description": prose(rng, 12)}))).collect();
    json!({"name": name(rng), "description": prose(rng, 60),
        "input_schema": {"type": "object", "properties": fields, "required": names}})
}

fn id(rng: &mut Rng) -> String {
    (0..24).map(|_| rng.alphanumeric()).collect()
}
