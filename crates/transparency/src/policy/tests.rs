use super::*;
use crate::hash::leaf_hash;
use crate::note::NoteSigner;
use crate::tree::TreeHead;

const ORIGIN: &str = "city.example/log/00";
const NOW: u64 = 1_790_000_000;

fn log(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(name, KeyKind::Log, &[seed; 32]).unwrap()
}

fn witness(number: u8) -> NoteSigner {
    NoteSigner::from_seed(
        &format!("witness.example/w{number}"),
        KeyKind::Witness,
        &[100 + number; 32],
    )
    .unwrap()
}

fn checkpoint() -> Checkpoint {
    let head = TreeHead {
        size: 5,
        root: leaf_hash(b"root"),
    };
    Checkpoint::new(ORIGIN, head).unwrap()
}

/// A checkpoint that the log and these witnesses signed.
fn signed(witnesses: &[u8]) -> SignedCheckpoint {
    let mut signed = checkpoint().sign(&log(ORIGIN, 1)).unwrap();
    let text = checkpoint().to_text();
    let cosignatures = witnesses
        .iter()
        .map(|number| witness(*number).sign(&text, NOW + u64::from(*number)));
    signed.add(cosignatures).unwrap();
    signed
}

fn policy(witnesses: &[u8], quorum: usize) -> TrustPolicy {
    let witnesses = witnesses
        .iter()
        .map(|number| witness(*number).verifier().clone())
        .collect();
    TrustPolicy::new(vec![log(ORIGIN, 1).verifier().clone()], witnesses, quorum).unwrap()
}

#[test]
fn a_quorum_counts_known_witnesses_once() {
    let quorum = |cosigned, quorum| Err(CheckpointUntrusted::Quorum { cosigned, quorum });
    let names = |trusted: TrustedCheckpoint| trusted.cosignatures.len();
    assert_eq!(policy(&[], 0).verify(&signed(&[])).map(names), Ok(0));
    assert_eq!(policy(&[1, 2, 3], 2).verify(&signed(&[1, 3])).map(names), Ok(2));
    assert_eq!(policy(&[1, 2, 3], 2).verify(&signed(&[1, 4])).map(names), quorum(1, 2));
    assert_eq!(
        policy(&[1, 2, 3], 2).verify(&signed(&[1, 1, 1])).map(names),
        quorum(1, 2)
    );
    // What more there is is reported, though it is not demanded.
    let trusted = policy(&[1, 2], 0).verify(&signed(&[2, 9])).unwrap();
    let expected = Cosignature {
        witness: "witness.example/w2".to_owned(),
        unix_seconds: NOW + 2,
    };
    assert_eq!(
        (trusted.checkpoint, trusted.cosignatures),
        (checkpoint(), vec![expected])
    );
}

#[test]
fn only_a_log_whose_name_is_the_origin_is_trusted() {
    let untrusted = Err(CheckpointUntrusted::Log {
        origin: ORIGIN.to_owned(),
    });
    let other_key = TrustPolicy::new(vec![log(ORIGIN, 2).verifier().clone()], vec![], 0).unwrap();
    assert_eq!(other_key.verify(&signed(&[1])), untrusted);
    // Another known log signed the statement of this one.
    let other = log("city.example/log/01", 1);
    let foreign = checkpoint().sign(&other).unwrap();
    let both = TrustPolicy::new(
        vec![log(ORIGIN, 1).verifier().clone(), other.verifier().clone()],
        vec![],
        0,
    )
    .unwrap();
    assert_eq!(both.verify(&foreign), untrusted);
    assert!(both.verify(&signed(&[])).is_ok());
}

#[test]
fn a_false_signature_of_a_known_witness_refuses_the_checkpoint() {
    let mut signed = signed(&[1]);
    signed.add([witness(2).sign("another text\n", NOW)]).unwrap();
    assert!(policy(&[1], 1).verify(&signed).is_ok(), "unknown witnesses are ignored");
    let refused = policy(&[1, 2], 1).verify(&signed);
    assert!(matches!(refused, Err(CheckpointUntrusted::Signature(_))), "{refused:?}");
}

#[test]
fn keys_that_are_no_policy_are_refused() {
    let (a, w) = (log(ORIGIN, 1).verifier().clone(), witness(1).verifier().clone());
    let refused = |logs: &[&VerifierKey], witnesses: &[&VerifierKey], quorum| {
        let own = |keys: &[&VerifierKey]| keys.iter().map(|key| (*key).clone()).collect();
        TrustPolicy::new(own(logs), own(witnesses), quorum).unwrap_err()
    };
    assert_eq!(refused(&[], &[&w], 0), TrustPolicyInvalid::NoLog);
    assert_eq!(refused(&[&w], &[], 0), TrustPolicyInvalid::Role(w.clone()));
    assert_eq!(refused(&[&a], &[&a], 0), TrustPolicyInvalid::Role(a.clone()));
    assert_eq!(
        refused(&[&a], &[&w], 2),
        TrustPolicyInvalid::Quorum { quorum: 2, known: 1 }
    );
    assert_eq!(refused(&[&a], &[&w, &w], 2), TrustPolicyInvalid::Twice(w.clone()));
    let renamed = VerifierKey::new("other.example", KeyKind::Witness, w.public_key()).unwrap();
    assert_eq!(refused(&[&a], &[&w, &renamed], 2), TrustPolicyInvalid::Twice(renamed));
    let own_witness = VerifierKey::new("own.example", KeyKind::Witness, a.public_key()).unwrap();
    assert_eq!(
        refused(&[&a], &[&own_witness], 1),
        TrustPolicyInvalid::Twice(own_witness)
    );
    // One key of the audit service signs the logs of all partitions.
    let of_another_partition = VerifierKey::new("city.example/log/01", KeyKind::Log, a.public_key()).unwrap();
    assert!(TrustPolicy::new(vec![a, of_another_partition], vec![], 0).is_ok());
}
