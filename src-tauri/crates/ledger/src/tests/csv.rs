//! The CSV of calls, cell by cell.

use super::*;

async fn exported(ledger: &Ledger, columns: &str) -> String {
    let columns = Columns::named(columns).expect("columns");
    let mut out = Vec::new();
    ledger.export_calls(&Filter::default(), &columns, &mut out).await.expect("exported");
    String::from_utf8(out).expect("text")
}

#[tokio::test]
async fn an_export_has_the_columns_of_the_contract_in_their_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let mut call = call(1, at("2026-11-24T22:40:08.123Z"));
    call.who.person = Some("Ada Lovelace".into());
    call.who.tags = vec![("team".into(), "gate".into())];
    let running = self::call(2, noon());
    ledger.opened(&running, &opening(&running, 1)).expect("opened");
    let id = call.id;
    settle(&ledger, &Entry { first_byte_ms: None, ..entry(call) }).await;
    let mut out = Vec::new();
    ledger.export_calls(&Filter::default(), &Columns::all(), &mut out).await.expect("exported");
    let expected = format!(
        "call_id,request_id,started_at,ended_at,client,person,project,tenant,session,tags,priority,upstream,model,status,\
         outcome,input_tokens,cache_write_5m_tokens,cache_write_1h_tokens,cache_read_tokens,output_tokens,web_searches,\
         cost_usd,price_id,estimated,source,waited_ms,first_byte_ms,total_ms,cache,attempts,error\r\n\
         {id},req_{id},2026-11-24T22:40:08.123Z,2026-11-24T22:40:09.623Z,ci,Ada Lovelace,,,,\"{{\"\"team\"\":\"\"gate\"\"}}\",\
         normal,anthropic,claude-sonnet-4-5,200,completed,10,0,0,0,20,0,0.000330000,claude-sonnet-4-5,false,gateway,3,,\
         1500,off,1,\r\n"
    );
    assert_eq!(String::from_utf8(out).expect("text"), expected);
}

#[tokio::test]
async fn no_cell_is_run_by_a_spreadsheet() {
    let dir = tempfile::tempdir().expect("a folder");
    for (number, (error, cell)) in [
        ("plain", "plain"),
        ("a,b", "\"a,b\""),
        ("say \"hi\"", "\"say \"\"hi\"\"\""),
        ("two\r\nlines", "\"two\r\nlines\""),
        (" padded", "\" padded\""),
        ("=1+1", "\"'=1+1\""),
        ("+1", "\"'+1\""),
        ("-1", "\"'-1\""),
        ("@SUM(A1)", "\"'@SUM(A1)\""),
        ("|cmd", "\"'|cmd\""),
        ("%0A", "\"'%0A\""),
        ("  =1", "\"'  =1\""),
        ("\t=1", "\"'\t=1\""),
        ("\u{1b}=1", "\"'\\u{1b}=1\""),
        ("\u{feff}=1", "\"'\u{feff}=1\""),
        ("＝1", "\"'＝1\""),
        ("red \u{1b}[31m", "\"red \\u{1b}[31m\""),
        ("a-b", "a-b"),
    ]
    .into_iter()
    .enumerate()
    {
        let data = dir.path().join(number.to_string());
        let (ledger, _) = open(&data).await;
        settle(&ledger, &Entry { error: Some(error.into()), ..entry(call(1, noon())) }).await;
        assert_eq!(exported(&ledger, "status,error").await, format!("status,error\r\n200,{cell}\r\n"), "{error:?}");
    }
}

#[tokio::test]
async fn an_unknown_cost_is_empty_and_a_filter_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..3_u32 {
        let started_at = Timestamp::from_millis(noon().as_millis() + i64::from(number) * 1_000);
        let mut call = call(number.into(), started_at);
        call.who.client = if number == 2 { "other" } else { "ci" }.into();
        settle(&ledger, &Entry { cost: None, ..entry(call) }).await;
    }
    let client = Some("ci".into());
    let filter = Filter { from: Some(at("2026-11-24T12:00:01Z")), to: None, client };
    let mut out = Vec::new();
    let columns = Columns::named("started_at, cost_usd").expect("columns");
    ledger.export_calls(&filter, &columns, &mut out).await.expect("exported");
    assert_eq!(String::from_utf8(out).expect("text"), "started_at,cost_usd\r\n2026-11-24T12:00:01.000Z,\r\n");
}

#[tokio::test]
async fn an_export_of_many_calls_has_each_once_in_the_order_of_their_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..1_201_i64 {
        let started_at = Timestamp::from_millis(noon().as_millis() + number * 7_919 % 600);
        ledger.settle(&entry(call(number.unsigned_abs().into(), started_at))).await.expect("settled");
    }
    let text = exported(&ledger, "started_at,call_id").await;
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let mut sorted = rows.clone();
    sorted.sort_by_key(|row| row.split(',').next());
    assert_eq!(rows, sorted);
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 1_201);
}

#[test]
fn an_unknown_column_is_named() {
    let error = Columns::named("call_id,prise").expect_err("unknown").to_string();
    assert!(error.starts_with("there is no column \"prise\"; there are call_id,request_id,"), "{error}");
}
