//! The texts that are named in code exist.

#[test]
fn every_text_that_these_modules_name_exists() {
    let texts = include_str!("../../../locales/en/ops.ftl").to_owned()
        + include_str!("../../../locales/en/common.ftl")
        + include_str!("../../../locales/en/my.ftl");
    let has = |id: &str| {
        texts
            .lines()
            .any(|line| line.strip_prefix(id).is_some_and(|rest| rest.starts_with(" =")))
    };
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let (mut folders, mut named) = (vec![root], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("a source file");
            for rest in source.split("\"ops-").skip(1) {
                let id = format!("ops-{}", rest.split('"').next().unwrap_or_default());
                let is_text = id
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9'));
                if is_text && id != "ops-" && id != "ops-valid-before" {
                    assert!(has(&id), "{}: there is no text {id}", path.display());
                    named += 1;
                }
            }
        }
    }
    assert!(named > 100, "only {named} texts are named");
}
