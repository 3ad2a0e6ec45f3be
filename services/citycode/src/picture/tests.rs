use std::os::unix::fs::PermissionsExt as _;

use super::*;

const TOKEN: &str = "CC1:NCFOXN%TS3DHZN4HAF*PQFKKGTNA.Q/R8WRU2FC1J9LMCHE";

fn policy() -> PolicyView {
    serde_json::from_str(
        r#"{"label":{"zh":"上海市随申码","en":"Shanghai codes"},"time_zone":"Asia/Shanghai","kinds":[
            {"name":"sampling","label":{"zh":"核酸码","en":"sampling code"}},
            {"name":"offline","label":{"zh":"离线随申码","en":"offline code"},"on_paper":true},
            {"name":"live","label":{"zh":"随申码","en":"live code"},"device_bound":true}]}"#,
    )
    .unwrap()
}

fn code(kind: &str) -> IssuedCode {
    IssuedCode {
        code_id: "01234567-89ab-cdef-0123-456789abcdef".into(),
        kind: kind.into(),
        token: TOKEN.into(),
        issued_at: "2026-11-24T16:30:00Z".into(),
        expires_at: "2026-12-24T16:30:00Z".into(),
        masked_name: Some("张*三".into()),
    }
}

#[test]
fn an_unknown_extension_is_a_usage_error() {
    for name in ["a.gif", "a", "a.png.txt", ".png"] {
        assert_eq!(PictureFormat::of(Path::new(name)).unwrap_err().exit(), 2, "{name}");
    }
    assert_eq!(PictureFormat::of(Path::new("A.PNG")), Ok(PictureFormat::Png));
}

#[test]
fn a_written_picture_reads_back_to_the_token_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let painter = Painter::new(policy(), None).unwrap();
    let path = dir.path().join("a.png");
    painter.write(&path, PictureFormat::Png, &code("sampling")).unwrap();
    assert_eq!(citycode_qr::read_image(&std::fs::read(&path).unwrap()).unwrap(), TOKEN);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn r07_a_fixed_image_shows_its_expiry_and_a_live_one_does_not() {
    let painter = Painter::new(policy(), None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let height = |kind: &str| {
        let path = dir.path().join("a.svg");
        painter.write(&path, PictureFormat::Svg, &code(kind)).unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    assert_ne!(height("sampling"), height("live"));
    assert!(
        height("sampling").contains("2026-12-25 00:30"),
        "the policy's zone, not UTC"
    );
}

#[test]
fn a_sheet_is_a_pdf_and_a_presentation_never_is() {
    let dir = tempfile::tempdir().unwrap();
    let painter = Painter {
        policy: policy(),
        fonts: Fonts::built_in(),
    };
    let path = dir.path().join("a.pdf");
    painter.write(&path, PictureFormat::Pdf, &code("offline")).unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(b"%PDF-"));
    assert_eq!(
        write_presentation(&path, PictureFormat::Pdf, TOKEN).unwrap_err().exit(),
        2
    );
}

#[test]
fn the_sheet_uses_the_texts_of_the_policy() {
    let content = sheet::content(&code("offline"), &policy());
    assert_eq!(content.kind.zh, "离线随申码");
    assert_eq!(content.expiry.value.zh, "2026年12月25日 00:30");
    assert_eq!(
        content.date,
        citycode_qr::SheetDate {
            year: 2026,
            month: 11,
            day: 25
        }
    );
    assert_eq!(content.serial, "0123456789ABCDEF0123456789ABCDEF");
}

#[test]
fn a_prepared_file_changes_nothing_until_it_is_filled_and_is_removed_on_drop() {
    let dir = tempfile::tempdir().unwrap();
    let painter = Painter::new(policy(), None).unwrap();
    let path = dir.path().join("a.svg");
    std::fs::write(&path, "old").unwrap();
    let names = || std::fs::read_dir(dir.path()).unwrap().count();
    drop(painter.prepare(&path, PictureFormat::Svg, "sampling").unwrap());
    assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names()), ("old", 1));
    let prepared = painter.prepare(&path, PictureFormat::Svg, "sampling").unwrap();
    painter.fill(prepared, PictureFormat::Svg, &code("sampling")).unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.trim_end().ends_with("</svg>"), "nothing of the trial remains");
    assert_eq!(names(), 1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn preparing_an_unwritable_path_fails() {
    let dir = tempfile::tempdir().unwrap();
    let painter = Painter::new(policy(), None).unwrap();
    std::fs::create_dir(dir.path().join("folder.png")).unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for path in ["folder.png", "absent/a.png", "file/a.png"] {
        let path = dir.path().join(path);
        let failure = painter.prepare(&path, PictureFormat::Png, "sampling").unwrap_err();
        assert_eq!(failure.exit(), 1, "{}", failure.line());
    }
    let device = painter.prepare(Path::new("/dev/null"), PictureFormat::Png, "sampling");
    assert!(device.unwrap_err().why().contains("not a regular file"));
}
