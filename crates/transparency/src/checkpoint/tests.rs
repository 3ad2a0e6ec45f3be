use super::*;
use crate::note::KeyKind;

/// The example of C2SP tlog-checkpoint.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa \
    Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

#[test]
fn the_example_of_the_specification_is_parsed() {
    let signed = SignedCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
    let checkpoint = signed.unverified();
    assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.head().size, 20_852_163);
    assert_eq!(
        checkpoint.head().root.to_base64(),
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    );
    assert_eq!(signed.to_bytes(), EXAMPLE.as_bytes());
    assert_eq!(checkpoint.to_text(), signed.note().text());
}

#[test]
fn what_is_not_a_checkpoint_is_refused_with_the_reason() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let refused = |text: &str| Checkpoint::parse(text).unwrap_err();
    assert_eq!(refused(""), CheckpointInvalid::Lines);
    assert_eq!(refused("o\n1\n"), CheckpointInvalid::Lines);
    assert_eq!(refused(&format!("o\n1\n{root}")), CheckpointInvalid::Lines);
    assert_eq!(refused(&format!("\n1\n{root}\n")), CheckpointInvalid::Lines);
    assert_eq!(refused(&format!("o\n1\n{root}\n\n")), CheckpointInvalid::Lines);
    assert_eq!(refused(&format!("o\n1\n{root}\n\nx\n")), CheckpointInvalid::Lines);
    for size in [
        "01",
        "+1",
        "-1",
        " 1",
        "1 ",
        "0x1",
        "1.0",
        "4611686018427387905",
        "18446744073709551616",
    ] {
        assert_eq!(
            refused(&format!("o\n{size}\n{root}\n")),
            CheckpointInvalid::Size,
            "{size}"
        );
    }
    for root in ["x", &root[1..], &format!("{root}="), &root.replace("2I=", "2J=")] {
        assert_eq!(refused(&format!("o\n1\n{root}\n")), CheckpointInvalid::Root, "{root}");
    }
    for size in ["0", "4611686018427387904"] {
        let text = format!("o\n{size}\n{root}\nextension 1\nextension 2\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!(checkpoint.to_text(), text);
        assert_eq!(checkpoint.extensions(), ["extension 1", "extension 2"]);
    }
}

#[test]
fn an_origin_of_two_lines_and_a_tree_that_is_too_large_are_refused() {
    let head = TreeHead::EMPTY;
    for origin in ["", "a\nb"] {
        assert_eq!(Checkpoint::new(origin, head), Err(CheckpointInvalid::Lines));
    }
    let size = MAX_TREE_SIZE + 1;
    assert_eq!(
        Checkpoint::new("o", TreeHead { size, ..head }),
        Err(CheckpointInvalid::Size)
    );
    let log = NoteSigner::from_seed("o", KeyKind::Log, &[1; 32]).unwrap();
    let tab = Checkpoint::new("a\tb", head).unwrap();
    assert_eq!(tab.sign(&log), Err(NoteInvalid::Characters));
}
