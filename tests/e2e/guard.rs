//! The door over raw sockets: nothing gets in that a browser, a stranger or a smuggler could send.

use support::books::simulator_sums;
use support::http::raw;
use support::lab::{Lab, body};

#[tokio::test]
async fn strangers_get_a_refusal_and_cost_nothing() {
    let lab = Lab::start();
    let host = lab.gateway.address();
    let port = host.rsplit(':').next().expect("a port");
    let token = &lab.token;
    let call = |host_lines: &str, more: &str| {
        let body = body(false);
        format!(
            "POST /v1/messages HTTP/1.1\r\n{host_lines}{more}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let authorised = format!("x-api-key: {token}\r\nanthropic-version: 2023-06-01\r\n");
    let good_host = format!("host: {host}\r\n");
    let origin = |value: &str| call(&good_host, &format!("{authorised}origin: {value}\r\n"));
    let with = |line: &str| call(&good_host, &format!("{authorised}{line}\r\n"));
    let cases = [
        ("no token", call(&good_host, ""), "401"),
        ("a wrong token", call(&good_host, "x-api-key: tg-wrong\r\n"), "401"),
        ("a real-looking key", call(&good_host, "authorization: Bearer sk-ant-whatever\r\n"), "401"),
        ("a foreign host", call("host: evil.example\r\n", &authorised), "403"),
        ("a host that starts like ours", call(&format!("host: 127.0.0.1.evil.example:{port}\r\n"), &authorised), "403"),
        ("another port", call("host: 127.0.0.1:1\r\n", &authorised), "403"),
        ("0.0.0.0", call(&format!("host: 0.0.0.0:{port}\r\n"), &authorised), "403"),
        ("no host", call("", &authorised), "40"),
        ("two hosts", call(&format!("{good_host}{good_host}"), &authorised), "40"),
        ("a foreign origin", origin("https://evil.example"), "403"),
        ("an origin that starts like ours", origin("http://localhost.evil.example"), "403"),
        ("no origin at all, said aloud", origin("null"), "403"),
        ("a page of another site", with("sec-fetch-site: cross-site"), "403"),
        ("two lengths", with("content-length: 5"), "400"),
        ("a length and chunks", with("transfer-encoding: chunked"), "400"),
        ("a folded header", with("x-a: b\r\n c"), "400"),
        (
            "a preflight",
            format!(
                "OPTIONS /v1/messages HTTP/1.1\r\n{good_host}origin: https://evil.example\r\naccess-control-request-method: POST\r\n\r\n"
            ),
            "403",
        ),
        (
            "an absolute target",
            format!("GET http://evil.example/v1/models HTTP/1.1\r\n{good_host}{authorised}\r\n"),
            "400",
        ),
        ("dots in the path", format!("GET /v1/../tidegate/status HTTP/1.1\r\n{good_host}{authorised}\r\n"), "400"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
    ];
    for (what, bytes, expected) in cases {
        let answer = raw(host, with_close(&bytes).as_bytes()).await.expect("an answer");
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(status.starts_with(expected), "{what}: {expected} expected, got {answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control-allow"), "{what}: {answer}");
        assert!(!answer.contains(token.as_str()), "{what} echoes the token");
    }
    assert_eq!(simulator_sums(&lab.simulator).await.calls, 0);
    assert_eq!(lab.home.books().calls(), [], "401 and 403 make no row");
}

#[tokio::test]
async fn without_a_token_only_health_is_told_and_only_a_word() {
    let lab = Lab::start();
    let get = async |target: &str| {
        raw(
            lab.gateway.address(),
            format!("GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", lab.gateway.address()).as_bytes(),
        )
        .await
        .expect("an answer")
    };
    for target in ["/healthz", "/readyz"] {
        let answer = get(target).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or("");
        assert!(body.len() < 20, "{target}: {answer}");
    }
    for target in ["/", "/v1/models", "/tidegate/status", "/tidegate/control", "/metrics", "/v1/messages/batches"] {
        let answer = get(target).await;
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(status.starts_with('4'), "{target}: {answer}");
        assert!(!answer.contains("sonnet"), "{target} tells: {answer}");
    }
}

/// So that the answer has an end; harmless where the request is refused.
fn with_close(request: &str) -> String {
    request.replacen("\r\n", "\r\nconnection: close\r\n", 1)
}
