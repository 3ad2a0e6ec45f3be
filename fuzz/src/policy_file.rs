//! Policy files: any text gives a policy or an error with its line, in bounded time.

/// Parses any text as services do at startup.
///
/// # Panics
/// If parsing the same text twice gives different results, or an error has an empty message.
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
    assert_eq!(said, error(text), "the same text gave two different results");
    assert!(
        said.is_none_or(|message| !message.trim().is_empty()),
        "an error with an empty message"
    );
}
