//! A team without a server: what two members export, their lead sees, once and apart from the lead's own calls.

use std::fs;

use serde_json::Value;
use support::lab::{Home, Lab, SETTINGS, body};

/// A member's Tidegate with so many calls, and the bundle it exports as `name`.
async fn member(name: &str, calls: usize) -> (Lab, String) {
    let lab = Lab::start();
    for _ in 0..calls {
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    }
    let bundle = export(&lab, name);
    (lab, bundle)
}

fn export(lab: &Lab, name: &str) -> String {
    let file = lab.home.path("bundle").display().to_string();
    let said = lab.home.tidegate(&["export", "bundle", "--name", name, "--out", &file]);
    assert_eq!(said.code, Some(0), "{said:?}");
    file
}

/// By device, of this month and the last, so that a midnight does no harm.
fn by_device(lead: &Home) -> Vec<(String, u64)> {
    let usage = lead.books().json(&["usage", "--by", "device", "--from", "2020-01-01", "--json"]);
    let rows = usage["rows"].as_array().expect("rows").iter();
    let pair = |row: &Value| {
        let key = row["key"].as_str().expect("a key");
        let name = key.rsplit_once(' ').map_or(key, |(name, _)| name);
        (name.to_owned(), row["calls"].as_u64().expect("a count"))
    };
    let mut rows: Vec<_> = rows.map(pair).collect();
    rows.sort();
    rows
}

fn counted(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect()
}

#[tokio::test]
async fn a_leads_app_merges_the_months_of_its_members_once() {
    let (anna, of_anna) = member("anna", 3).await;
    let (_ben, of_ben) = member("ben", 2).await;
    let lead = Home::new(SETTINGS, "http://127.0.0.1:9");
    let import = |files: &[&str]| lead.tidegate(&[&["import", "bundle"], files].concat());
    assert_eq!(import(&[&of_anna, &of_ben]).code, Some(0));
    assert_eq!(import(&[&of_ben, &of_anna, &of_anna]).code, Some(0), "again changes nothing");
    assert_eq!(by_device(&lead), counted(&[("anna", 3), ("ben", 2)]));

    let old = lead.path("old").display().to_string();
    fs::copy(&of_anna, &old).expect("copied");
    assert_eq!(anna.call(&anna.message(body(true))).await.status(), 200);
    let newer = export(&anna, "anna");
    let said = import(&[&newer, &old]);
    assert_eq!(said.code, Some(0), "nothing has to be done about an older one: {said:?}");
    assert!(
        said.err.contains(&format!("Nothing of {old} was taken in: what anna handed over later is here")),
        "{said:?}"
    );
    assert!(!said.err.contains(&newer), "{said:?}");
    assert_eq!(by_device(&lead), counted(&[("anna", 4), ("ben", 2)]), "the older does not replace the newer");

    let csv = lead.tidegate(&["export", "monthly", "--from", "2020-01-01", "--columns", "client,calls,device"]);
    assert!(csv.out.contains("test,4,anna ") || csv.out.contains("\"test\",4,\"anna "), "{csv:?}");
    let status = lead.books().json(&["status", "--json"]);
    assert_eq!(status["spend"]["month_usd"], "0.000000000", "a member's money is in no budget of the lead's");
    assert_eq!(lead.tidegate(&["verify"]).code, Some(0));
    let text = fs::read_to_string(&newer).expect("a bundle");
    assert!(!text.contains("Name three tides") && !text.contains("sk-ant"), "sums only");

    let devices = lead.books().json(&["bundle", "list", "--json"]);
    let id = devices[0]["device"].as_str().expect("an id").to_owned();
    assert_eq!(devices.as_array().map(Vec::len), Some(2));
    assert_eq!(lead.tidegate(&["bundle", "forget", &id[..12]]).code, Some(0));
    assert_eq!(by_device(&lead), counted(&[("ben", 2)]));
}

#[tokio::test]
async fn what_is_not_a_members_own_word_is_refused_with_one_sentence_each() {
    let (anna, of_anna) = member("anna", 1).await;
    let own = anna.home.tidegate(&["import", "bundle", &of_anna]);
    assert!(own.code == Some(1) && own.err.contains("was made on this device"), "{own:?}");

    let lead = Home::new(SETTINGS, "http://127.0.0.1:9");
    let text = fs::read_to_string(&of_anna).expect("a bundle");
    let edited = lead.path("edited").display().to_string();
    fs::write(&edited, text.replace("anna", "anne")).expect("written");
    let cut = lead.path("cut").display().to_string();
    fs::write(&cut, &text[..text.len() / 2]).expect("written");
    let said = lead.tidegate(&["import", "bundle", &edited, &cut, "/nowhere/at/all", &of_anna]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for says in
        ["changed after it was signed", "was cut off", "/nowhere/at/all can't be read", "3 of 4 files were refused"]
    {
        assert!(said.err.contains(says), "{says}: {said:?}");
    }
    assert_eq!(by_device(&lead), counted(&[("anna", 1)]), "the sound one is in");

    // The same device with another key.
    let file = anna.home.data().join("device.json");
    let mut device: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    device["seed"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    fs::write(&file, device.to_string()).expect("written");
    let forged = export(&anna, "anna");
    let said = lead.tidegate(&["import", "bundle", &forged]);
    assert!(said.code == Some(1) && said.err.contains("its key is another than before"), "{said:?}");
    for (args, says) in [
        (vec!["export", "bundle"], "a bundle needs --out FILE"),
        (vec!["export", "bundle", "--out", "x", "--from", "2026-13"], "2026-13 is no month"),
        (vec!["export", "daily", "--tenants"], "--name and --tenants are of bundles only"),
    ] {
        let said = lead.tidegate(&args);
        assert!(said.code == Some(2) && said.err.contains(says), "{said:?}");
    }
}
