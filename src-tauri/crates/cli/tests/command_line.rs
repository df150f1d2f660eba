//! The binary as a person and a script use it: what is printed where, exit codes, and one clear sentence for what goes wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const SIMULATED: &str =
    "[gateway]\nlisten = \"127.0.0.1:0\"\ntimezone = \"UTC\"\n\n[[upstream]]\nname = \"sim\"\nkind = \"simulator\"\n";

/// A data folder and a settings file of its own.
struct Home(TempDir);

impl Home {
    fn with(settings: &str) -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        fs::write(home.path("settings.toml"), settings).expect("written");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["--data-dir".as_ref(), self.path("data").as_os_str()]);
        command.args(["--settings".as_ref(), self.path("settings.toml").as_os_str()]);
        command.args(line.split_whitespace());
        // No keychain, no home of the developer's.
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("HOME", self.0.path());
        command.env_remove("CLAUDE_CONFIG_DIR");
        command
    }

    fn run(&self, line: &str) -> Said {
        self.command(line).stdin(Stdio::null()).output().expect("it starts").into()
    }

    fn json(&self, line: &str) -> serde_json::Value {
        let said = self.run(line);
        assert_eq!(said.code, 0, "{line}: {said:?}");
        serde_json::from_str(&said.out).expect("one JSON document")
    }
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code().expect("it exits"), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A server; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("first line: {line:?}"));
        Server { address: address.to_owned(), child }
    }

    /// Status and body of one request.
    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        self.try_request(method, path, headers, body).expect("an answer")
    }

    fn try_request(&self, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n",
            self.address
        );
        stream.write_all((head + body).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        status.zip(body).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    /// It takes no more calls: it ends.
    fn is_draining(&self) -> bool {
        self.try_request("GET", "/readyz", "", "").map_or(true, |(status, _)| status != 200)
    }

    fn message(&self, token: &str) -> (u16, String) {
        self.long_message(token, 16)
    }

    fn long_message(&self, token: &str, max_tokens: u32) -> (u16, String) {
        let body = format!(
            r#"{{"model":"claude-sonnet-4-5","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"Name a tide."}}]}}"#
        );
        let headers = format!("x-api-key: {token}\r\nanthropic-version: 2023-06-01\r\n");
        self.request("POST", "/v1/messages", &headers, &body)
    }

    fn signal(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }

    fn terminate(mut self) -> i32 {
        self.signal();
        self.child.wait().expect("it ends").code().expect("it exits")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn days_are_those_of_the_zone_that_the_environment_names() {
    let home = Home::with("");
    for (name, zone) in [("Asia/Tokyo", "Asia/Tokyo"), (":Europe/Berlin", "Europe/Berlin")] {
        let mut command = home.command("usage --json");
        let said: Said = command.env("TZ", name).stdin(Stdio::null()).output().expect("it starts").into();
        let usage: serde_json::Value = serde_json::from_str(&said.out).expect("one JSON document");
        assert_eq!(usage["timezone"], zone, "{said:?}");
    }
    let named = Home::with("[gateway]\ntimezone = \"America/Lima\"\n");
    assert_eq!(named.json("usage --json")["timezone"], "America/Lima");
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = Home::with("");
    for line in [
        "",
        "frobnicate",
        "client add",
        "client add a --priority urgent",
        "client add a --weight 0",
        "client add a --daily-usd -1",
        "client add a/b",
        "serve --listen 8432",
        "usage --by colour",
        "usage --from yesterday",
        "usage --json --csv",
        "calls --last 0",
        "why 123",
        "export calls --columns colour",
        "export nothing",
        "pause everything",
    ] {
        let said = home.run(line);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{line}: {said:?}");
        assert!(!said.err.is_empty() && !said.err.contains("panicked"), "{line}: {said:?}");
    }
}

#[test]
fn help_has_examples_and_goes_to_stdout() {
    let home = Home::with("");
    for line in ["--help", "serve --help", "client add --help", "usage --help", "export --help", "simulate --help"] {
        let said = home.run(line);
        assert!(said.code == 0 && said.out.contains("Example"), "{line}: {said:?}");
    }
    assert!(home.run("--version").out.starts_with("tidegate "));
}

#[test]
fn a_token_stands_alone_on_stdout_and_is_kept_nowhere() {
    let home = Home::with("");
    let said = home.run("client add ci --priority critical --daily-usd 20");
    assert_eq!(said.code, 0, "{said:?}");
    let token = said.out.strip_suffix('\n').expect("one line");
    assert!(token.starts_with("tg-") && !token.contains(char::is_whitespace), "{said:?}");
    assert!(said.err.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:8432"), "{said:?}");
    for entry in fs::read_dir(home.path("data")).expect("a folder").filter_map(Result::ok) {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        assert!(!bytes.windows(20).any(|window| window == &token.as_bytes()[3..23]), "{:?}", entry.path());
    }
    assert_eq!(home.json("client list --json")[0]["daily_usd"], "20.000000000");
    assert_eq!(home.run("client add ci").code, 1);
    assert_eq!(home.run("client set ci --daily-usd none").code, 0);
    assert!(home.json("client list --json")[0]["daily_usd"].is_null());
    assert_eq!(home.run("client revoke ci").code, 0);
    assert_eq!(home.run("-q client add quiet").err, "");
    assert_eq!(home.run("client revoke quiet").code, 0);
    assert!(home.run("client list").err.contains("There are no clients yet"));
}

#[test]
fn a_call_is_in_every_book_and_commands_take_effect_at_once() {
    let home = Home::with(SIMULATED);
    let server = Server::start(home.command("serve --api"));
    let token = home.run("client add web").out.trim().to_owned();
    let (status, answer) = server.message(&token);
    assert_eq!(status, 200, "{answer}");
    let usage = home.json("usage --by client --json");
    assert_eq!((&usage["rows"][0]["key"], &usage["total"]["calls"]), (&"web".into(), &1.into()), "{usage}");
    let call = home.json("calls --json")[0].clone();
    let id = call["call_id"].as_str().expect("an id");
    let why = home.json(&format!("why {id} --json"));
    assert_eq!(
        (&why["call"]["cost_usd"], why["attempts"].as_array().map(Vec::len)),
        (&call["cost_usd"], Some(1)),
        "{why}"
    );
    assert!(home.run(&format!("why {id}")).out.contains("price claude-sonnet-4-5"));
    let csv = home.run("export calls --columns call_id,client").out;
    assert_eq!(csv, format!("call_id,client\r\n{id},web\r\n"));
    assert_eq!(home.run(&format!("export calls --out {}", home.path("out.csv").display())).code, 0);
    let nowhere = home.path("nowhere/out.csv");
    let refused = home.run(&format!("export calls --out {}", nowhere.display()));
    assert!(refused.code == 1 && refused.err.contains(&nowhere.display().to_string()), "{}", refused.err);
    assert!(fs::read_to_string(home.path("out.csv")).expect("a file").contains(id));
    assert_eq!(home.json("status --json")["live"][0]["call_id"], call["call_id"]);
    assert_eq!(home.run("verify").code, 0);
    assert_eq!(home.run("pause").code, 0);
    assert_eq!(home.json("status --json")["queue"]["background"]["paused"], true);
    assert_eq!(home.run("client revoke web").code, 0);
    assert_eq!(server.message(&token).0, 401);
    let before = home.json("usage --json");
    assert_eq!(server.terminate(), 0);
    assert!(!home.path("data/instance.json").exists());
    assert_eq!(home.json("usage --json"), before, "the same from the folder itself");
}

#[test]
fn tidegate_answers_its_own_token_alone_and_only_where_asked_to() {
    let home = Home::with(SIMULATED);
    let server = Server::start(home.command("serve --api"));
    let token = home.run("client add web").out.trim().to_owned();
    let file = home.path("data/api-token");
    let api = fs::read_to_string(&file).expect("made at the first serve").trim().to_owned();
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let ask = |path: &str, token: &str| server.request("GET", path, &format!("authorization: Bearer {token}\r\n"), "");
    let (status, body) = ask("/tidegate/status", &api);
    assert!(status == 200 && body.contains("\"limits\""), "{body}");
    assert_eq!(ask("/tidegate/usage?by=model&from=2026-01-01", &api).0, 200);
    for (path, token, status, kind) in [
        ("/tidegate/status", token.as_str(), 401, "authentication_error"),
        ("/tidegate/status", "", 401, "authentication_error"),
        ("/tidegate/control", api.as_str(), 401, "authentication_error"),
        ("/tidegate/nothing", api.as_str(), 404, "not_found_error"),
        ("/tidegate/usage?by=colour", api.as_str(), 400, "invalid_request_error"),
        ("/tidegate/usage?colour=1", api.as_str(), 400, "invalid_request_error"),
    ] {
        let (got, body) = ask(path, token);
        assert!(got == status && body.contains(kind), "{path}: {got} {body}");
    }
    assert_eq!(server.request("POST", "/tidegate/status", &format!("authorization: Bearer {api}\r\n"), "").0, 400);
    assert_eq!(server.terminate(), 0);
    let closed = Server::start(home.command("serve"));
    assert_eq!(closed.request("GET", "/tidegate/status", &format!("authorization: Bearer {api}\r\n"), "").0, 404);
}

#[test]
fn the_lock_and_the_port_are_each_held_by_one_who_is_named() {
    let home = Home::with(SIMULATED);
    let server = Server::start(home.command("serve"));
    let pid = format!("tidegate (pid {})", server.child.id());
    let second = home.run("serve");
    assert!(
        second.code == 1 && second.out.is_empty() && second.err.contains(&format!("is in use by {pid}")),
        "{second:?}"
    );
    let other = Home::with(SIMULATED);
    let taken = other.run(&format!("serve --listen {}", server.address));
    assert!(taken.code == 1 && taken.err.contains(&format!("{} is in use by {pid}", server.address)), "{taken:?}");
    let simulator = other.run(&format!("simulate --listen {}", server.address));
    assert!(simulator.code == 1 && simulator.err.contains(&format!("is in use by {pid}")), "{simulator:?}");
}

/// What `signals` signals make of a call that takes its time.
fn outcome_of_a_call_in_the_end(signals: usize, max_tokens: u32) -> (Option<u16>, serde_json::Value) {
    let home = Home::with(SIMULATED);
    let mut server = Server::start(home.command("serve"));
    let token = home.run("client add web").out.trim().to_owned();
    let asked = Server { child: Command::new("true").spawn().expect("it starts"), address: server.address.clone() };
    let call = std::thread::spawn(move || std::panic::catch_unwind(|| asked.long_message(&token, max_tokens).0).ok());
    while home.json("status --json")["queue"]["normal"]["running"] != 1 {}
    for _ in 0..signals {
        server.signal();
        while !server.is_draining() {}
    }
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    (call.join().expect("joined"), home.json("calls --json")[0]["outcome"].clone())
}

#[test]
fn a_running_call_finishes_before_the_end() {
    assert_eq!(outcome_of_a_call_in_the_end(1, 120), (Some(200), "completed".into()));
}

#[test]
fn a_second_signal_waits_for_nobody_and_the_books_say_so() {
    let (status, outcome) = outcome_of_a_call_in_the_end(2, 8_000);
    assert_eq!((status == Some(200), outcome), (false, "interrupted".into()));
}

#[test]
fn what_is_wrong_at_the_start_is_one_sentence_with_what_to_do() {
    for (settings, expected) in [
        (
            "[gateway]\nmax_wiat = \"1s\"\n",
            "settings.toml line 2: [gateway] has no key max_wiat; did you mean max_wait?",
        ),
        ("[gateway]\nlisten = \"0.0.0.0:1\"\n", "line 2: listen in [gateway] is not this machine's own address"),
        ("[gateway\n", "line 1: this is no TOML"),
    ] {
        let said = Home::with(settings).run("serve");
        assert!(said.code == 1 && said.out.is_empty() && said.err.contains(expected), "{said:?}");
    }
    let open = Home::with("");
    fs::set_permissions(open.path("settings.toml"), fs::Permissions::from_mode(0o666)).expect("changed");
    assert!(open.run("serve").err.contains("others may write it (mode 0666): run chmod 644"));
    let no_folder = Home::with("");
    fs::write(no_folder.path("data"), "a file").expect("written");
    assert!(no_folder.run("usage").err.contains("can't be written"));
    let damaged = Home::with("");
    fs::create_dir(damaged.path("data")).expect("made");
    fs::write(damaged.path("data/ledger.db"), "no database ".repeat(1_000)).expect("written");
    let said = damaged.run("serve");
    assert!(
        said.code == 1 && said.err.contains("ledger.db is damaged") && said.err.contains("move it away"),
        "{said:?}"
    );
    let verdict = damaged.run("verify");
    assert!(verdict.code == 1 && (verdict.out + &verdict.err).contains("damaged"), "{:?}", verdict.code);
    assert!(fs::read_to_string(damaged.path("data/ledger.db")).expect("kept").starts_with("no database"));
}

#[test]
fn a_backup_is_made_beside_a_running_gateway_and_without_one() {
    let home = Home::with("[gateway]\nlisten = \"127.0.0.1:0\"\n");
    let copied = |name: &str| {
        let said = home.run(&format!("backup {}", home.path(name).display()));
        assert!(said.code == 0 && said.out.is_empty(), "{said:?}");
        assert!(fs::read(home.path(name)).expect("a copy").starts_with(b"SQLite format 3\0"));
    };
    copied("alone.db");
    let server = Server::start(home.command("serve"));
    copied("beside.db");
    copied("beside.db");
    let said = home.run(&format!("backup {}", home.path("nowhere/copy.db").display()));
    assert!(said.code == 1 && said.err.contains("there is no such folder; make it first"), "{said:?}");
    let said = home.run(&format!("backup {}", home.path("data/ledger.db").display()));
    assert!(said.code == 1 && said.err.contains("it is the ledger itself"), "{said:?}");
    drop(server);
}

#[test]
fn without_a_keychain_the_sentence_says_what_else_there_is() {
    let home = Home::with(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n[[upstream]]\nname = \"a\"\nkey = \"keychain:a\"\nbase_url = \"http://127.0.0.1:9\"\n",
    );
    let mut command = home.command("key set anthropic");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(b"sk-ant-secret-0123456789\n").expect("sent");
    let said: Said = child.wait_with_output().expect("it ends").into();
    assert!(said.code == 1 && said.err.contains("this system has no keychain that answers"), "{said:?}");
    assert!(said.err.contains("env:VAR") && !said.err.contains("0123456789"), "{said:?}");
    let server = Server::start(home.command("serve"));
    let token = home.run("client add web").out.trim().to_owned();
    let (status, body) = server.message(&token);
    assert!(status == 503 && body.contains("tidegate_keychain") && body.contains("env:VAR"), "{status} {body}");
}

#[test]
fn a_key_is_tried_with_a_free_call_and_the_exit_code_says_whether_it_is_taken() {
    for (status, code, says) in [(200, 0, "mine: the key works at"), (401, 1, "mine: the key is not known at")] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).expect("a request");
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("written");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let home = Home(tempfile::tempdir().expect("a folder"));
        let key = home.path("key");
        fs::write(&key, "sk-ant-canary-0123456789").expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
        let settings = format!(
            "[[upstream]]\nname = \"mine\"\nkind = \"anthropic\"\nkey = \"file:{}\"\nbase_url = \"http://{address}\"\n",
            key.display()
        );
        fs::write(home.path("settings.toml"), settings).expect("written");
        let said = home.run(&format!("key test file:{}", key.display()));
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.out.starts_with(says) && !said.out.contains("canary"), "{said:?}");
        assert!(served.join().expect("served").starts_with("GET /v1/models?limit=1 "));
    }
    let said = Home::with(SIMULATED).run("key test nobody");
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("no upstream of the settings has the key nobody"), "{said:?}");
}

