use proptest::prelude::*;

use super::*;

/// The example of C2SP signed-note.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n— example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn log() -> NoteSigner {
    NoteSigner::from_seed("city.example/log/00", KeyKind::Log, &[1; 32]).unwrap()
}

fn witness() -> NoteSigner {
    NoteSigner::from_seed("witness.example/w1", KeyKind::Witness, &[2; 32]).unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!((key.name(), key.to_string().as_str()), ("example.com/foo", VKEY));
    let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_bytes(), NOTE.as_bytes());
    let keys = [key];
    let verified = note.verify(&keys).unwrap();
    assert_eq!((verified.len(), verified[0].unix_seconds), (1, None));
}

#[test]
fn a_changed_text_and_a_changed_signature_do_not_verify() {
    let key: VerifierKey = VKEY.parse().unwrap();
    let refused = Err(NoteUnverified {
        name: "example.com/foo".to_owned(),
    });
    for (from, to) in [
        ("message.", "message!"),
        ("Uw2QOkn8", "Uw2QOkn9"),
        ("aQM=", "aQ=="),
        ("This", "\nThis"),
    ] {
        let note = SignedNote::parse(NOTE.replacen(from, to, 1).as_bytes()).unwrap();
        assert_eq!(note.verify(std::slice::from_ref(&key)), refused, "{to}");
    }
}

#[test]
fn signatures_of_other_keys_are_ignored_and_each_key_counts_once() {
    let (log, witness) = (log(), witness());
    let text = "a\nb\n";
    let signature = log.sign(text, 0);
    let mut stranger = log.sign("another text\n", 0);
    stranger.name = "stranger.example".to_owned();
    let mut other_id = log.sign("another text\n", 0);
    other_id.key_id[0] ^= 1;
    let signatures = vec![
        stranger,
        signature.clone(),
        other_id,
        signature,
        witness.sign(text, 7),
        witness.sign(text, 9),
    ];
    let note = SignedNote::new(text.to_owned(), signatures).unwrap();
    let keys = [log.verifier().clone(), witness.verifier().clone()];
    let verified = note.verify(&keys).unwrap();
    let times: Vec<_> = verified
        .iter()
        .map(|signature| (signature.key.kind(), signature.unix_seconds))
        .collect();
    assert_eq!(times, [(KeyKind::Log, None), (KeyKind::Witness, Some(7))]);
    assert_eq!(note.verify(&[]), Ok(Vec::new()));
}

#[test]
fn a_cosignature_is_bound_to_its_time_and_its_role() {
    let witness = witness();
    let keys = [witness.verifier().clone()];
    let note = |signature| SignedNote::new("a\n".to_owned(), vec![signature]).unwrap();
    let signature = witness.sign("a\n", 1_790_000_000);
    assert!(note(signature.clone()).verify(&keys).is_ok());
    let mut later = signature.clone();
    later.bytes[7] ^= 1;
    assert!(note(later).verify(&keys).is_err());
    assert!(note(witness.sign("a\n", i64::MAX as u64)).verify(&keys).is_ok());
    assert!(note(witness.sign("a\n", i64::MAX as u64 + 1)).verify(&keys).is_err());
    // The same private key as a log: its signature is not a cosignature, and has another key id.
    let as_log = NoteSigner::from_seed("witness.example/w1", KeyKind::Log, &[2; 32]).unwrap();
    assert_ne!(as_log.verifier().id(), witness.verifier().id());
    let mut disguised = as_log.sign("a\n", 0);
    disguised.key_id = witness.verifier().id();
    assert!(note(disguised).verify(&keys).is_err());
}

#[test]
fn what_is_not_a_verifier_key_is_refused_with_the_reason() {
    let refused = |text: &str| text.parse::<VerifierKey>().unwrap_err();
    assert_eq!(refused("example.com/foo"), VerifierKeyInvalid::Format);
    assert_eq!(
        refused(&VKEY.replace("530d903a", "530D903A")),
        VerifierKeyInvalid::Format
    );
    assert_eq!(
        refused(&VKEY.replace("530d903a", "530d903")),
        VerifierKeyInvalid::Format
    );
    assert_eq!(
        refused(&VKEY.replace("530d903a", "530d903b")),
        VerifierKeyInvalid::KeyId
    );
    assert_eq!(refused(&VKEY.replace("foo", "fou")), VerifierKeyInvalid::KeyId);
    assert_eq!(
        refused(&VKEY.replace("foo", "f o")),
        VerifierKeyInvalid::Name(KeyNameInvalid)
    );
    assert_eq!(
        refused(&VKEY.replace("example.com/foo", "")),
        VerifierKeyInvalid::Name(KeyNameInvalid)
    );
    assert_eq!(refused(&format!("{VKEY}=")), VerifierKeyInvalid::Format);
    assert_eq!(refused(&format!("{VKEY}\n")), VerifierKeyInvalid::Format);
    assert_eq!(refused(&"a".repeat(1 << 20)), VerifierKeyInvalid::Format);
    let of = |key: &[u8]| format!("n+00000000+{}", crate::base64::encode(key));
    assert_eq!(refused(&of(&[0x06; 33])), VerifierKeyInvalid::Kind(0x06));
    assert_eq!(refused(&of(&[0x01; 32])), VerifierKeyInvalid::PublicKey);
    assert_eq!(refused(&of(&[])), VerifierKeyInvalid::Format);
}

