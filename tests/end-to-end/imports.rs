//! `citycode import` with realistic files, on disks that fill up, and repeated.

use std::collections::BTreeSet;
use std::path::Path;

use citycode_testkit::{IdNumbers, SmallDisk};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::commands::{Client, WANG, talk};

/// ID numbers of people over 60.
fn id_numbers(count: usize) -> Vec<String> {
    let mut numbers = IdNumbers::new(11);
    (0..count).map(|_| numbers.born(date(1948, 1, 1))).collect()
}

/// Names of the prints in a folder.
fn prints(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("a folder of prints");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.ends_with(".pdf") || name.ends_with(".png"))
        .collect()
}

#[tokio::test]
async fn a_repeated_import_writes_missing_prints_and_issues_nothing_twice() {
    const ROWS: usize = 40;
    let client = Client::new().await;
    let file = client.folder.path().join("q.csv").display().to_string();
    let people: Vec<String> = id_numbers(ROWS).iter().map(|number| format!("{number},何庚")).collect();
    std::fs::write(&file, format!("id_number,name\n{}\n", people.join("\n"))).unwrap();
    let import = ["import", &file, "--kind", "offline", "--channel", "pc", "--out"];

    let small = SmallDisk::mount(1);
    let tiny = small.path().join("prints");
    let args = [&import[..], &[tiny.to_str().unwrap(), "--output", "json"]].concat();
    let run = client.run("", &args).await;
    assert_eq!(run.status.code(), Some(1), "{}", talk(&run));
    let said: Value = serde_json::from_slice(&run.stdout).expect("one JSON value");
    let written = prints(&tiny).len();
    assert!(written < ROWS, "the disk was too large for this test");
    let detail = said["detail"].as_str().unwrap();
    let counted = format!(
        "{} codes are valid but have no print ({ROWS} issued, 0 kept, 0 rejected so far)",
        ROWS - written
    );
    assert!(detail.contains(&counted), "{detail}");

    let room = client.folder.path().join("prints2");
    let again = [&import[..], &[room.to_str().unwrap()]].concat();
    let told = client.json(&again).await;
    assert_eq!(
        told,
        json!({"issued": 0, "kept": ROWS, "rejected": 0, "encoding": "UTF-8"})
    );
    let all = prints(&room);
    assert_eq!(all.len(), ROWS);
    assert!(prints(&tiny).is_subset(&all), "the same codes, on the same lines");
    assert_eq!(client.json(&again).await["kept"], ROWS);
    assert_eq!(prints(&room), all, "nothing is printed twice");
}

#[tokio::test]
async fn rejects_keep_their_columns_can_be_imported_after_correction_and_are_removed_by_a_clean_run() {
    let client = Client::new().await;
    let folder = client.folder.path();
    let file = folder.join("people.csv").display().to_string();
    let numbers = id_numbers(3);
    let (one, two, three) = (&numbers[0], &numbers[1], &numbers[2]);
    // The bytes of 张 without the last one, and an invalid number; the other rows are valid.
    let rows = [
        format!("id_number;name;remark\n{WANG};王小明;\n{one};").as_bytes(),
        b"\xE5\xBC;front desk\n",
        format!("1;李四;back desk\n{two};赵六;\n").as_bytes(),
    ]
    .concat();
    std::fs::write(&file, rows).unwrap();
    let import = |file: &str| ["import", file, "--kind", "sampling", "--channel", "app"].map(str::to_owned);
    let args = import(&file);
    let told = client.json(&args.each_ref().map(String::as_str)).await;
    assert_eq!(
        told,
        json!({"issued": 2, "kept": 0, "rejected": 2, "encoding": "UTF-8"})
    );

    let rejects = folder.join("people.rejected.csv");
    let text = std::fs::read_to_string(&rejects).unwrap();
    assert!(
        text.starts_with("\u{FEFF}line,reason,id_number,name,remark\n"),
        "{text}"
    );
    assert!(
        text.contains("3,the line holds bytes that are not UTF-8") && text.contains("front desk"),
        "{text}"
    );
    assert!(
        text.contains("[invalid_id_number]") && text.contains("back desk"),
        "{text}"
    );

    let corrected = text
        .replace("\u{FFFD}", "张三")
        .replace(",1,李四", &format!(",{three},李四"));
    std::fs::write(&rejects, corrected).unwrap();
    let args = import(rejects.to_str().unwrap());
    let told = client.json(&args.each_ref().map(String::as_str)).await;
    assert_eq!(
        told,
        json!({"issued": 2, "kept": 0, "rejected": 0, "encoding": "UTF-8"})
    );

    std::fs::write(&file, format!("id_number,name\n{WANG},王小明\n")).unwrap();
    let args = import(&file);
    client.json(&args.each_ref().map(String::as_str)).await;
    assert!(!rejects.exists(), "a clean run removes the rejects of the one before");
}

#[tokio::test]
async fn a_refused_file_is_explained_and_nothing_is_written() {
    let client = Client::new().await;
    let folder = client.folder.path();
    let out = folder.join("prints").display().to_string();
    for (name, bytes, why) in [
        ("a.csv", b"PK\x03\x04".as_slice(), "xlsx workbook"),
        (
            "b.csv",
            b"id_number,name\n1,\"x\n",
            "quote that opens on line 2 is never closed",
        ),
        ("c.csv", b"number;name\n", "no column `id_number`"),
    ] {
        let file = folder.join(name).display().to_string();
        std::fs::write(&file, bytes).unwrap();
        let args = ["import", &file, "--kind", "sampling", "--channel", "app", "--out", &out];
        let run = client.run("", &args).await;
        assert_eq!(run.status.code(), Some(1), "{name}: {}", talk(&run));
        assert!(
            talk(&run).contains(why) && talk(&run).contains("nothing was imported"),
            "{}",
            talk(&run)
        );
    }
    // The file is readable, but the server refuses the import as a whole, so its invalid row is not written either.
    let file = folder.join("d.csv").display().to_string();
    std::fs::write(&file, format!("id_number,name\n{WANG},王小明\n2\n")).unwrap();
    let run = client
        .run(
            "",
            &[
                "import",
                &file,
                "--kind",
                "sampling",
                "--channel",
                "nowhere",
                "--out",
                &out,
            ],
        )
        .await;
    assert_ne!(run.status.code(), Some(0), "{}", talk(&run));
    assert!(!Path::new(&out).exists() && !folder.join("d.rejected.csv").exists());
}
