//! The visit and its end, print jobs, and kiosks that serve nobody.

use std::time::Duration;

use http::header::COOKIE;
use http::{Method, Request, StatusCode};

use super::{Kiosk, NUMBERS, reading_now, session, with_reader_and_pin};
use crate::kiosk::print_folder;
use crate::kiosk::settings::KioskSettings;
use crate::kiosk::visit::{Act, Proof, Visit};

#[tokio::test]
async fn finishing_ends_the_visit_also_for_a_copy_of_its_cookie() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let read = kiosk.read_card(&reading_now()).await;
    let english = ["citycode-view=en.large", read.visit()];
    assert_eq!(kiosk.get("/kiosk/who", &english).await.status, StatusCode::OK);
    let finished = kiosk
        .send(
            Method::POST,
            "/kiosk/finish",
            &english,
            &format!("form_token={}", kiosk.session.form_token(&kiosk.site)),
        )
        .await;
    assert_eq!(finished.location, "/kiosk?notice=finished");
    assert!(
        finished
            .cookies
            .iter()
            .any(|cookie| cookie.starts_with("citycode-kiosk-visit=;"))
    );
    assert!(
        finished
            .cookies
            .iter()
            .any(|cookie| cookie.starts_with("citycode-view=zh.standard;"))
    );
    assert!(
        kiosk
            .get(&finished.location, &[])
            .await
            .body
            .contains("请取走身份证和打印件")
    );
    assert_eq!(kiosk.get("/kiosk/who", &english).await.location, "/kiosk?notice=ended");
    let again = kiosk.read_card(&reading_now()).await;
    assert!(again.cookies.is_empty(), "a reading does not revive a visit that ended");
}

#[tokio::test]
async fn a_visit_is_of_one_kiosk_and_ends_by_itself() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let read = kiosk.read_card(&reading_now()).await;
    let cookie = read.visit().to_owned();
    let request = Request::builder()
        .header("host", "127.0.0.1")
        .header(COOKIE, &cookie)
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let other = session(&kiosk.site, "kiosk-8").await;
    assert!(
        Visit::of(&kiosk.site, &request, &other).await.unwrap().is_none(),
        "another kiosk cannot open it"
    );
    assert!(!cookie.contains(NUMBERS[0]) && !cookie.contains("CARD1"));

    let lasts = |cookie: &str| {
        cookie
            .split("Max-Age=")
            .nth(1)
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let mut visit = kiosk.visit(&cookie).await.expect("a visit");
    for _ in 0..3 {
        let kept = visit.set_cookie(&kiosk.site, &kiosk.session);
        assert!(lasts(&kept) <= 600);
        kiosk.clock.advance(Duration::from_secs(599));
        visit = kiosk
            .visit(kept.split(';').next().unwrap())
            .await
            .expect("each step keeps it for ten minutes");
    }
    let kept = visit.set_cookie(&kiosk.site, &kiosk.session);
    assert_eq!(lasts(&kept), 3, "but for half an hour at most");
    kiosk.clock.advance(Duration::from_secs(3));
    assert!(kiosk.visit(kept.split(';').next().unwrap()).await.is_none());
}

#[tokio::test]
async fn a_command_id_depends_on_the_visit_and_on_everything_that_the_act_depends_on() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let site = &kiosk.site;
    let mut visit = Visit::begin(site, [1; 16], NUMBERS[0].to_owned(), None, Proof::CardReader);
    let other = Visit::begin(site, [2; 16], NUMBERS[0].to_owned(), None, Proof::CardReader);
    let id = |visit: &Visit, act, kind, relative| visit.asked(site, act, kind, relative).command_id;
    let first = id(&visit, Act::Reissue, "offline", false);
    assert_eq!(
        first,
        id(&visit, Act::Reissue, "offline", false),
        "a form sent twice is one command"
    );
    assert_ne!(first, id(&other, Act::Reissue, "offline", false));
    assert_ne!(first, id(&visit, Act::Loss, "offline", false));
    assert_ne!(first, id(&visit, Act::Reissue, "sampling", false));
    visit.relative = Some(NUMBERS[1].to_owned());
    assert_ne!(first, id(&visit, Act::Reissue, "offline", true));
    assert_eq!(first, id(&visit, Act::Reissue, "offline", false));
}

#[tokio::test]
async fn a_kiosk_that_can_identify_nobody_is_out_of_order() {
    let kiosk = Kiosk::new(KioskSettings::default()).await;
    for path in ["/kiosk", "/kiosk/number", "/kiosk/codes"] {
        let seen = kiosk.get(path, &[]).await;
        assert!(seen.body.contains("本机暂停服务"), "{path}");
        assert!(!seen.body.contains("name=\"id_number\""));
    }
    let typed = kiosk.post("/kiosk/person", &[], "id_number", NUMBERS[0]).await;
    assert!(typed.cookies.is_empty() && typed.body.contains("本机暂停服务"));
}

#[tokio::test]
async fn a_form_without_the_sessions_token_does_nothing() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    for path in ["/kiosk/person", "/kiosk/finish", "/kiosk/identify"] {
        let form = "form_token=0&card=x&id_number=1&pin=246810";
        assert_eq!(
            kiosk.send(Method::POST, path, &[], form).await.status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
}

#[tokio::test]
async fn print_jobs_are_private_files_and_disappear_with_the_visit() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let mut settings = with_reader_and_pin();
    settings.print_folder = Some(folder.path().to_owned());
    let kiosk = Kiosk::new(settings).await;
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        entries.collect::<Vec<_>>()
    };
    std::fs::write(folder.path().join("other.pdf"), b"of another program").unwrap();
    let job = ("kiosk-7", "00");
    print_folder::write(&kiosk.site, folder.path(), job, b"%PDF".to_vec())
        .await
        .unwrap();
    print_folder::write(&kiosk.site, folder.path(), ("kiosk-8", "00"), b"%PDF".to_vec())
        .await
        .unwrap();
    let written = files();
    assert_eq!(written.len(), 3);
    for file in written.iter().filter(|file| file.file_name() != "other.pdf") {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let read = kiosk.read_card(&reading_now()).await;
    assert_eq!(read.location, "/kiosk/who");
    assert_eq!(
        files().len(),
        2,
        "what an earlier visit left is deleted, and nothing of others"
    );
    print_folder::write(&kiosk.site, folder.path(), job, b"%PDF".to_vec())
        .await
        .unwrap();
    kiosk.post("/kiosk/finish", &[read.visit()], "x", "").await;
    assert_eq!(files().len(), 2);
}