#[test]
fn weak_and_ambiguous_public_keys_are_refused() {
    let (mut identity, mut order_two, mut above) = ([0; 32], [0xff; 32], [0xff; 32]);
    identity[0] = 1;
    (order_two[0], order_two[31]) = (0xec, 0x7f);
    // The identity again, as p + 1: not the encoding that RFC 8032 demands.
    (above[0], above[31]) = (0xee, 0x7f);
    for key in [[0; 32], identity, order_two, above] {
        let refused = VerifierKey::new("n", KeyKind::Log, &key);
        assert_eq!(refused, Err(VerifierKeyInvalid::PublicKey), "{key:02x?}");
    }
}

#[test]
fn what_is_not_a_note_is_refused_with_the_reason() {
    let refused = |text: &str| SignedNote::parse(text.as_bytes()).unwrap_err();
    let signature = NOTE.split("\n\n").nth(1).unwrap();
    assert_eq!(refused(""), NoteInvalid::Structure);
    assert_eq!(refused("text\n"), NoteInvalid::Structure);
    assert_eq!(refused("text\n\n"), NoteInvalid::Structure);
    assert_eq!(refused(NOTE.trim_end()), NoteInvalid::Structure);
    assert_eq!(refused(&format!("text\n\n{signature}x\n")), NoteInvalid::Signature(2));
    assert_eq!(refused(&format!("{NOTE}\n")), NoteInvalid::Structure);
    assert_eq!(refused(&NOTE.replace("— ", "- ")), NoteInvalid::Signature(1));
    assert_eq!(
        refused(&NOTE.replace("— example.com/foo", "— ")),
        NoteInvalid::Signature(1)
    );
    assert_eq!(
        refused(&NOTE.replace("example.com/foo", "a+b")),
        NoteInvalid::Signature(1)
    );
    assert_eq!(refused(&NOTE.replace("yaQM=", "yaQN=")), NoteInvalid::Signature(1));
    assert_eq!(refused(&NOTE.replace("yaQM=\n", "yaQM= \n")), NoteInvalid::Signature(1));
    assert_eq!(refused("text\n\n— n AAA=\n"), NoteInvalid::Signature(1));
    assert_eq!(
        refused(&NOTE.replace("example message", "example\tmessage")),
        NoteInvalid::Characters
    );
    assert_eq!(refused(&NOTE.replace('\n', "\r\n")), NoteInvalid::Structure);
    assert_eq!(SignedNote::parse(b"\xff\n\n"), Err(NoteInvalid::Characters));
    assert_eq!(refused(&"a".repeat(MAX_NOTE_BYTES + 1)), NoteInvalid::TooLong);
    let many = format!("text\n\n{}", signature.repeat(MAX_SIGNATURES));
    assert!(SignedNote::parse(many.as_bytes()).is_ok());
    assert_eq!(refused(&format!("{many}{signature}")), NoteInvalid::SignatureCount);
}

#[test]
fn the_lines_of_a_witness_are_parsed_like_those_of_a_note() {
    let lines = [log().sign("a\n", 0), witness().sign("a\n", 5)];
    let text: String = lines.iter().map(NoteSignature::to_line).collect();
    assert_eq!(SignedNote::parse_signatures(text.as_bytes()).unwrap(), lines);
    for wrong in ["", "\n", "text\n", &format!("text\n\n{text}"), text.trim_end()] {
        assert!(SignedNote::parse_signatures(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let mut note = SignedNote::new("a\n".to_owned(), lines.to_vec()).unwrap();
    let many = vec![lines[0].clone(); MAX_SIGNATURES];
    let before = note.clone();
    let mut full = note.clone();
    assert_eq!(full.add(many[..MAX_SIGNATURES - 2].iter().cloned()), Ok(()));
    assert_eq!(full.signatures().len(), MAX_SIGNATURES);
    assert_eq!(note.add(many), Err(NoteInvalid::SignatureCount));
    assert_eq!(note, before);
}

#[test]
fn a_signer_does_not_show_its_private_key() {
    let signer = NoteSigner::from_seed("n", KeyKind::Log, &[0xab; 32]).unwrap();
    let shown = format!("{signer:?}");
    assert_eq!(shown, format!("NoteSigner({})", signer.verifier()));
    assert!(!shown.contains(&crate::base64::encode(&[0xab; 32])));
}

proptest! {
    #[test]
    fn a_note_of_any_text_round_trips_and_verifies(text in "([ -~äé漢—]|\n){0,80}", seed in any::<[u8; 32]>()) {
        let signer = NoteSigner::from_seed("log.example", KeyKind::Log, &seed).unwrap();
        let text = format!("{text}\n");
        let note = SignedNote::new(text.clone(), vec![signer.sign(&text, 0)]).unwrap();
        let parsed = SignedNote::parse(&note.to_bytes()).unwrap();
        prop_assert_eq!(&parsed, &note);
        let keys = [signer.verifier().to_string().parse().unwrap()];
        prop_assert_eq!(parsed.verify(&keys).unwrap().len(), 1);
    }
}
