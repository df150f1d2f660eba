//! How close the estimate of a prompt comes, on recorded calls and on a made-up mix.
//!
//! Each call is estimated before anything is learned from it, in the order in which they came;
//! a prompt that came before is learned from again, but not scored.

mod mix;
mod tokenizer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use domain::admission::{Estimate, Estimates, Modes, Shape};
use fastrand::Rng;
use flate2::read::GzDecoder;
use serde_json::Value;

/// A call whose prompt somebody has counted.
struct Counted {
    client: String,
    model: String,
    /// The members that the model reads: two bodies may differ in others and are the same prompt.
    text: String,
    shape: Shape,
    prompt: u64,
    output: u64,
}

/// One estimate, as it turned out.
struct Scored {
    client: String,
    /// Calls of its client before it.
    after: usize,
    guessed: Estimate,
    prompt: u64,
    unseen: bool,
    /// The answer was longer than expected at most.
    longer: bool,
}

impl Scored {
    fn permille(&self) -> u64 {
        self.guessed.likely.abs_diff(self.prompt) * 1_000 / self.prompt
    }
}

fn play(calls: &[Counted]) -> Vec<Scored> {
    let mut estimates = Estimates::fresh();
    let mut calls_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut prompts = BTreeSet::new();
    let mut scored = Vec::new();
    for Counted { client, model, text, shape, prompt, output } in calls {
        let guessed = estimates.input(model, client, shape);
        let longer = *output > estimates.output(model, client, shape, None).high;
        let after = calls_of.entry(client).or_default();
        if prompts.insert((model, text)) {
            let (client, after) = (client.clone(), *after);
            scored.push(Scored {
                client,
                after,
                guessed,
                prompt: *prompt,
                unseen: shape.modes.has(Modes::UNSEEN),
                longer,
            });
        }
        *after += 1;
        estimates.learn(model, client, shape, guessed, *prompt, *output);
    }
    scored
}

fn collection(name: &str) -> Vec<Counted> {
    let folder = std::env::var_os("TIDEGATE_RECORDINGS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cassettes"),
        |file| PathBuf::from(file).parent().expect("a folder").to_owned(),
    );
    let Ok(file) = File::open(folder.join(name)) else { return vec![] };
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.filter_map(|line| counted(&serde_json::from_str(&line.expect("text")).expect("JSON"))).collect()
}

fn counted(exchange: &Value) -> Option<Counted> {
    let (request, response) = (&exchange["request"], &exchange["response"]);
    let path = request["path"].as_str()?;
    let is_call = path == "/v1/messages"
        || path.contains("/model/")
        || path.contains("rawPredict")
        || path.contains("RawPredict");
    let mut body = request["body"].clone();
    if response["status"] != 200 || !is_call || !body["messages"].is_array() {
        return None;
    }
    // Other platforms name the model in the path.
    let model = body["model"].as_str().unwrap_or(path).to_owned();
    body["model"] = model.as_str().into();
    let usage = usage(response);
    let count = |name: &str| usage.get(name).copied().unwrap_or_default();
    let prompt = count("input_tokens") + count("cache_creation_input_tokens") + count("cache_read_input_tokens");
    let body = body.to_string().into_bytes();
    Some(Counted {
        client: exchange["source"]["repo"].as_str()?.to_owned(),
        shape: gateway::shape_of(&body)?,
        model,
        text: read_by_the_model(&exchange["request"]["body"]),
        prompt: Some(prompt).filter(|prompt| *prompt > 0)?,
        output: count("output_tokens"),
    })
}

fn read_by_the_model(body: &Value) -> String {
    ["system", "messages", "tools", "tool_choice", "thinking", "output_config", "output_format", "mcp_servers"]
        .map(|name| body[name].to_string())
        .concat()
}

/// The last word on each count.
fn usage(response: &Value) -> BTreeMap<String, u64> {
    let events = response["sse"].as_str().unwrap_or_default().lines().filter_map(|line| line.strip_prefix("data:"));
    let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let mut said = BTreeMap::new();
    for document in events.chain([response["body"].clone()]) {
        for usage in [&document["usage"], &document["message"]["usage"]] {
            for (name, count) in usage.as_object().into_iter().flatten() {
                said.extend(count.as_u64().map(|count| (name.clone(), count)));
            }
        }
    }
    said
}

/// The calls of a client by how many it made before, and last all of those after its fiftieth.
const SPANS: [(usize, usize); 6] = [(0, 1), (1, 10), (10, 50), (50, 200), (200, usize::MAX), (50, usize::MAX)];

/// Errors in thousandths, smallest first, and how many of a thousand were above what is reserved.
struct Span {
    errors: Vec<u64>,
    exceeded: u64,
}

impl Span {
    fn of<'a>(scored: impl IntoIterator<Item = &'a Scored>, (from, to): (usize, usize)) -> Span {
        let rows: Vec<&Scored> = scored.into_iter().filter(|one| (from..to).contains(&one.after)).collect();
        let mut errors: Vec<u64> = rows.iter().map(|one| one.permille()).collect();
        errors.sort_unstable();
        let exceeded = rows.iter().filter(|one| one.prompt > one.guessed.high).count() * 1_000;
        Span { exceeded: (exceeded / rows.len().max(1)) as u64, errors }
    }

    fn permille(&self, share: usize) -> u64 {
        self.errors.get(self.errors.len() * share / 100).copied().unwrap_or_default()
    }
}

