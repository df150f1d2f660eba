//! 0 done, 1 it failed, 2 wrong usage: of forecasts, tiers and alerts, by hand and in scripts.
//!
//! Wrong usage is what can't be meant as it is written: a form, an amount, a name that an option gives. What is well said
//! and isn't there, or can't be read, has failed.

use support::lab::{Home, SETTINGS};

const FAILED: i32 = 1;
const WRONG: i32 = 2;

#[test]
fn wrong_usage_and_what_failed_are_told_apart_by_every_command() {
    let settings = SETTINGS.replace("key = ", "scheme = \"2025-09\"\ntier = \"1\"\nkey = ");
    let home = Home::new(&settings, "http://127.0.0.1:9");
    let file = |name: &str, text: &str| {
        let path = home.path(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let negative = file("negative.csv", "2026-01-01T00:00:00Z,-5\n2026-01-01T01:00:00Z,1\n");
    let (empty, missing) = (file("empty.csv", ""), home.path("missing.csv").display().to_string());
    let cases: &[(i32, &[&str], &str)] = &[
        (WRONG, &["forecast", "--if", ""], "\"\" is nothing that can be tried"),
        (WRONG, &["forecast", "--if", "stop "], "is nothing that can be tried"),
        (WRONG, &["forecast", "--if", "stop nobody"], "no client is named \"nobody\""),
        (WRONG, &["forecast", "--if", "move 10% to gpt-9"], "\"gpt-9\" has no price"),
        (WRONG, &["forecast", "--if", "limit week to -5"], "is nothing that can be tried"),
        (WRONG, &["forecast", "--when"], "unexpected argument"),
        (WRONG, &["forecast", "backtest"], "FILE.csv"),
        (WRONG, &["forecast", "backtest", &empty, "--resets", "noon"], "--resets"),
        (WRONG, &["forecast", "backtest", &empty, "--limit", "much"], "an amount above 0"),
        (WRONG, &["forecast", "backtest", &empty, "--limit", "1e300"], "at most 1e15"),
        (FAILED, &["forecast", "backtest", &negative], "line 1: -5 is below 0"),
        (WRONG, &["forecast", "backtest", &empty, "--window", "year"], "possible values"),
        (FAILED, &["forecast", "backtest", &missing], "can't be read"),
        (FAILED, &["forecast", "backtest", &empty], "needs at least two"),
        (WRONG, &["tier", "purchase", "add"], "<USD>"),
        (WRONG, &["tier", "purchase", "add", ""], "\"\" is not an amount"),
        (WRONG, &["tier", "purchase", "add", "40", "--date", "soon"], "\"soon\" is neither a day"),
        (WRONG, &["tier", "purchase", "add", "40", "--date", "2999-01-01"], "has not come yet"),
        (WRONG, &["tier", "purchase", "add", "40", "--upstream", ""], "no upstream with a tier is named \"\""),
        (FAILED, &["tier", "purchase", "remove", "9"], "there is no purchase \"9\""),
        (FAILED, &["tier", "purchase", "remove", ""], "there is no purchase \"\""),
        (WRONG, &["tier", "reload", "5"], "say how much is bought"),
        (WRONG, &["tier", "reload", "five", "5"], "\"five\" is not an amount"),
        (WRONG, &["shadow"], "nothing is tried"),
        (WRONG, &["shadow", "--tier", ""], "has no tier \"\""),
        (WRONG, &["shadow", "--requests", "0"], "--requests is 0"),
        (WRONG, &["shadow", "--requests", "-1"], "unexpected argument"),
        (WRONG, &["shadow", "--upstream", ""], "no upstream is named \"\""),
        (WRONG, &["shadow", "--priority", "nobody=critical"], "is named \"nobody\""),
        (WRONG, &["shadow", "--priority", "=critical"], "is no priority"),
        (WRONG, &["shadow", "--budget", "project:shop day 1"], "no project of these calls is named \"shop\""),
        (WRONG, &["shadow", "--budget", "machine day 0"], "a budget is more than $0"),
        (WRONG, &["shadow", "--tier", "2", "--from", ""], "\"\" is neither a day"),
        (WRONG, &["shadow", "--tier", "2", "--from", "2026-11-02", "--to", "2026-11-01"], "--from is not before"),
        (WRONG, &["savings", "--from", "soon"], "\"soon\" is neither a day"),
        (WRONG, &["savings", "--to-model", ""], "\"\" has no price"),
        (WRONG, &["changes", "--from", "soon"], "\"soon\" is neither a day"),
        (WRONG, &["report", "year"], "possible values"),
        (WRONG, &["report", "--from", "soon"], "\"soon\" is neither a day"),
        (WRONG, &["alert", "snooze"], "<ID>"),
        (WRONG, &["alert", "snooze", "x", "--until", "soon"], "\"soon\" is neither a day"),
        (WRONG, &["alert", "snooze", "x", "--until", "2026-01-01"], "--until names a day or a moment that comes"),
        (FAILED, &["alert", "snooze", ""], "no alert begins with \"\""),
        (FAILED, &["alert", "test", ""], "is named \"\""),
        (WRONG, &["export", "alerts", "--from", "soon"], "\"soon\" is neither a day"),
        (WRONG, &["export", "alerts", "--columns", "nothing"], "nothing"),
        (WRONG, &["statusline", "now"], "unexpected argument"),
    ];
    for (code, args, reason) in cases {
        let said = home.tidegate(args);
        assert_eq!(said.code, Some(*code), "{args:?}: {}", said.err);
        assert!(said.err.contains(reason), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}");
    }
}
