//! A table of made-up options, read in every way.

use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::candidate::Unchecked;
use super::{Instead, Key, Kind, Options, Rule, Spec, Usual, Value, Word};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Round,
    Square,
}

impl Word for Shape {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("round", Self::Round), ("square", Self::Square)]
    }
}

const SHAPE: Key<Shape> = Key::word("shape", Usual::Text("round"), "what it is");
const SIDES: Key<usize> =
    Key::count("sides", 3, 1 << 31, 4, "how many").rules(&[Rule::With("shape", &["square"])]);
const WEIGHT: Key<f32> = Key::new("weight", Kind::from(0.0), Usual::Number(0.0), "how heavy")
    .instead(&[Instead {
        option: "shape",
        words: &["square"],
        usual: Usual::Number(0.5),
    }]);
const PULL: Key<f64> = Key::new("pull", Kind::above(0.0), Usual::Number(1.0), "how far")
    .rules(&[Rule::Above0("weight")]);
const SHARE: Key<Option<f64>> = Key::new(
    "share",
    Kind::Number {
        from: 0.0,
        above: false,
        to: 1.0,
        below: true,
    },
    Usual::Nothing,
    "how much",
)
.rules(&[Rule::Without("sides")]);
const WIDTHS: Key<Vec<usize>> = Key::new(
    "widths",
    Kind::Wholes {
        from: 1,
        to: 9,
        most: 2,
    },
    Usual::Wholes(&[7]),
    "how wide",
);
const LOUD: Key<bool> = Key::flag("loud", "whether it is heard");
const NAME: Key<Option<String>> = Key::new("name", Kind::Text, Usual::Nothing, "what it is called");
const TABLE: [Spec; 8] = [
    SHAPE.spec,
    SIDES.spec,
    WEIGHT.spec,
    PULL.spec,
    SHARE.spec,
    WIDTHS.spec,
    LOUD.spec,
    NAME.spec,
];

fn words(words: &[(&str, &str)]) -> Result<Options> {
    Options::of_words(&TABLE, words.iter().copied())
}

fn refused(given: &[(&str, &str)]) -> String {
    let error = words(given).expect_err("a value outside its range");
    error
        .strip_backtrace()
        .replace("Error during planning: ", "")
}

fn sql(name: &str, value: ScalarValue) -> Result<Value> {
    let spec = TABLE
        .iter()
        .find(|spec| spec.name == name)
        .expect("a known option");
    spec.accept(Unchecked::of_sql(&value))
}

#[test]
fn values_keep_their_type_and_presence_is_known() {
    let options = words(&[
        ("shape", "square"),
        ("sides", "5"),
        ("name", "007"),
        ("loud", "true"),
    ]);
    let options = options.expect("options");
    assert_eq!(options.get(SHAPE), Shape::Square);
    assert_eq!(options.get(SIDES), 5);
    assert_eq!(options.get(NAME).as_deref(), Some("007"));
    assert_eq!(options.get(WIDTHS), [7]);
    assert!(options.get(LOUD));
    assert!(options.given(SIDES) && !options.given(WIDTHS));
    // A value equal to the default was given all the same.
    let options = words(&[("shape", "round"), ("widths", "[7]")]).expect("options");
    assert!(options.given(SHAPE) && options.given(WIDTHS));
    assert_eq!(options.any_given(&TABLE), Some("shape"));
    assert_eq!(options.to_sql(), "'shape': 'round', 'widths': [7]");
}

#[test]
fn what_holds_may_depend_on_another_option() {
    assert_eq!(words(&[]).expect("options").get(WEIGHT), 0.0);
    let square = words(&[("shape", "square")]).expect("options");
    assert_eq!(square.get(WEIGHT), 0.5);
    assert!(!square.given(WEIGHT));
    let given = words(&[("weight", "2"), ("shape", "square")]).expect("options");
    assert_eq!(given.get(WEIGHT), 2.0);
    assert_eq!(WEIGHT.spec.default(), "0, 0.5 with shape 'square'");
}

#[test]
fn an_option_of_something_else_is_refused_by_name() {
    for (given, expected) in [
        (
            vec![("sides", "5")],
            "sides must come with shape 'square', got shape 'round'",
        ),
        (
            vec![("pull", "1")],
            "pull must come with weight above 0, got weight 0.0",
        ),
        (
            vec![("shape", "square"), ("sides", "4"), ("share", "0")],
            "one of share and sides is required, got both",
        ),
    ] {
        assert_eq!(refused(&given), expected);
    }
    assert!(words(&[("pull", "1"), ("shape", "square")]).is_ok());
}

