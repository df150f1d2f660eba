//! A marked key, token and prompt go through everything there is; afterwards nothing that was written or said holds them.

use std::fs;
use std::path::Path;

use base64::Engine;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use support::http::{self, Request};
use support::lab::{KEY, Lab, SETTINGS};

const PROMPT: &str = "canary-prompt-6d1f0a9be2:47";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_written_or_said_holds_key_token_or_prompt() {
    // Its failures come in a row and on purpose.
    let settings = format!("{SETTINGS}\n[breaker]\nfailures = 1000000\n");
    let mut lab = Lab::with(&settings, &["--scheme", "none"]);
    let mut said = live_a_life(&lab).await;
    said.extend(ask_everything(&lab));
    tokio::task::block_in_place(|| lab.crash_and_restart()).expect("it starts again");
    said.extend(live_a_life(&lab).await);
    said.extend(ask_everything(&lab));
    tokio::task::block_in_place(|| lab.gateway.terminate(std::time::Duration::from_secs(35)));
    let needles: Vec<_> = [KEY, &lab.token, &lab.token["tg-".len()..], PROMPT].into_iter().flat_map(shapes).collect();
    for (where_from, text) in said {
        no_needle(&where_from, text.as_bytes(), &needles);
    }
    let looked_at = scan(lab.home.folder(), &needles);
    assert!(looked_at >= 4, "only {looked_at} files were there to look at");
    eprintln!("{looked_at} files and every answer scanned for {} shapes", needles.len());
}

/// Good calls, refused ones, cut ones; the answers that are not the model's.
async fn live_a_life(lab: &Lab) -> Vec<(String, String)> {
    let mut said = Vec::new();
    let prompts =
        ["", "[[fault cut; after_events=3]]", "[[fault internal]]", "[[fault authentication]]", "[[tool tide]]"];
    for (i, wish) in prompts.iter().enumerate() {
        for stream in [true, false] {
            let body = format!(
                r#"{{"model":"claude-sonnet-4-5","max_tokens":64,"stream":{stream},"messages":[{{"role":"user","content":"{PROMPT} {wish}"}}]}}"#
            );
            if let Ok(answer) = http::call(lab.gateway.address(), &lab.message(body)).await
                && answer.status() != 200
            {
                said.push((format!("answer {i}"), answer.text()));
            }
        }
    }
    let broken =
        [format!("{{\"model\": \"{PROMPT}\""), format!("[\"{PROMPT}\"]"), format!("{{\"messages\":\"{PROMPT}\"}}")];
    for body in broken {
        said.push(("a refused body".into(), lab.call(&lab.message(body)).await.text()));
    }
    let stranger = Request::message(PROMPT).header("x-api-key", &format!("{}x", lab.token));
    said.push(("a wrong token".into(), lab.call(&stranger).await.text()));
    said.push(("health".into(), lab.call(&Request::new("GET", "/readyz")).await.text()));
    said
}

fn ask_everything(lab: &Lab) -> Vec<(String, String)> {
    let commands: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["usage"],
        &["usage", "--by", "client", "--csv"],
        &["calls"],
        &["export", "calls", "--out", "export.csv"],
        &["client", "list"],
        &["doctor"],
        &["verify"],
        &["-v", "status"],
    ];
    commands
        .iter()
        .map(|args| {
            let said = lab.home.tidegate(args);
            (args.join(" "), said.out + &said.err)
        })
        .collect()
}

/// The needle as it is, percent-encoded, in hex, and in base64 wherever it may start.
fn shapes(needle: &str) -> Vec<Vec<u8>> {
    let standard = base64::engine::general_purpose::STANDARD;
    let hex: String = needle.bytes().map(|b| format!("{b:02x}")).collect();
    let encoded = percent_encode(needle.as_bytes(), NON_ALPHANUMERIC).to_string();
    let in_base64 = (0..3).map(|shift| {
        let text = standard.encode([&vec![b' '; shift], needle.as_bytes()].concat());
        // Whole groups that depend on the needle alone.
        let (from, to) = (if shift == 0 { 0 } else { 4 }, (shift + needle.len()) / 3 * 4);
        text[from..to].to_owned()
    });
    [needle.to_owned(), encoded, hex].into_iter().chain(in_base64).map(String::into_bytes).collect()
}

fn scan(folder: &Path, needles: &[Vec<u8>]) -> usize {
    let mut looked_at = 0;
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            looked_at += scan(&path, needles);
        } else if path.file_name().is_some_and(|name| name != "key") {
            no_needle(&path.display().to_string(), &fs::read(&path).unwrap_or_default(), needles);
            looked_at += 1;
        }
    }
    looked_at
}

fn no_needle(place: &str, bytes: &[u8], needles: &[Vec<u8>]) {
    for needle in needles {
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{place} holds {}", String::from_utf8_lossy(needle));
    }
}

#[test]
fn the_scan_finds_what_was_planted() {
    let standard = base64::engine::general_purpose::STANDARD;
    for planted in [format!("x{KEY}y"), standard.encode(format!("ab{KEY}")), standard.encode(format!("a{KEY}zz"))] {
        let found = shapes(KEY).iter().any(|needle| planted.as_bytes().windows(needle.len()).any(|w| w == needle));
        assert!(found, "{planted}");
    }
}
