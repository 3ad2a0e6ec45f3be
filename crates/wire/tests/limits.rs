//! The table of limits is what the protobuf files and the operators' documents say.

use std::fs;
use std::path::{Path, PathBuf};

use citycode_wire::limits::FIELDS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `Message.field` of every field in the protobuf files of the API, with the comment above it on one line.
fn commented_fields() -> Vec<(String, String)> {
    let services = ["model", "issuer", "revocation", "verifier", "audit"];
    let files = services.map(|name| root().join(format!("proto/citycode/{name}/v1/{name}.proto")));
    let mut fields = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a protobuf file");
        let (mut message, mut comment) = (String::new(), String::new());
        for line in text.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("//") {
                comment.push_str(words);
                continue;
            }
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.trim_end_matches(" {").to_owned();
            } else if let Some((left, _)) = line.split_once(" = ") {
                let name = left.rsplit(' ').next().expect("a name");
                fields.push((format!("{message}.{name}"), comment.clone()));
            }
            comment.clear();
        }
    }
    fields
}

#[test]
fn the_comments_of_the_protobuf_files_state_every_limit() {
    let fields = commented_fields();
    for (field, limit) in FIELDS {
        let found = fields.iter().find(|(name, _)| name == field);
        let (_, comment) = found.unwrap_or_else(|| panic!("no protobuf file has {field}"));
        assert!(comment.contains(&limit.to_string()), "{field}: {comment}, but {limit}");
    }
}

#[test]
fn every_limit_in_a_comment_is_in_the_table() {
    let stated = |comment: &str| {
        comment.split("at most ").skip(1).any(|rest| {
            let mut words = rest.split_ascii_whitespace();
            let is_number = words
                .next()
                .is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
            is_number
                && words
                    .next()
                    .is_some_and(|unit| unit.starts_with("bytes") || unit.starts_with("characters"))
        })
    };
    for (field, comment) in commented_fields() {
        let listed = FIELDS.iter().any(|(name, _)| *name == field);
        assert!(!stated(&comment) || listed, "{field} is not in the table: {comment}");
    }
}

#[test]
fn the_operators_documents_list_the_same_limits() {
    let document = fs::read_to_string(root().join("docs/operations.md")).expect("the document");
    let (_, section) = document
        .split_once("**Lengths of request fields.**")
        .expect("the section");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = FIELDS
        .iter()
        .map(|(field, limit)| format!("| `{field}` | {limit} |"))
        .collect();
    let written = rows.get(..expected.len());
    assert_eq!(
        written.map(<[&str]>::to_vec),
        Some(expected.iter().map(String::as_str).collect())
    );
}
