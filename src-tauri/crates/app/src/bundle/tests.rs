//! Bundles, each promise as a sentence.

use std::fs;

use serde_json::{Value, json};

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn now() -> Timestamp {
    at("2026-11-24T12:00:00Z")
}

fn row(client: &str, calls: u64) -> BundleRow {
    let day = at("2026-11-02T00:00:00Z").as_millis() / DAY_MS;
    let totals = Totals { calls, known_cost: Usd::from_nanos(1_500), ..Totals::default() };
    BundleRow { day, client: client.to_owned(), model: "m".to_owned(), totals, ..BundleRow::default() }
}

fn november(rows: Vec<BundleRow>) -> BundleMonth {
    BundleMonth { month: "2026-11".to_owned(), revision: 3, rows }
}

fn device() -> Device {
    let dir = tempfile::tempdir().expect("a folder");
    Device::open(dir.path()).expect("a device")
}

fn written(device: &Device, months: &[BundleMonth]) -> Value {
    let text = file::written(device, months, "UTC", now()).expect("written");
    serde_json::from_slice(&text).expect("JSON")
}

fn said(text: &[u8]) -> String {
    match Bundle::parse(text, now()) {
        Ok(bundle) => format!("{} months", bundle.months.len()),
        Err(error) => error.to_string(),
    }
}

/// The body changed by `change`, and signed again by the same device.
fn signed_again(device: &Device, change: impl FnOnce(&mut Value)) -> String {
    let mut bundle = written(device, &[november(vec![row("laptop", 3)])]);
    let mut body: Value = serde_json::from_str(bundle["body"].as_str().expect("a body")).expect("JSON");
    change(&mut body);
    bundle["body"] = json!(body.to_string());
    let text = [b"tidegate bundle 1\n", body.to_string().as_bytes()].concat();
    use base64::Engine;
    let signature = device.sign(&text).expect("signed");
    bundle["signature"] = json!(base64::engine::general_purpose::STANDARD.encode(signature));
    said(bundle.to_string().as_bytes())
}

#[test]
fn what_was_written_reads_back_whole() {
    let device = device();
    let months = [november(vec![row("laptop", 3), row("ci", 4)])];
    let text = written(&device, &months).to_string();
    let bundle = Bundle::parse(text.as_bytes(), now()).expect("a bundle");
    assert_eq!(bundle.months, months);
    assert_eq!(bundle.member, device.member().expect("a member"));
}

#[test]
fn forged_edited_cut_off_and_newer_files_are_refused_by_name() {
    let (device, stranger) = (device(), device());
    let bundle = written(&device, &[november(vec![row("laptop", 3)])]);
    let with = |name: &str, value: Value| {
        let mut other = bundle.clone();
        other[name] = value;
        said(other.to_string().as_bytes())
    };
    let body = bundle["body"].as_str().expect("a body");
    assert!(with("body", json!(body.replace("laptop", "desktop"))).contains("changed after it was signed"));
    let other = written(&stranger, &[november(vec![])]);
    assert!(with("public_key", other["public_key"].clone()).contains("changed after it was signed"));
    assert!(with("signature", json!("!")).contains("changed after it was signed"));
    assert!(with("schema", json!(2)).contains("made by a newer Tidegate (bundle schema 2, this one knows 1)"));
    assert!(with("bundle", json!("other")).contains("names another program"));
    let text = bundle.to_string();
    assert!(said(&text.as_bytes()[..text.len() / 2]).contains("cut off"));
    assert!(said(b"\xff\xfe\x00").contains("no bundle of Tidegate"));
}

