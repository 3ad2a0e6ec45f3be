//! Tests of invalid policy files: each error names the line and the correction, and none panics.

use citycode_policy_file::{CAMPUS, MAX_FILE_BYTES, PolicyFileError, SHANGHAI, parse, read};
use proptest::prelude::*;

/// Parses Shanghai's policy with one text replaced; returns the error text and the line of the replacement.
fn refused(from: &str, to: &str) -> (String, usize) {
    let at = SHANGHAI.find(from).expect("the policy contains the text");
    let line = SHANGHAI[..at].matches('\n').count() + 1;
    let text = SHANGHAI.replacen(from, to, 1);
    (parse(&text).expect_err(to).to_string(), line)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of mistakes")]
fn every_mistake_is_reported_with_its_line_and_the_correction() {
    let table = [
        (
            "device_bound = true",
            "device_bond = true",
            "did you mean `device_bound`?",
        ),
        ("time_zone = ", "timezone = ", "did you mean `time_zone`?"),
        (
            "max_age = \"60s\"",
            "max_age = 60",
            "needs a duration in quotes, e.g. \"30d\", and is a integer",
        ),
        ("max_age = \"60s\"", "max_age = \"60 s\"", "is not a duration"),
        ("max_age = \"60s\"", "max_age = \"2h\"", "from 1s to 1h"),
        ("max_age = \"60s\"", "max_age = \"1500ms\"", "whole seconds"),
        ("\"12345\"", "\"call us\"", "a telephone number has 2 to 20 digits"),
        ("\"12345\"", "12345", "needs a"),
        ("number = 2", "number = 1", "already belongs to the kind `live`"),
        ("number = 2", "number = 16", "from 1 to 15"),
        ("number = 2", "number = 0", "from 1 to 15"),
        ("number = 2", "number = \"2\"", "needs a whole number, and is a string"),
        ("number = 2", "number = 99999999999999999999999", "from 1 to 15"),
        (
            "valid_code = \"family\"",
            "valid_code = \"familly\"",
            "did you mean `family`?",
        ),
        (
            "valid_code = \"family\"",
            "valid_code = \"live\"",
            "`live` is not per_guardian",
        ),
        (
            "guardian = \"per_guardian\"",
            "guardian = \"per_gaurdian\"",
            "did you mean `per_guardian`?",
        ),
        ("\"under:18\"", "\"under:\"", "from 1 to 150"),
        ("\"under:18\"", "\"under:256\"", "from 1 to 150"),
        ("\"under:18\"", "\"below:18\"", "unknown word"),
        ("\"under:18\"", "\"disability\"", "twice"),
        ("accepts = { live", "accepts = { lives", "did you mean `live`?"),
        ("id_card = \"admit\"", "id_card = \"after_id_check\"", "unknown word"),
        (
            "offline = \"after_id_check\"",
            "offline = \"after_id_chek\"",
            "did you mean `after_id_check`?",
        ),
        (
            "offline = [\"issue\", \"reissue\", \"loss\"]",
            "ofline = []",
            "did you mean `offline`?",
        ),
        (
            "live = [\"issue\", \"reissue\", \"loss\"]",
            "live = [\"reissue\"]",
            "needs `issue`",
        ),
        (
            "live = [\"issue\", \"reissue\", \"loss\"]",
            "live = [\"loss\", \"loss\"]",
            "twice",
        ),
        (
            "\"Asia/Shanghai\"",
            "\"Asia/Shanghia\"",
            "did you mean `Asia/Shanghai`?",
        ),
        (
            "\"Asia/Shanghai\"",
            "\"asia/shanghai\"",
            "did you mean `Asia/Shanghai`?",
        ),
        ("\"Asia/Shanghai\"", "\"../../etc/passwd\"", "there is no time zone"),
        ("\"https://s.example/\"", "\"https://s.example\"", "with a / at its end"),
        ("\"https://s.example/\"", "\"ftp://s.example/\"", "https://"),
        ("name = \"shanghai\"", "name = \"Shang hai\"", "a name is 1 to 32"),
        (
            "name = \"shanghai\"",
            "name = \"shanghai\"\nname = \"b\"",
            "duplicate key",
        ),
        ("zh = \"随申码\"", "zh = \"\"", "a label is"),
        ("zh = \"随申码\"", "zh = \"a\\u0007\"", "a label is"),
        ("[kinds.live]", "[kinds.id_card]", "resident ID card"),
        (
            "groups = [\"low_vision\", \"veteran\", \"care_home_resident\"]",
            "groups = []",
            "`groups` is empty",
        ),
    ];
    for (from, to, words) in table {
        let (error, line) = refused(from, to);
        assert!(error.contains(words), "{to}: {error}");
        let near = (line..=line + 1).any(|line| error.starts_with(&format!("line {line}")));
        // An empty list of groups is reported at the eligibility that needs it, everything else at its own
        // line.
        assert!(near || to == "groups = []", "{to} is on line {line}: {error}");
    }
}

#[test]
fn missing_keys_are_named() {
    for key in ["time_zone", "proof", "kinds", "places", "channels", "name", "label"] {
        let error = parse("").expect_err("an empty file").to_string();
        assert!(error.ends_with("is missing"), "{error}");
        let text: String = SHANGHAI.lines().filter(|line| !line.contains(key)).collect();
        assert!(parse(&text).is_err(), "without {key}");
    }
    let without_attesting = SHANGHAI.replace("attests = true", "");
    let error = parse(&without_attesting).expect_err("no channel attests").to_string();
    assert!(error.contains("no channel has `attests = true`"), "{error}");
}

#[test]
fn hostile_text_is_bounded_in_time_and_in_the_error() {
    let long_key = format!("{} = 1", "k".repeat(60_000));
    let nested = format!("name = {}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let tables = "[[a.b]]\n".repeat(8_000);
    let control = "name = \"a\"\n\"\\u001b[2J\\n\" = 1".to_owned();
    for text in [long_key, nested, tables, control] {
        let error = parse(&text).expect_err("no policy").to_string();
        assert!(error.len() < 1_000, "{}", error.len());
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    assert!(matches!(
        parse(&" ".repeat(MAX_FILE_BYTES + 1)),
        Err(PolicyFileError::TooLarge)
    ));
}

#[test]
fn files_are_read_with_their_own_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.toml");
    assert!(matches!(read(&file), Err(PolicyFileError::Read { .. })));
    assert!(matches!(read(folder.path()), Err(PolicyFileError::Read { .. })));
    let write = |bytes: &[u8]| std::fs::write(&file, bytes).expect("written");
    write(b"name = \"\xff\"");
    assert!(matches!(read(&file), Err(PolicyFileError::NotUtf8)));
    write(&vec![b'#'; MAX_FILE_BYTES + 1]);
    assert!(matches!(read(&file), Err(PolicyFileError::TooLarge)));
    write(format!("\u{feff}{}", CAMPUS.replace('\n', "\r\n")).as_bytes());
    assert_eq!(read(&file).expect("a policy"), parse(CAMPUS).expect("a policy"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_cause_a_panic(at in 0..SHANGHAI.len(), len in 0..40_usize, put in "\\PC{0,8}") {
        let mut bytes = SHANGHAI.as_bytes().to_vec();
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        if let Ok(policy) = parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!policy.kinds.is_empty() && policy.longest_validity_seconds() > 0);
        }
    }
}
