//! Who stands at the kiosk: cards, typed numbers, PINs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;

use super::{Kiosk, NOW, NUMBERS, reading, reading_now, session, with_reader_and_pin};
use crate::kiosk::visit::Proof;

#[tokio::test]
async fn r31_before_authentication_any_two_numbers_give_the_same_bytes_and_no_service_is_asked() {
    let mut seen = Vec::new();
    for number in NUMBERS {
        let kiosk = Kiosk::new(with_reader_and_pin()).await;
        let typed = kiosk.post("/kiosk/person", &[], "id_number", number).await;
        let mut bytes = vec![format!("{} {} {}", typed.status, typed.location, typed.body)];
        let lengths: Vec<usize> = typed.cookies.iter().map(String::len).collect();
        assert_eq!(typed.location, "/kiosk/identify");
        for path in [
            "/kiosk/identify",
            "/kiosk/who",
            "/kiosk/relative",
            "/kiosk/codes",
            "/kiosk/confirm?act=issue&kind=offline",
            "/kiosk/done",
        ] {
            let page = kiosk.get(path, &[typed.visit()]).await;
            bytes.push(format!("{} {} {}", page.status, page.location, page.body));
            assert!(
                path == "/kiosk/identify" || page.location == "/kiosk/identify",
                "{path}"
            );
        }
        let wrong = kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "000000").await;
        bytes.push(format!("{} {}", wrong.status, wrong.body));
        assert_eq!(kiosk.tokens.0.load(Ordering::SeqCst), 0, "a service was asked");
        seen.push((bytes, lengths));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(
        seen[0].0.iter().all(|page| !page.contains(&NUMBERS[0][14..])),
        "the number is not shown again"
    );
}

#[tokio::test]
async fn a_reading_begins_one_visit_and_is_used_once() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let read = kiosk.read_card(&reading_now()).await;
    assert_eq!(
        (read.status, read.location.as_str()),
        (StatusCode::SEE_OTHER, "/kiosk/who")
    );
    let visit = kiosk.visit(read.visit()).await.expect("a visit");
    assert_eq!(
        (visit.proof, visit.name.as_deref()),
        (Proof::CardReader, Some("王秀英"))
    );
    let twice = kiosk.read_card(&reading_now()).await;
    assert_eq!(
        kiosk.visit(twice.visit()).await.expect("a visit").id,
        visit.id,
        "the reader typed twice"
    );

    kiosk.clock.advance(Duration::from_secs(11));
    let late = kiosk.read_card(&reading_now()).await;
    assert_eq!((late.status, late.cookies.len()), (StatusCode::UNPROCESSABLE_ENTITY, 0));
    assert!(late.body.contains("已经用过"), "{}", late.body);
    kiosk.clock.advance(Duration::from_secs(60));
    assert!(kiosk.read_card(&reading_now()).await.body.contains("超过一分钟"));
    let foreign = reading(NUMBERS[0], "王秀英", NOW + 71, b"the key of another reader");
    assert!(kiosk.read_card(&foreign).await.body.contains("没有读到身份证"));
}

#[tokio::test]
async fn a_reading_of_one_kiosk_is_not_accepted_at_another() {
    let mut kiosk = Kiosk::new(with_reader_and_pin()).await;
    kiosk.read_card(&reading_now()).await;
    kiosk.session = session(&kiosk.site, "kiosk-8").await;
    let replayed = kiosk.read_card(&reading_now()).await;
    assert_eq!(
        (replayed.status, replayed.cookies.len()),
        (StatusCode::UNPROCESSABLE_ENTITY, 0)
    );
}

#[tokio::test]
async fn an_attendants_pin_confirms_a_number_and_guesses_are_limited() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let typed = kiosk.post("/kiosk/person", &[], "id_number", NUMBERS[0]).await;
    let confirmed = kiosk
        .post("/kiosk/identify", &[typed.visit()], "pin", "２４６８１０")
        .await;
    assert_eq!(confirmed.location, "/kiosk/who");
    assert_eq!(
        kiosk.visit(confirmed.visit()).await.expect("a visit").proof,
        Proof::Attendant
    );
    for _ in 0..20 {
        kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "000000").await;
    }
    let limited = kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "246810").await;
    assert!(
        limited.cookies.is_empty(),
        "the right PIN after too many wrong ones is refused too"
    );
    assert!(limited.body.contains("操作太频繁"), "{}", limited.body);
}

#[tokio::test]
async fn wrong_numbers_are_explained_and_kept_and_guesses_are_limited() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    for (typed, kept, why) in [
        ("", "", "请输入身份证号码。"),
        ("99010019440308001", "99010019440308001", "您输入了 17 位"),
        ("９９０１００　19440308 0011", "990100194403080011", "逐位核对"),
        ("990100194413080010", "990100194413080010", "出生日期"),
        (
            "\"><script>alert(1)",
            "&#34;&#62;&#60;SCRIPT&#62;ALERT(1)",
            "最后一位是数字或 X",
        ),
    ] {
        let seen = kiosk.post("/kiosk/person", &[], "id_number", typed).await;
        assert_eq!(seen.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(seen.body.contains(&format!("value=\"{kept}\"")), "{}", seen.body);
        assert!(seen.body.contains(why), "{typed}: {}", seen.body);
        assert!(seen.cookies.is_empty());
    }
    let mut limited = false;
    for _ in 0..40 {
        let seen = kiosk.post("/kiosk/person", &[], "id_number", NUMBERS[0]).await;
        limited |= seen.cookies.is_empty() && seen.body.contains("操作太频繁");
    }
    assert!(limited, "numbers can be tried without limit");
}

#[tokio::test]
async fn a_typed_number_opens_nothing_where_only_cards_are_read() {
    let mut settings = with_reader_and_pin();
    settings.identification.get_mut("kiosk").unwrap().attendant_pin = None;
    let kiosk = Kiosk::new(settings).await;
    assert_eq!(kiosk.get("/kiosk/number", &[]).await.location, "/kiosk");
    for field in ["id_number", "card"] {
        let typed = kiosk.post("/kiosk/person", &[], field, NUMBERS[0]).await;
        assert_eq!(
            (typed.status, typed.cookies.len()),
            (StatusCode::UNPROCESSABLE_ENTITY, 0)
        );
    }
}
