//! What Prometheus reads is the ledger's figures, and Prometheus's own tools have nothing to say against it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::books::{count, nano_dollars};
use support::http::{self, Request};
use support::lab::{Lab, SETTINGS, body};
use support::process;

const PATIENCE: Duration = Duration::from_secs(30);

fn lab() -> Lab {
    Lab::with(&format!("{SETTINGS}\n[metrics]\nenabled = true\n"), &["--scheme", "none"])
}

fn token(lab: &Lab) -> String {
    let token = std::fs::read_to_string(lab.home.data().join("api-token")).expect("the API's token");
    format!("Bearer {}", token.trim())
}

async fn scrape(lab: &Lab) -> String {
    let request = Request::new("GET", "/metrics").header("authorization", &token(lab));
    let answer = http::call(lab.gateway.address(), &request).await.expect("an answer");
    assert_eq!(
        (answer.status(), answer.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    answer.text()
}

/// The sum over all rows of a metric.
fn sum(text: &str, name: &str) -> f64 {
    let rows = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    rows.map(|row| row.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a value")).sum()
}

#[tokio::test]
async fn the_figures_are_the_ledgers_and_only_the_apis_token_reads_them() {
    let lab = lab();
    for turn in 0..6 {
        assert_eq!(lab.call(&lab.message(body(turn % 2 == 0))).await.status(), 200);
    }
    let total = lab.home.books().usage()["total"].clone();
    let text = scrape(&lab).await;
    assert_eq!(sum(&text, "tidegate_calls_total"), count(&total["calls"]) as f64);
    let tokens =
        ["input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens", "output_tokens"];
    let booked: u64 = tokens.iter().map(|name| count(&total[*name])).sum();
    assert_eq!(sum(&text, "tidegate_tokens_total"), booked as f64);
    assert_eq!(sum(&text, "gen_ai_client_token_usage_sum"), booked as f64);
    assert!(text.lines().any(|line| line == "tidegate_failures 0"), "{text}");
    let cost = nano_dollars(&total["cost_usd"]);
    assert_eq!((sum(&text, "tidegate_cost_usd_total") * 1e9).round() as i128, cost);
    assert_eq!(
        (sum(&text, "tidegate_spend_usd") * 1e9 / 3.0).round() as i128,
        cost,
        "today's, the week's and the month's"
    );

    for (method, authorization, expected) in
        [("GET", None, 401), ("GET", Some("Bearer tg-wrong".to_owned()), 401), ("POST", Some(token(&lab)), 400)]
    {
        let request = Request::new(method, "/metrics");
        let request = authorization.iter().fold(request, |request, token| request.header("authorization", token));
        let answer = http::call(lab.gateway.address(), &request).await.expect("an answer");
        assert_eq!(answer.status(), expected, "{method} {authorization:?}: {}", answer.text());
    }
    let off = Lab::start();
    let asked = Request::new("GET", "/metrics").header("authorization", &token(&off));
    assert_eq!(http::call(off.gateway.address(), &asked).await.expect("an answer").status(), 404);
}

/// The programs of Prometheus, where the set-up has put them.
fn prometheus(program: &str) -> Option<Command> {
    let path = PathBuf::from(std::env::var_os("TIDEGATE_PROMETHEUS")?).join(program);
    path.exists().then(|| Command::new(path))
}

#[tokio::test]
async fn a_real_prometheus_takes_them_in_and_promtool_finds_nothing() {
    let (Some(promtool), Some(mut server)) = (prometheus("promtool"), prometheus("prometheus")) else {
        eprintln!("no Prometheus in TIDEGATE_PROMETHEUS: `.ci/setup clients` fetches one; not tried");
        return;
    };
    let lab = lab();
    assert_eq!(lab.call(&lab.message(body(true))).await.status(), 200);
    let mut promtool = promtool;
    promtool.args(["check", "metrics"]);
    let said = process::run(promtool, &scrape(&lab).await);
    assert_eq!((said.code, &*said.out, &*said.err), (Some(0), "", ""));

    let folder = lab.home.path("prometheus");
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: tidegate\n  authorization: {{credentials_file: {}}}\n  static_configs: [{{targets: [{:?}]}}]\n",
        lab.home.data().join("api-token").display(),
        lab.gateway.address()
    );
    std::fs::write(folder.join("prometheus.yml"), config).expect("written");
    let address = free_address();
    server.current_dir(&folder).arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
    server.arg(format!("--web.listen-address={address}"));
    let _server = Running(server.stdout(log(&folder)).stderr(log(&folder)).spawn().expect("it starts"));
    let asked = Request::new("GET", "/api/v1/query?query=sum(tidegate_calls_total)");
    let scraped = Lab::until(PATIENCE, async || {
        let Ok(answer) = http::call(&address, &asked).await else { return false };
        answer.status() == 200 && answer.json()["data"]["result"][0]["value"][1] == "1"
    });
    scraped.await.expect("it scrapes");
}

/// Ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log(folder: &std::path::Path) -> std::fs::File {
    std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log")
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
