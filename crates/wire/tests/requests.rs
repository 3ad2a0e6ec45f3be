//! Tests that requests are parsed at the edge of the services, and that an invalid field is named.

use citycode_domain::claims::DeviceKey;
use citycode_domain::ids::{CodeId, KeyId};
use citycode_domain::reason::InvalidReason;
use citycode_wire::proto::{audit, issuer, model, revocation, verifier::v1};
use citycode_wire::request::{
    self, CompromiseKeyCommand, EraseCommand, FieldFault, HistorySubject, InvalidRequest, IssueCommand, OfficerAct,
    RegisterCommand, RelateCommand, RenameCommand, ScanRequest, Shown, StandingAct,
};

fn fault<T: core::fmt::Debug>(result: Result<T, InvalidRequest>) -> (&'static str, FieldFault) {
    let InvalidRequest { field, fault } = result.expect_err("a bad request");
    (field, fault)
}

#[test]
fn r22_an_officers_action_names_a_reason() {
    let good = revocation::v1::RevokeRequest {
        command_id: vec![7; 16],
        kind: "offline".to_owned(),
        id_number: "11010519491231002X".to_owned(),
        guardian_id_number: String::new(),
        reason: " found in the street ".to_owned(),
    };
    let act = OfficerAct::try_from(good.clone()).expect("a good request");
    assert_eq!(act.reason.as_str(), "found in the street");
    assert_eq!(act.guardian_id_number, None);
    assert_eq!(format!("{act:?}"), "OfficerAct { kind: \"offline\", .. }");

    let bad = revocation::v1::RevokeRequest {
        reason: "  ".to_owned(),
        ..good.clone()
    };
    assert_eq!(
        fault(OfficerAct::try_from(bad)),
        ("reason", FieldFault::Reason(InvalidReason::Empty))
    );
    let bad = revocation::v1::RevokeRequest {
        command_id: vec![7; 15],
        ..good.clone()
    };
    assert_eq!(
        fault(OfficerAct::try_from(bad)),
        ("command_id", FieldFault::WrongLength { bytes: 16 })
    );
    let unknown = revocation::v1::RevokeRequest {
        kind: "k".repeat(65),
        ..good
    };
    assert!(
        OfficerAct::try_from(unknown).is_ok(),
        "only the policy knows the names of kinds"
    );
}

#[test]
fn r21_an_unspecified_standing_is_refused() {
    for standing in [0, 4, -1] {
        let bad = revocation::v1::SetStandingRequest {
            standing,
            reason: "a test result".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            fault(StandingAct::try_from(bad)),
            ("standing", FieldFault::UnknownValue)
        );
    }
}

#[test]
fn ids_are_parsed_only_from_hex_digits() {
    assert_eq!(request::code_id("code_id", "ABABABABABABABAB"), Ok(CodeId([0xab; 8])));
    assert_eq!(request::list_id("list", "01429a30").map(|list| list.0), Ok(0x0142_9a30));
    for bad in ["", "0142", "0142 a30", "+1429a30"] {
        assert_eq!(
            fault(request::list_id("list", bad)),
            ("list", FieldFault::NotHex { digits: 8 })
        );
        assert_eq!(fault(request::key_id("key_id", bad)).0, "key_id");
    }
    let nothing = audit::v1::HistoryRequest::default();
    assert_eq!(
        fault(HistorySubject::try_from(&nothing)),
        ("subject", FieldFault::Missing)
    );
}