#[test]
fn what_is_signed_and_makes_no_sense_is_refused_with_the_place() {
    let device = device();
    assert_eq!(signed_again(&device, |_| {}), "1 months");
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 14] = [
        (|body| body["months"][0]["rows"][0]["calls"] = json!(-1), "invalid value"),
        (|body| body["months"][0]["rows"][0]["calls"] = json!(u64::MAX), "2026-11, row 1: 18446744073709551615"),
        (|body| body["months"][0]["rows"][0]["output_tokens"] = json!(1e30), "invalid type"),
        (|body| body["months"][0]["rows"][0]["cost_usd"] = json!("-0.5"), "-0.5 is no cost"),
        (|body| body["months"][0]["rows"][0]["cost_usd"] = json!("9000000.0"), "is no cost of a day"),
        (|body| body["months"][0]["rows"][0]["unpriced_calls"] = json!(9), "9 of 3 calls are unpriced"),
        (|body| body["months"][0]["rows"][0]["day"] = json!("2026-12-01"), "its day is not in that month"),
        (|body| body["months"][0]["rows"][0]["day"] = json!("2026-11-30"), "still to come"),
        (|body| body["months"][0]["rows"][0]["client"] = json!("a\u{1b}[2J"), "control characters"),
        (|body| body["name"] = json!("\u{202e}anna"), "control characters"),
        (|body| body["months"][0]["month"] = json!("2026-13"), "2026-13 is no month"),
        (|body| body["months"][0]["revision"] = json!(i64::MAX), "revision 9223372036854775807"),
        (|body| body["months"] = json!([body["months"][0], body["months"][0]]), "a month is in it twice"),
        (
            |body| {
                let row = body["months"][0]["rows"][0].clone();
                body["months"][0]["rows"] = json!([row, row]);
            },
            "two rows of the same names",
        ),
    ];
    for (change, says) in cases {
        let said = signed_again(&device, change);
        assert!(said.contains(says) && !said.contains('\u{1b}'), "{said}");
    }
}

#[test]
fn a_revision_grows_with_the_rows_and_not_without() {
    let mut device = device();
    let first = device.revision("2026-11", &[row("laptop", 3)], now());
    assert_eq!(device.revision("2026-11", &[row("laptop", 3)], at("2026-11-25T00:00:00Z")), first);
    let second = device.revision("2026-11", &[row("laptop", 4)], at("2020-01-01T00:00:00Z"));
    assert_eq!(second, first + 1, "also where the clock went back");
}

#[test]
fn a_month_that_lost_its_calls_is_handed_over_empty_and_one_that_never_had_any_is_not() {
    let mut device = device();
    assert_eq!(device.handed_over("2026-11", vec![], now()), None);
    let first = device.handed_over("2026-11", vec![row("laptop", 3)], now()).expect("handed over");
    let emptied = device.handed_over("2026-11", vec![], now()).expect("handed over");
    assert_eq!((emptied.rows.len(), emptied.revision), (0, first.revision + 1));
    let text = written(&device, std::slice::from_ref(&emptied)).to_string();
    assert_eq!(Bundle::parse(text.as_bytes(), now()).expect("a bundle").months, [emptied]);
}

#[test]
fn the_key_is_made_once_and_the_owners_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let device = Device::open(dir.path()).expect("a device");
    device.keep(dir.path()).expect("kept");
    let member = device.member().expect("a member");
    assert_eq!(Device::open(dir.path()).expect("a device").member().expect("a member"), member);
    assert!(Device::is_own(dir.path(), &member));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = fs::metadata(dir.path().join("device.json")).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn no_folder_and_no_control_character_leaves_in_a_name() {
    let row = |project: &str| BundleRow { project: project.to_owned(), ..BundleRow::default() };
    for (project, shared) in [
        ("/home/anna/secret/shop", "shop"),
        ("C:\\Users\\anna\\shop\\", "shop"),
        ("team/shop", "team/shop"),
        ("a\u{7}b", "ab"),
    ] {
        assert_eq!(shareable(row(project)).project, shared);
    }
}

#[test]
fn a_huge_file_is_not_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("huge");
    fs::File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let read = file::read(&path).expect("opened");
    assert!(matches!(read, Err(BadBundle::TooLarge)));
}
