//! Estimates as calls teach them.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

const SONNET: &str = "claude-sonnet-4-5";

/// A call of 200 words of text, of a template and a conversation of its own.
fn text(words: u32) -> Shape {
    Shape { head: 7, opening: words, words, letters: 4 * words, marks: words / 8, messages: 1, ..Shape::default() }
}

/// What a call of so many words costs where a word costs `permille` thousandths of a token, beside 300 hidden tokens.
fn truth(shape: &Shape, permille: u64) -> u64 {
    300 + u64::from(shape.words) * permille / 1_000
}

/// Learns so many calls, and tells the error of each estimate in thousandths.
fn live(estimates: &mut Estimates, client: &str, calls: u32, permille: u64) -> Vec<u64> {
    let mut rng = Rng::with_seed(calls.into());
    let call = |_| {
        let shape = text(rng.u32(50..2_000));
        let prompt = truth(&shape, permille);
        let guessed = estimates.input(SONNET, client, &shape);
        estimates.learn(SONNET, client, &shape, guessed, prompt, 100);
        guessed.likely.abs_diff(prompt) * 1_000 / prompt
    };
    (0..calls).map(call).collect()
}

#[test]
fn what_no_count_shows_is_learned_with_the_template_and_soon() {
    let mut estimates = Estimates::fresh();
    let errors = live(&mut estimates, "a", 60, 1_300);
    assert!(errors[0] > 100, "{errors:?}");
    assert!(errors[10..].iter().all(|error| *error <= 30), "{errors:?}");
}

#[test]
fn a_client_that_changes_its_habit_is_understood_again_within_a_few_calls() {
    let mut estimates = Estimates::fresh();
    live(&mut estimates, "a", 300, 1_100);
    let errors = live(&mut estimates, "a", 60, 2_200);
    assert!(errors[20..].iter().all(|error| *error <= 50), "{errors:?}");
}

#[test]
fn a_new_client_begins_with_what_others_of_its_model_have_taught() {
    let mut estimates = Estimates::fresh();
    live(&mut estimates, "a", 100, 1_500);
    let shape = text(700);
    let error = estimates.input(SONNET, "b", &shape).likely.abs_diff(truth(&shape, 1_500));
    assert!(error < 50, "{error}");
}

#[test]
fn the_next_turn_is_told_from_the_turn_before() {
    let mut estimates = Estimates::fresh();
    let turn = |words| Shape { opening: 1, words, letters: 4 * words, messages: 1, ..Shape::default() };
    for words in (1..40).map(|turn| turn * 500) {
        let guessed = estimates.input(SONNET, "a", &turn(words));
        let prompt = u64::from(words) * 2;
        if words > 10_000 {
            assert!(guessed.likely.abs_diff(prompt) * 100 < prompt, "{guessed:?} for {prompt}");
            assert!(guessed.high >= prompt && guessed.high < prompt + 500, "{guessed:?} for {prompt}");
        }
        estimates.learn(SONNET, "a", &turn(words), guessed, prompt, 10);
    }
}

#[test]
fn the_same_body_comes_to_the_same_again() {
    let mut estimates = Estimates::fresh();
    let shape = text(900);
    for _ in 0..3 {
        let guessed = estimates.input(SONNET, "a", &shape);
        estimates.learn(SONNET, "a", &shape, guessed, 12_345, 10);
    }
    let guessed = estimates.input(SONNET, "a", &shape);
    assert_eq!(guessed.likely, 12_345);
    assert!(guessed.high <= 12_360, "{guessed:?}");
}

#[test]
fn what_is_reserved_is_nearly_never_exceeded() {
    let mut estimates = Estimates::fresh();
    let mut rng = Rng::with_seed(3);
    let exceeded = (0..1_000).filter(|call| {
        let shape = text(rng.u32(50..2_000));
        let prompt = truth(&shape, rng.u64(1_000..1_200));
        let guessed = estimates.input(SONNET, "a", &shape);
        estimates.learn(SONNET, "a", &shape, guessed, prompt, 100);
        assert!(*call < 50 || guessed.high <= prompt * 2 + 1_000, "{guessed:?} for {prompt}");
        prompt > guessed.high
    });
    let exceeded = exceeded.count();
    assert!(exceeded <= 20, "{exceeded} of 1000");
}

#[test]
fn answers_are_expected_as_long_as_those_of_their_template_and_never_above_what_is_allowed() {
    let mut estimates = Estimates::fresh();
    let of = |head| Shape { head, ..text(100) };
    assert_eq!(estimates.output(SONNET, "a", &of(1), Some(64)), Estimate { likely: 64, high: 64 });
    for output in 1..=100 {
        estimates.learn(SONNET, "a", &of(1), Estimate::default(), 100, 10);
        estimates.learn(SONNET, "a", &of(2), Estimate::default(), 100, 1_000 + output);
    }
    let expected = |head, most| estimates.output(SONNET, "a", &of(head), most);
    assert_eq!(expected(1, None), Estimate { likely: 10, high: 10 });
    assert!((1_090..=1_100).contains(&expected(2, None).high), "{:?}", expected(2, None));
    assert_eq!(expected(2, Some(300)), Estimate { likely: 300, high: 300 });
    assert!(expected(3, None).high >= 1_000, "a new template is taken for the longest of the others");
}