#[test]
fn claude_code_is_led_through_the_gate_and_out_again() {
    let home = Home::with(SIMULATED);
    let file = home.path(".claude/settings.json");
    let said = home.run("connect claude-code");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("there is no folder"), "{said:?}");

    fs::create_dir(home.path(".claude")).expect("a folder");
    let before = "{\n  \"model\": \"opus\"\n}\n";
    fs::write(&file, before).expect("written");
    let server = Server::start(home.command("serve"));
    let shown = home.run("connect claude-code --dry-run");
    assert!(shown.out.contains("+   \"ANTHROPIC_AUTH_TOKEN\": \"tg-•••\"\n"), "{shown:?}");
    assert_eq!(fs::read_to_string(&file).expect("read"), before, "nothing is done yet");

    let said = home.run("connect claude-code");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("Claude Code calls through this gate, as claude-code.\n"), "{said:?}");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    assert_eq!(written["env"]["ANTHROPIC_BASE_URL"], format!("http://{}", server.address));
    let token = written["env"]["ANTHROPIC_AUTH_TOKEN"].as_str().expect("a token");
    assert!(!said.out.contains(token) && !said.err.contains(token));
    let body = r#"{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}"#;
    let headers =
        format!("authorization: Bearer {token}\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n");
    assert_eq!(server.request("POST", "/v1/messages", &headers, body).0, 200);

    let said = home.run("disconnect claude-code");
    assert_eq!((said.code, fs::read_to_string(&file).expect("read").as_str()), (0, before), "{said:?}");
    assert_eq!(server.request("POST", "/v1/messages", &headers, body).0, 401, "its token ends");
    assert_eq!(home.run("disconnect claude-code").code, 1);
}

