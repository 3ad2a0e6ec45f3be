//! A policy file: any text is a policy or an error with its place, in bounded work.

/// Parses any text as the program does at its start.
///
/// # Panics
/// When the same text does not give the same answer twice, or an error says nothing.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let error = |text| {
        citycode_policy_file::parse(text)
            .map_err(|error| error.to_string())
            .err()
    };
    let said = error(text);
    assert_eq!(said, error(text), "two answers to one text");
    assert!(
        said.is_none_or(|message| !message.trim().is_empty()),
        "an error without words"
    );
}