/// How many of a thousand answers were longer than expected at most, once five of its client's had been seen.
fn longer(scored: &[Scored]) -> usize {
    let known: Vec<&Scored> = scored.iter().filter(|one| one.after >= 5).collect();
    known.iter().filter(|one| one.longer).count() * 1_000 / known.len().max(1)
}

fn print(name: &str, scored: &[&Scored]) {
    eprintln!("{name}\n  calls before     scored  median    p90    p95  above high");
    for span in SPANS {
        let of = Span::of(scored.iter().copied(), span);
        if of.errors.is_empty() {
            continue;
        }
        let percent = |permille: u64| format!("{}.{}%", permille / 10, permille % 10);
        let [median, p90, p95] = [50, 90, 95].map(|share| percent(of.permille(share)));
        let to = if span.1 == usize::MAX { String::new() } else { span.1.to_string() };
        let (from, count, above) = (span.0, of.errors.len(), percent(of.exceeded));
        eprintln!("  {from:>5} – {to:<5} {count:>8} {median:>7} {p90:>6} {p95:>6} {above:>11}");
    }
}

const AFTER_50: (usize, usize) = (50, usize::MAX);

/// The collection is one of test suites: hardly two prompts are alike, and many are a dozen tokens long.
#[test]
fn recorded_calls_are_estimated_within_a_few_percent() {
    for name in ["anthropic.jsonl.gz", "bedrock.jsonl.gz", "vertex-anthropic.jsonl.gz"] {
        let scored = play(&collection(name));
        let (unseen, seen): (Vec<&Scored>, Vec<&Scored>) = scored.iter().partition(|one| one.unseen);
        let (large, small): (Vec<&Scored>, Vec<&Scored>) = seen.iter().partition(|one| one.prompt >= 100);
        print(&format!("{name}, whose prompts stand in the body"), &seen);
        print("  of these, 100 tokens and more", &large);
        print("  of these, less than 100 tokens", &small);
        print(&format!("{name}, to which the upstream adds results of its tools or linked files"), &unseen);
        eprintln!("answers longer than expected: {} of 1000", longer(&scored));
        let after = Span::of(seen, AFTER_50);
        assert!(after.permille(50) <= 30 && after.permille(95) <= 220, "{name}");
        assert!(after.exceeded <= 30, "{name}: {} of 1000 above what was reserved", after.exceeded);
    }
}

#[test]
fn a_mix_of_clients_is_estimated_within_three_percent() {
    let (mut rng, mut clients) = (Rng::with_seed(4), mix::clients());
    let calls: Vec<Counted> = (0..260 * clients.len())
        .map(|_| {
            let client = rng.usize(..clients.len());
            clients[client].call(&mut rng)
        })
        .collect();
    let scored = play(&calls);
    for name in clients.iter().map(|client| client.name) {
        let of: Vec<&Scored> = scored.iter().filter(|one| one.client == name).collect();
        print(name, &of);
        let after = Span::of(of, AFTER_50);
        assert!(after.permille(50) <= 50 && after.permille(95) <= 150, "{name}");
    }
    print("all clients", &scored.iter().collect::<Vec<_>>());
    let after = Span::of(&scored, AFTER_50);
    assert!(after.permille(50) <= 30 && after.permille(95) <= 100, "the mix");
    assert!(after.exceeded <= 30, "{} of 1000 above what was reserved", after.exceeded);
    assert!((30..=80).contains(&longer(&scored)), "{} of 1000 answers longer than expected", longer(&scored));
}

/// `cargo test --release -p tests --test sim -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn what_an_estimate_and_a_look_at_a_body_cost() {
    let (mut rng, mut clients) = (Rng::with_seed(4), mix::clients());
    let calls: Vec<Counted> = (0..400).map(|i| clients[i % 8].call(&mut rng)).collect();
    let mut estimates = Estimates::fresh();
    for Counted { client, model, shape, prompt, output, .. } in &calls {
        for client in [client.clone(), format!("{client} 2"), format!("{client} 3"), format!("{client} 4")] {
            estimates.learn(model, &client, shape, estimates.input(model, &client, shape), *prompt, *output);
        }
    }
    let started = Instant::now();
    for Counted { client, model, shape, .. } in calls.iter().cycle().take(100_000) {
        black_box((estimates.input(model, client, shape), estimates.output(model, client, shape, Some(9))));
    }
    eprintln!("an estimate of prompt and answer: {:?}", started.elapsed() / 100_000);
    let words = "A body of plain words, as long as a book. ".repeat((1 << 20) / 42);
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": words}]}).to_string();
    let started = Instant::now();
    for _ in 0..100 {
        black_box(gateway::shape_of(black_box(body.as_bytes())));
    }
    eprintln!("a look at {} bytes: {:?}", body.len(), started.elapsed() / 100);
}