#[test]
fn each_range_has_its_message() {
    for (name, word, expected) in [
        ("sides", "2", "a whole number from 3 to 2147483648, got 2"),
        ("sides", "-3", "a whole number from 3 to 2147483648, got -3"),
        (
            "sides",
            "1e15",
            "a whole number from 3 to 2147483648, got 1e15",
        ),
        (
            "sides",
            "4.0",
            "a whole number from 3 to 2147483648, got 4.0",
        ),
        (
            "sides",
            "9223372036854775808",
            "a whole number from 3 to 2147483648, got 9223372036854775808",
        ),
        (
            "sides",
            "many",
            "a whole number from 3 to 2147483648, got 'many'",
        ),
        (
            "sides",
            "'4'",
            "a whole number from 3 to 2147483648, got '4'",
        ),
        ("weight", "-1", "a number from 0 to 3e38, got -1"),
        ("weight", "NaN", "a number from 0 to 3e38, got NaN"),
        ("weight", "inf", "a number from 0 to 3e38, got inf"),
        ("weight", "1e300", "a number from 0 to 3e38, got 1e300"),
        ("pull", "0", "a number above 0, at most 3e38, got 0"),
        ("share", "1", "a number in [0, 1), got 1"),
        (
            "widths",
            "[]",
            "a list of 1 to 2 whole numbers from 1 to 9, got []",
        ),
        (
            "widths",
            "[1, 0]",
            "a list of 1 to 2 whole numbers from 1 to 9, got [1, 0]",
        ),
        (
            "widths",
            "[1, 2, 3]",
            "a list of 1 to 2 whole numbers from 1 to 9, got [1, 2, 3]",
        ),
        (
            "widths",
            "[1e12]",
            "a list of 1 to 2 whole numbers from 1 to 9, got [1e12]",
        ),
        (
            "widths",
            "4",
            "a list of 1 to 2 whole numbers from 1 to 9, got 4",
        ),
        ("loud", "yes", "true or false, got 'yes'"),
        ("loud", "1", "true or false, got 1"),
        ("shape", "oval", "'round' or 'square', got 'oval'"),
    ] {
        assert_eq!(
            refused(&[(name, word)]),
            format!("{name} must be {expected}")
        );
    }
    // What is 0 or 1 in 32 bits is so here.
    for (name, word) in [
        ("pull", "1e-60"),
        ("weight", "1e-60"),
        ("share", "0.99999999999"),
    ] {
        let message = refused(&[(name, word)]);
        assert!(message.ends_with(&format!("got {word}")), "{message}");
    }
}

#[test]
fn sql_values_are_read_as_what_they_are() {
    for (name, value, expected) in [
        ("sides", ScalarValue::UInt64(Some(7)), Value::Whole(7)),
        ("sides", ScalarValue::Int32(Some(7)), Value::Whole(7)),
        ("weight", ScalarValue::Int64(Some(7)), Value::Number(7.0)),
        (
            "weight",
            ScalarValue::Decimal128(Some(75), 4, 2),
            Value::Number(0.75),
        ),
        (
            "shape",
            ScalarValue::from("square"),
            Value::Text("square".to_string()),
        ),
    ] {
        assert_eq!(sql(name, value).expect("a value in its range"), expected);
    }
    for (name, value, got) in [
        ("sides", ScalarValue::from("7"), "got '7'"),
        (
            "sides",
            ScalarValue::UInt64(Some(1 << 63)),
            "got 9223372036854775808",
        ),
        ("sides", ScalarValue::Float64(Some(f64::NAN)), "got NaN"),
        ("name", ScalarValue::Int64(Some(7)), "must be text, got 7"),
    ] {
        let message = sql(name, value)
            .expect_err("another type")
            .strip_backtrace();
        assert!(message.ends_with(got), "{message}");
    }
}

#[test]
fn an_unknown_option_is_answered_with_the_nearest() {
    assert_eq!(
        refused(&[("wieght", "1")]),
        "an option is required, got 'wieght' (is 'weight' meant?); options: weight, shape, sides, pull, share, widths, loud, name"
    );
    assert!(
        refused(&[("xyz", "1")]).ends_with(
            "an option is required, got 'xyz'; options: shape, sides, weight, pull, share, widths, loud, name"
        )
    );
}

#[test]
fn a_manifest_gives_values_but_no_presence() {
    let options = words(&[("shape", "square"), ("widths", "[1, 2]")]).expect("options");
    let recorded = Options::recorded(&TABLE, &options.to_json()).expect("a manifest");
    assert_eq!(recorded.to_json(), options.to_json());
    assert_eq!(recorded.get(WIDTHS), [1, 2]);
    assert_eq!(recorded.any_given(&TABLE), None);
    let mut map = options.to_json();
    map.insert("sides".into(), 1.into());
    assert!(Options::recorded(&TABLE, &map).is_err());
}
