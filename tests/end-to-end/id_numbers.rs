//! ID numbers outside the command line: every flag that takes one also reads standard input and files.

use citycode_testkit::Process;
use serde_json::Value;

use crate::commands::{Client, WANG, out, talk};

const CHILD: &str = "110105201501010017";

#[tokio::test]
async fn every_command_reads_its_numbers_from_standard_input_and_files() {
    let client = Client::new().await;
    let file = client.folder.path().join("number.txt");
    std::fs::write(&file, format!("{WANG}\r\n")).unwrap();
    let at_file = format!("@{}", file.display());
    let whose = ["--kind", "sampling", "--channel", "app", "--id-number"];
    let done = async |input: &str, args: &[&str]| {
        let run = client.run(input, &[args, &["--output", "json"]].concat()).await;
        assert_eq!(run.status.code(), Some(0), "{args:?}: {}", talk(&run));
        serde_json::from_slice::<Value>(&run.stdout).unwrap()
    };
    done(CHILD, &["register", "--name", "王小", "--id-number", "-"]).await;
    done("", &["register", "--name", "王小明", "--id-number", &at_file]).await;
    let both = format!("{WANG}\n\n{CHILD}\n");
    done(&both, &["relate", "--guardian", "-", "--dependent", "-"]).await;
    done(CHILD, &["unrelate", "--guardian", &at_file, "--dependent", "-"]).await;
    done(&both, &["relate", "--guardian", "-", "--dependent", "-"]).await;
    let code = done(WANG, &[&["issue"], &whose[..], &["-"]].concat()).await;
    done("", &[&["reprint"], &whose[..], &[&at_file]].concat()).await;
    for act in ["suspend", "reinstate"] {
        let args = [act, "--kind", "sampling", "--reason", "r", "--id-number", &at_file];
        done("", &args).await;
    }
    let codes = done("", &["codes", "--id-number", &at_file]).await;
    assert_eq!(codes["codes"][0]["code_id"], code["code_id"]);
    let history = done(WANG, &["history", "--kind", "sampling", "--id-number", "-"]).await;
    assert!(!history["entries"].as_array().unwrap().is_empty());
    done(WANG, &["verify", "--place", "sampling_desk", "--id-card", "-"]).await;
    let token = code["token"].as_str().unwrap();
    let shown = [
        "verify",
        "--place",
        "sampling_desk",
        "--code",
        token,
        "--id-number",
        &at_file,
    ];
    done("", &shown).await;
    done(WANG, &[&["report-loss"], &whose[..], &["-"]].concat()).await;
    let standing = ["standing", "--set", "green", "--reason", "r", "--id-number", &at_file];
    done("", &standing).await;
    done(CHILD, &["erase", "--yes", "--id-number", "-"]).await;
}

#[tokio::test]
async fn a_missing_or_unreadable_number_is_reported_and_nothing_is_sent() {
    let client = Client::new().await;
    for args in [
        &["codes"][..],
        &["register", "--name", "n"],
        &["issue", "--kind", "sampling", "--channel", "app"],
        &["revoke", "--kind", "sampling", "--reason", "r"],
        &["standing", "--set", "red", "--reason", "r"],
        &["history", "--kind", "sampling"],
        &["erase", "--yes"],
        &["codes", "--id-number", "-"],
    ] {
        let run = client.run("", args).await;
        assert_eq!(run.status.code(), Some(2), "{args:?}: {}", talk(&run));
        assert!(
            talk(&run).contains("--id-number") && talk(&run).contains("@FILE"),
            "{}",
            talk(&run)
        );
    }
    let run = client.run(WANG, &["relate", "--guardian", "-"]).await;
    assert!(talk(&run).contains("--dependent is missing"), "{}", talk(&run));
    let run = client
        .run("x\n", &["verify", "--place", "staffed", "-", "--id-number", "-"])
        .await;
    assert_eq!((run.status.code(), out(&run).as_str()), (Some(2), ""), "{}", talk(&run));
}

/// `script` provides the terminal.
#[tokio::test]
async fn on_a_terminal_a_missing_number_is_prompted_for() {
    let client = Client::new().await;
    let binary = crate::server::binary().display().to_string();
    let asked = format!("{binary} codes --server {}", client.server.process.url());
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &asked, "/dev/null"]);
    command.env("CITYCODE_TOKEN", &*client.server.token);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut process = Process::start(&mut command).unwrap();
    let mut stdin = process.stdin();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("{WANG}\n").as_bytes())
        .await
        .unwrap();
    let run = process.into_output().await;
    drop(stdin);
    assert!(run.status.success(), "{}", out(&run));
    assert!(out(&run).contains("ID number (--id-number): "), "{}", out(&run));
}
