//! `Debug` shows no personal data (R28): every message with a field whose comment says "personal" shows only
//! its name.

use std::collections::BTreeSet;

use citycode_wire::proto::{FILE_DESCRIPTOR_SET, audit, issuer, model, revocation, verifier};
use prost::Message;
use prost_types::FileDescriptorSet;

/// Path of a field within a file's source locations: message (4) number, field (2) number.
fn field_path(path: &[i32]) -> Option<(usize, usize)> {
    match path {
        [4, message, 2, field] => Some((usize::try_from(*message).ok()?, usize::try_from(*field).ok()?)),
        _ => None,
    }
}

/// Full names of the messages with a personal field, by the comments of the protobuf files.
fn personal_messages() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it");
    let mut personal = BTreeSet::new();
    for file in &files.file {
        let comments = file.source_code_info.as_ref().expect("the build keeps comments");
        for location in &comments.location {
            let says_personal = location
                .leading_comments()
                .to_lowercase()
                .replace('\n', " ")
                .contains("personal.");
            if let (true, Some((message, _))) = (says_personal, field_path(&location.path)) {
                let name = file.message_type[message].name();
                personal.insert(format!("{}.{name}", file.package()));
            }
        }
    }
    personal
}

macro_rules! shown {
    ($($package:ident :: $message:ident),+ $(,)?) => {
        [$((
            format!("citycode.{}.v1.{}", stringify!($package), stringify!($message)),
            format!("{:?}", $package::v1::$message::default()),
            concat!(stringify!($message), " { .. }"),
        )),+]
    };
}

#[test]
fn r28_messages_with_a_personal_field_show_only_their_name() {
    let shown = shown!(
        model::Authentication,
        issuer::RegisterRequest,
        issuer::RelateRequest,
        issuer::UnrelateRequest,
        issuer::IssueRequest,
        issuer::IssuedCode,
        issuer::ReprintRequest,
        issuer::ListCodesRequest,
        issuer::ListCodesResponse,
        issuer::ListQueriesAboutRequest,
        issuer::EraseRequest,
        issuer::RenameRequest,
        issuer::ImportRow,
        revocation::ReportLossRequest,
        revocation::RevokeRequest,
        revocation::RevokeCodeRequest,
        revocation::SuspendRequest,
        revocation::ReinstateRequest,
        revocation::SetStandingRequest,
        verifier::VerifyRequest,
        audit::HolderKind,
        audit::ShownCode,
    );
    for (name, debug, expected) in &shown {
        assert_eq!(debug, expected, "{name}");
    }
    let covered: BTreeSet<String> = shown.into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(personal_messages(), covered);
}

#[test]
fn r28_an_id_number_is_not_in_the_debug_of_any_enclosing_message() {
    const MARK: &str = "11010519491231002X";
    let row = issuer::v1::ImportRequest {
        part: Some(issuer::v1::import_request::Part::Row(issuer::v1::ImportRow {
            id_number: MARK.to_owned(),
            ..Default::default()
        })),
    };
    let history = audit::v1::HistoryRequest {
        subject: Some(audit::v1::history_request::Subject::HolderKind(audit::v1::HolderKind {
            id_number: MARK.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let card = verifier::v1::verify_request::Scan::IdCard(MARK.to_owned());
    let answer = issuer::v1::IssueResponse {
        code: Some(issuer::v1::IssuedCode {
            token: MARK.to_owned(),
            ..Default::default()
        }),
    };
    for text in [
        format!("{row:?}"),
        format!("{history:?}"),
        format!("{card:?}"),
        format!("{answer:?}"),
    ] {
        assert!(!text.contains(MARK), "{text}");
    }
}