#[test]
fn minutes_are_told_with_their_limits() {
    let home = Home::with(SIMULATED);
    let none = home.run("minutes");
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.starts_with("No such call started from "), "{none:?}");
    let token = home.run("client add ci").out.trim().to_owned();
    let server = Server::start(home.command("serve --api"));
    let body = r#"{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}"#;
    let headers = format!("x-api-key: {token}\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n");
    assert_eq!(server.request("POST", "/v1/messages", &headers, body).0, 200);
    let told = home.json("minutes --json");
    assert_eq!((&told["of"]["group"], told["minutes"][0]["requests"].as_u64()), (&"haiku-4.5".into(), Some(1)));
    assert!(home.run("minutes --group haiku-4.5").out.starts_with("haiku-4.5 of sim, a minute: "));
    let api = fs::read_to_string(home.path("data/api-token")).expect("a token");
    let authorized = format!("authorization: Bearer {}\r\n", api.trim());
    let (status, over_http) = server.request("GET", "/tidegate/minutes?group=haiku-4.5", &authorized, "");
    assert_eq!(status, 200);
    let over_http: serde_json::Value = serde_json::from_str(&over_http).expect("JSON");
    assert_eq!(over_http["minutes"], told["minutes"]);
    let (status, said) = server.request("GET", "/tidegate/minutes?from=2026-11-01&to=2026-11-03", &authorized, "");
    assert_eq!(status, 400, "{said}");
}