#[test]
fn a_code_that_is_too_long_is_unreadable_and_an_invalid_field_of_a_scan_is_named() {
    let scan = |scan| v1::VerifyRequest {
        scan,
        ..Default::default()
    };
    let code = |length| scan(Some(v1::verify_request::Scan::Code("A".repeat(length))));
    let shown = |request: &v1::VerifyRequest| ScanRequest::try_from(request).map(|scan| format!("{:?}", scan.shown));
    let (longest, long) = (code(4_296), code(4_297));
    assert!(matches!(ScanRequest::try_from(&longest), Ok(scan) if scan.shown == Shown::Code(&"A".repeat(4_296))));
    assert!(matches!(ScanRequest::try_from(&long), Ok(scan) if scan.shown == Shown::Code("")));
    assert_eq!(shown(&longest), Ok("Code(…)".to_owned()));
    assert_eq!(
        shown(&scan(None)),
        Err(InvalidRequest::new("scan", FieldFault::Missing))
    );

    for device in ["d".repeat(129), "gate 7".to_owned(), "门".to_owned()] {
        let bad = v1::VerifyRequest { device, ..code(1) };
        assert_eq!(shown(&bad), Err(InvalidRequest::new("device", FieldFault::Device)));
    }
    let bad = v1::VerifyRequest {
        scan_id: "s".repeat(129),
        ..code(1)
    };
    let InvalidRequest { field, fault } = shown(&bad).expect_err("it is too long");
    assert_eq!(
        (field, fault.to_string().as_str()),
        ("scan_id", "has at most 128 bytes")
    );
    let card = v1::VerifyRequest {
        person_differs: true,
        ..scan(Some(v1::verify_request::Scan::IdCard(String::new())))
    };
    assert_eq!(
        shown(&card),
        Err(InvalidRequest::new("person_differs", FieldFault::WithoutCode))
    );
    let differs = v1::VerifyRequest {
        person_differs: true,
        ..code(1)
    };
    assert!(ScanRequest::try_from(&differs).is_ok_and(|scan| scan.person_differs));

    let good = v1::VerifyRequest {
        device: "d".repeat(128),
        scan_id: "s".repeat(128),
        ..code(1)
    };
    let parsed = ScanRequest::try_from(&good).expect("a good request");
    assert_eq!((parsed.id_number, parsed.at, parsed.explain), (None, None, true));
    assert!(!parsed.person_differs);
}

/// The fault of a field, of a command that cannot be printed.
fn field_of<T>(result: Result<T, InvalidRequest>) -> (&'static str, String) {
    let InvalidRequest { field, fault } = result.err().expect("a bad request");
    (field, fault.to_string())
}

#[test]
fn a_request_to_the_issuer_is_refused_by_the_name_of_its_invalid_field() {
    let authentication = |method: &str| model::v1::Authentication {
        method: method.to_owned(),
        assertion: String::new(),
    };
    let good = issuer::v1::IssueRequest {
        command_id: vec![7; 16],
        authentication: Some(authentication(&"m".repeat(32))),
        device_key: vec![2; 33],
        ..Default::default()
    };
    let command = IssueCommand::try_from(good.clone()).expect("a good request");
    assert_eq!(command.device_key, Some(DeviceKey::P256([2; 33])));
    assert_eq!((command.channel, command.guardian_id_number), (None, None));
    for method in ["m".repeat(33), "Face".to_owned(), "a b".to_owned()] {
        let bad = issuer::v1::IssueRequest {
            authentication: Some(authentication(&method)),
            ..good.clone()
        };
        let (field, fault) = field_of(IssueCommand::try_from(bad));
        assert_eq!(field, "authentication.method");
        assert_eq!(fault, "consists of at most 32 characters a-z, 0-9, - and _");
    }
    for length in [1, 31, 34, 65] {
        let bad = issuer::v1::IssueRequest {
            device_key: vec![2; length],
            ..good.clone()
        };
        assert_eq!(field_of(IssueCommand::try_from(bad)).0, "device_key");
    }
    let relate = issuer::v1::RelateRequest {
        dependent_authentication: Some(authentication("?")),
        ..Default::default()
    };
    assert_eq!(
        field_of(RelateCommand::try_from(relate)).0,
        "dependent_authentication.method"
    );
    let register = issuer::v1::RegisterRequest {
        name: "\u{5f20}3".to_owned(),
        ..Default::default()
    };
    assert_eq!(field_of(RegisterCommand::try_from(register)).0, "name");
    let rename = issuer::v1::RenameRequest {
        name: "\u{5f20}".to_owned(),
        ..Default::default()
    };
    assert_eq!(field_of(RenameCommand::try_from(rename)).0, "reason");
    let erase = issuer::v1::EraseRequest {
        command_id: vec![7],
        ..Default::default()
    };
    assert_eq!(field_of(EraseCommand::try_from(erase)).0, "command_id");
}

#[test]
fn a_text_that_is_no_key_id_names_no_key() {
    let compromise = |key_id: &str| {
        let request = issuer::v1::CompromiseKeyRequest {
            command_id: Vec::new(),
            key_id: key_id.to_owned(),
        };
        CompromiseKeyCommand::try_from(request).expect("a good request").key_id
    };
    assert_eq!(compromise("0142"), None);
    assert_eq!(compromise("01429a30"), Some(KeyId([0x01, 0x42, 0x9a, 0x30])));
}