#[test]
fn names_that_clients_make_up_do_not_grow_it_without_bound() {
    let mut estimates = Estimates::fresh();
    live(&mut estimates, "a", 50, 1_300);
    for i in 0..3_000 {
        let (model, client) = (format!("claude-{i}"), format!("client-{}", i % 400));
        estimates.learn(&model, &client, &text(100), Estimate::default(), 100, 10);
        let shape = Shape { head: i, opening: i, ..text(100) };
        estimates.learn(SONNET, "a", &shape, estimates.input(SONNET, "a", &shape), 300, 10);
    }
    assert!(estimates.remember().len() <= HABITS_MAX);
    assert!(estimates.remember().iter().all(|learned| learned.templates.len() <= 32));
    assert!(estimates.errors().iter().any(|error| &*error.client == "a" && error.calls > 1_000), "who calls stays");
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut before = Estimates::fresh();
    live(&mut before, "a", 100, 1_700);
    let mut after = Estimates::fresh();
    after.recall(before.remember());
    assert_eq!(after.errors(), before.errors());
    assert_eq!(after.output(SONNET, "a", &text(3), None), before.output(SONNET, "a", &text(3), None));
    for shape in [text(333), text(1_777)] {
        let (after, before) = (after.input(SONNET, "a", &shape), before.input(SONNET, "a", &shape));
        assert!(after.likely.abs_diff(before.likely) <= before.likely / 100, "{after:?} {before:?}");
    }
}

#[test]
fn errors_are_told_by_model_and_client() {
    let mut estimates = Estimates::fresh();
    live(&mut estimates, "b", 200, 1_300);
    live(&mut estimates, "a", 10, 1_300);
    let errors = estimates.errors();
    let told: Vec<_> = errors.iter().map(|error| (&*error.client, error.calls)).collect();
    assert_eq!(told, [("a", 10), ("b", 200)]);
    assert!(errors[1].median_permille <= 10 && errors[1].p95_permille <= 30, "{errors:?}");
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let count = || prop_oneof![Just(0), 0..3_000_u32, Just(u32::MAX)];
    let small = || prop_oneof![0..9_u16, Just(u16::MAX)];
    let texts = (count(), count(), count(), count(), count(), count(), count());
    let others = (0..3_u32, 0..5_u32, small(), small(), small(), any::<u8>(), any::<bool>());
    (texts, others).prop_map(|(texts, (head, opening, keys, calls, messages, steady, unseen))| {
        let (words, letters, capitals, marks, narrow, wide, ruled) = texts;
        let mut modes = Modes::default();
        modes.add(if unseen { Modes::UNSEEN } else { Modes::THINKING });
        Shape {
            head,
            opening,
            words,
            letters,
            capitals,
            marks,
            narrow,
            wide,
            ruled_low: ruled,
            ruled_high: ruled,
            keys,
            calls,
            messages,
            steady,
            modes,
        }
    })
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0..5_000_u64, Just(TOKENS_MAX), Just(u64::MAX)]
}

proptest! {
    #[test]
    fn absurd_counts_neither_overflow_nor_poison_it_for_ever(
        calls in prop::collection::vec((any_shape(), any_count(), any_count(), any_count()), 0..60)
    ) {
        let mut estimates = Estimates::fresh();
        for (shape, guessed, prompt, output) in calls {
            let guessed = Estimate { likely: guessed, high: guessed.saturating_add(prompt) };
            estimates.learn(SONNET, "a", &shape, guessed, prompt, output);
            let Estimate { likely, high } = estimates.input(SONNET, "a", &shape);
            prop_assert!(1 <= likely && likely <= high, "{likely} {high}");
            let Estimate { likely, high } = estimates.output(SONNET, "a", &shape, Some(77));
            prop_assert!(likely <= high && high <= 77);
        }
        let errors = live(&mut estimates, "a", 200, 1_300);
        prop_assert!(errors[120..].iter().all(|error| *error <= 100), "{errors:?}");
        prop_assert!(estimates.input(SONNET, "a", &text(500)).high < 2_000);
    }

    #[test]
    fn what_makes_no_sense_is_not_recalled(
        weights in prop::collection::vec(any::<f64>(), 0..12),
        (caution, offset, doubt) in any::<(f64, f64, f64)>(),
        outputs in prop::collection::vec(any::<u32>(), 0..99),
        errors in prop::collection::vec(any::<f32>(), 0..99),
        calls in any::<u64>(),
    ) {
        let mut estimates = Estimates::fresh();
        let templates = vec![LearnedTemplate { head: 7, offset, doubt, outputs: outputs.clone() }; 50];
        let (model, client) = (SONNET.into(), "a".into());
        let learned = LearnedEstimate { model, client, calls, weights, spread: caution, caution, templates, outputs, errors };
        estimates.recall(vec![learned]);
        let Estimate { likely, high } = estimates.input(SONNET, "a", &text(100));
        prop_assert!(1 <= likely && likely <= high);
        estimates.errors();
        let errors = live(&mut estimates, "a", 200, 1_300);
        prop_assert!(errors[120..].iter().all(|error| *error <= 100), "{errors:?}");
    }
}