#[test]
fn who_stops_reading_makes_no_failure() {
    let home = Home::with("");
    let mut child =
        home.command("usage --json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let said: Said = child.wait_with_output().expect("it ends").into();
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[test]
fn a_simulator_runs_on_its_own_and_refuses_what_it_does_not_know() {
    let home = Home::with("");
    let simulator = Server::start(home.command("simulate --scheme 2025-09 --tier 1 --listen 127.0.0.1:0"));
    let (status, stats) = simulator.request("GET", "/simulator/stats", "", "");
    assert!(status == 200 && stats.contains("\"calls\":0"), "{stats}");
    assert_eq!(simulator.terminate(), 0);
    for (line, expected) in [
        ("simulate --scheme 2020", "there is no scheme 2020: 2025-09"),
        ("simulate --tier 9", "scheme 2025-09 has no tier 9: 1, 2, 3, 4"),
        ("simulate --faults none.json", "none.json"),
    ] {
        let said = home.run(line);
        assert!(said.code == 1 && said.err.contains(expected), "{said:?}");
    }
}

#[test]
fn doctor_says_what_to_do() {
    let home = Home::with("");
    let said = home.run("doctor");
    assert!(said.out.contains("WARN  settings:") && said.out.contains("add one"), "{said:?}");
    assert!(said.out.contains("PASS  database:") && said.out.contains("SQLite 3."), "{said:?}");
    let broken = Home::with("[gateway]\nlisten = 1\n").run("doctor --json");
    assert!(broken.code == 1 && broken.out.contains("FAIL"), "{broken:?}");
}
