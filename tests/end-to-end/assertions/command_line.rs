//! The command line as a channel of which the policy demands assertions.

use std::process::{Output, Stdio};

use citycode_testkit::Process;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::Asserting;
use crate::commands::talk;
use crate::server::binary;

/// Runs a command with this standard input.
async fn run(city: &Asserting, input: &str, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary());
    command
        .args(args)
        .args(["--output", "json", "--server", city.server.process.url()])
        .env("CITYCODE_TOKEN", &*city.server.token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::start(&mut command).expect("it starts");
    let mut stdin = process.stdin();
    // A command that refuses its flags ends before it reads.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    process.into_output().await
}

async fn done(city: &Asserting, input: &str, args: &[&str]) -> Value {
    let ended = run(city, input, args).await;
    assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", talk(&ended));
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

async fn refused(city: &Asserting, input: &str, args: &[&str], exit: i32, why: &str) {
    let ended = run(city, input, args).await;
    let said = talk(&ended);
    assert_eq!(ended.status.code(), Some(exit), "{args:?}: {said}");
    assert!(said.contains(why), "{args:?}: {said}");
}

/// The lines of standard input for an ID number and a new assertion about this person.
fn number_and_assertion(city: &Asserting, jti: &str, id_number: &str) -> String {
    format!("{id_number}\n{}\n", city.provider.assertion(jti, id_number))
}

/// A file with a new assertion about this person, as the value of a flag.
fn file(city: &Asserting, jti: &str, id_number: &str) -> String {
    let path = city.folder.path().join(format!("{jti}.jwt"));
    std::fs::write(&path, city.provider.assertion(jti, id_number) + "\n").expect("a file");
    format!("@{}", path.display())
}

#[tokio::test]
async fn commands_of_a_person_send_the_assertion_that_the_channel_needs() {
    let mut city = Asserting::start().await;
    let (person, child) = (city.resident(1950).await, city.resident(2016).await);
    let new = city.numbers.born(jiff::civil::date(1951, 5, 5));

    let register = ["register", "--name", "李四", "--channel", "kiosk", "--id-number"];
    refused(&city, &new, &[&register[..], &["-"]].concat(), 6, "not_allowed").await;
    let both = number_and_assertion(&city, "register", &new);
    done(&city, &both, &[&register[..], &["-", "--assertion", "-"]].concat()).await;

    let offline = [
        "--kind",
        "offline",
        "--channel",
        "kiosk",
        "--id-number",
        "-",
        "--assertion",
    ];
    let issue = [&["issue"], &offline[..]].concat();
    let at_file = file(&city, "issue", &person);
    let id = ["--command-id", "6ba7b810-9dad-11d1-80b4-000000000001"];
    let once = [&issue[..], &[&at_file], &id].concat();
    let code = done(&city, &person, &once).await;
    assert_eq!(done(&city, &person, &once).await, code, "the same command again");
    refused(&city, &person, &[&issue[..], &[&at_file]].concat(), 6, "used before").await;
    let others = number_and_assertion(&city, "other", &child).replace(&child, &person);
    refused(&city, &others, &[&issue[..], &["-"]].concat(), 6, "not for this person").await;
    let lost = [&["report-loss"], &offline[..], &["-"]].concat();
    let reported = done(&city, &number_and_assertion(&city, "loss", &person), &lost).await;
    assert_eq!(reported["code_id"], code["code_id"]);

    // A guardian acts with the guardian's own assertion.
    let (of_person, of_child) = (file(&city, "guardian", &person), file(&city, "dependent", &child));
    let pair = format!("{person}\n{child}\n");
    let app = ["--guardian", "-", "--dependent", "-", "--channel", "app"];
    let relate = [&["relate"], &app[..], &["--guardian-assertion", &of_person]].concat();
    refused(&city, &pair, &relate, 6, "not_allowed").await;
    done(
        &city,
        &pair,
        &[&relate[..], &["--dependent-assertion", &of_child]].concat(),
    )
    .await;
    let for_child = file(&city, "for-child", &person);
    let paper = [
        "issue",
        "--kind",
        "offline",
        "--channel",
        "kiosk",
        "--assertion",
        &for_child,
    ];
    let with_guardian = [&paper[..], &["--id-number", "-", "--guardian", "-"]].concat();
    done(&city, &format!("{child}\n{person}\n"), &with_guardian).await;
    let unrelate = [&["unrelate"], &app[..], &["--assertion"]].concat();
    let by_guardian = file(&city, "ends-1", &person);
    refused(
        &city,
        &pair,
        &[&unrelate[..], &[&by_guardian]].concat(),
        6,
        "not for this person",
    )
    .await;
    let by_child = file(&city, "ends-2", &child);
    done(&city, &pair, &[&unrelate[..], &[&by_child]].concat()).await;
}

#[tokio::test]
async fn questions_and_corrections_of_a_person_send_the_assertion_too() {
    let mut city = Asserting::start().await;
    let person = city.resident(1950).await;
    let sampling = [
        "--kind",
        "sampling",
        "--channel",
        "app",
        "--id-number",
        "-",
        "--assertion",
        "-",
    ];
    let issue = [&["issue"], &sampling[..]].concat();
    let code = done(&city, &number_and_assertion(&city, "issue", &person), &issue).await;
    let reprint = [&["reprint"], &sampling[..]].concat();
    let again = done(&city, &number_and_assertion(&city, "reprint", &person), &reprint).await;
    assert_eq!(again["token"], code["token"]);

    let codes = ["codes", "--channel", "app", "--id-number", "-"];
    refused(&city, &person, &codes, 6, "not_allowed").await;
    let codes = [&codes[..], &["--assertion", "-"]].concat();
    let listed = done(&city, &number_and_assertion(&city, "codes", &person), &codes).await;
    assert_eq!(listed["codes"][0]["code_id"], code["code_id"]);
    let about = [
        "audit",
        "queries",
        "--channel",
        "app",
        "--about",
        "-",
        "--assertion",
        "-",
    ];
    let asked = done(&city, &number_and_assertion(&city, "about", &person), &about).await;
    assert!(asked["queries"].is_array(), "{asked}");

    let rename = [
        "rename",
        "--name",
        "张晓三四",
        "--reason",
        "登记笔误",
        "--channel",
        "pc",
        "--id-number",
        "-",
    ];
    refused(&city, &person, &rename, 6, "not_allowed").await;
    let rename = [&rename[..], &["--assertion", "-"]].concat();
    done(&city, &number_and_assertion(&city, "rename", &person), &rename).await;

    // Every user of the machine can see a command line.
    let given = [&issue[..issue.len() - 1], &["eyJhbGciOi.J9.x"]].concat();
    refused(&city, &person, &given, 2, "standard input, or @FILE").await;
    let said = talk(&run(&city, &person, &given).await);
    assert!(!said.contains("eyJ"), "a credential is not repeated: {said}");
    let without_flag = [&["codes"], &given[issue.len() - 1..]].concat();
    let said = talk(&run(&city, &person, &without_flag).await);
    assert!(
        said.contains("unexpected argument") && !said.contains("eyJ"),
        "nor without its flag: {said}"
    );
    let missing = [&issue[..issue.len() - 1], &["@/nonexistent/assertion"]].concat();
    refused(&city, &person, &missing, 1, "cannot read").await;
    refused(&city, &person, &issue, 2, "contains no assertion").await;
}
