//! Every method against every usage series at hand: what was promised of ours, and where it is short.

use std::path::{Path, PathBuf};

use domain::forecast::backtest::{Method, Plan, Score, Series, backtest};
use domain::time::{Cycle, Every, Timestamp, Tz, Weekday};

const CRPS_OF_STRAIGHT_LINE_MAX: f64 = 0.60;
const CRPS_OF_SHIFTED_CURVES_MAX: f64 = 0.80;
const MAE_OF_STRAIGHT_LINE_MAX: f64 = 0.85;
const BRIER_OF_STRAIGHT_LINE_MAX: f64 = 0.57;
const COVERAGE: std::ops::RangeInclusive<f64> = 0.76..=0.84;

#[test]
fn forecasts_of_real_rhythms_beat_every_other_method() {
    let Some(all) = traces() else {
        eprintln!("skipped: the folder of usage traces is not there");
        return;
    };
    let scores: Vec<Vec<Score>> = all.iter().map(|(_, series)| scores(series)).collect();
    let every_other = |from: usize| scores.iter().skip(from).step_by(2).flatten().copied().collect::<Vec<_>>();
    print(&format!("{} series", scores.len()), &scores.concat());
    print("those with odd numbers (tuned on)", &every_other(0));
    print("those with even numbers", &every_other(1));
    let figures = |method| Mean::of(&scores.concat(), method);
    let [ours, line, curves] = [Method::Tidegate, Method::StraightLine, Method::ShiftedCurves].map(figures);
    let at_most = |what: &str, ours: f64, other: f64, share: f64| {
        assert!(ours <= other * share, "{what}: {ours:.3} is {:.3} of {other:.3}, more than {share}", ours / other);
    };
    at_most("CRPS against the straight line", ours.crps, line.crps, CRPS_OF_STRAIGHT_LINE_MAX);
    at_most("CRPS against the shifted curves", ours.crps, curves.crps, CRPS_OF_SHIFTED_CURVES_MAX);
    at_most("MAE against the straight line", ours.mae, line.mae, MAE_OF_STRAIGHT_LINE_MAX);
    at_most("Brier against the straight line", ours.brier, line.brier, BRIER_OF_STRAIGHT_LINE_MAX);
    assert!(COVERAGE.contains(&ours.coverage), "the 80 % band covers {:.3}", ours.coverage);
    for method in Method::ALL {
        let other = figures(method);
        assert!(ours.crps <= other.crps, "{} is better: {:.2} against {:.2}", method.name(), other.crps, ours.crps);
    }
}

/// For checkouts without the traces: working days, sprints and a holiday, by seed.
#[test]
fn forecasts_of_a_made_up_person_beat_the_straight_line_and_the_curves() {
    let scores: Vec<Score> = (1..=8).flat_map(|seed| scores(&made_up(seed))).collect();
    print("8 made-up series", &scores);
    let [ours, line, curves] =
        [Method::Tidegate, Method::StraightLine, Method::ShiftedCurves].map(|method| Mean::of(&scores, method));
    assert!(ours.crps < 0.7 * line.crps, "{:.2} against {:.2}", ours.crps, line.crps);
    assert!(ours.crps < curves.crps, "{:.2} against {:.2}", ours.crps, curves.crps);
    assert!((0.7..0.95).contains(&ours.coverage), "{:.2}", ours.coverage);
}

fn scores(series: &Series) -> Vec<Score> {
    let plan = Plan { cycle: Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC), limit: None, seed: 1 };
    backtest(series, &plan).expect("full weeks").scores
}

/// Over all origins: each counts the same.
struct Mean {
    n: f64,
    mae: f64,
    crps: f64,
    brier: f64,
    coverage: f64,
    width: f64,
    missed: usize,
}

impl Mean {
    fn of(scores: &[Score], method: Method) -> Mean {
        let scores: Vec<&Score> = scores.iter().filter(|score| score.method == method).collect();
        let n = scores.iter().map(|score| score.n as f64).sum::<f64>();
        let mean = |of: fn(&Score) -> f64| scores.iter().map(|score| score.n as f64 * of(score)).sum::<f64>() / n;
        Mean {
            n,
            mae: mean(|score| score.mae_hours),
            crps: mean(|score| score.crps_hours),
            brier: mean(|score| score.brier),
            coverage: mean(|score| score.coverage80.unwrap_or(f64::NAN)),
            width: mean(|score| score.width80_hours.unwrap_or(f64::NAN)),
            missed: scores.iter().map(|score| score.missed).sum(),
        }
    }
}

fn print(what: &str, scores: &[Score]) {
    eprintln!("{what}\nmethod             n    MAE h   CRPS h   Brier   covers   width h   missed");
    for method in Method::ALL {
        let Mean { n, mae, crps, brier, coverage, width, missed } = Mean::of(scores, method);
        let name = method.name();
        eprintln!("{name:15} {n:5}  {mae:7.2}  {crps:7.2}  {brier:.4}  {coverage:7.3}  {width:8.1}  {missed:7}");
    }
    let [ours, line, curves] =
        [Method::Tidegate, Method::StraightLine, Method::ShiftedCurves].map(|method| Mean::of(scores, method));
    eprintln!(
        "of the straight line: CRPS {:.3}, MAE {:.3}, Brier {:.3}; of the shifted curves: CRPS {:.3}\n",
        ours.crps / line.crps,
        ours.mae / line.mae,
        ours.brier / line.brier,
        ours.crps / curves.crps
    );
}

/// By name, or `None` where the folder is not there.
fn traces() -> Option<Vec<(PathBuf, Series)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces/usage");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("a trace");
        let row = |line: &str| {
            let (at, used) = line.split_once(',').expect("two columns");
            (Timestamp::parse(at).expect("an instant"), used.parse().expect("a number"))
        };
        let series = Series::new(text.lines().skip(1).map(row).collect()).expect("a series");
        (file, series)
    };
    Some(files.into_iter().map(read).collect())
}

/// Twenty weeks of somebody who works on weekdays, in sprints, and was away for one week and a half.
fn made_up(seed: u64) -> Series {
    const START_MS: i64 = 1_767_571_200_000;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut level = 1.0_f64;
    let mut busy = false;
    let hour = |hour: i64| {
        let (day, of_day) = (hour / 24, hour % 24);
        if of_day == 0 {
            level = (level.ln() * 0.8 + (rng.f64() - 0.5) * 1.2).exp();
        }
        let works = day % 7 < 5 && (9..19).contains(&of_day) && !(70..81).contains(&day);
        busy = works && rng.f64() < if busy { 0.8 } else { 0.3 };
        let used = if busy { level * rng.f64() * 1_000.0 } else { 0.0 };
        (Timestamp::from_millis(START_MS + hour * 3_600_000), used)
    };
    Series::new((0..20 * 168).map(hour).collect()).expect("a series")
}
