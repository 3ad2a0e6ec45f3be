//! `/staff`: scans, the ID comparison, pictures, and what is shown when nothing is known.

use citycode_domain::admission::Reason;
use citycode_qr::{SymbolOptions, draw};
use citycode_wire::proto::verifier::v1::GetKnowledgeResponse;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use http::StatusCode;
use tonic::Status;

use crate::browser::{Answer, Browser};
use crate::verifier::Says;

const WANG: &str = "11010519491231002X";

/// A scan by the page's script.
async fn scan(staff: &mut Browser, place: &str, code: &str, says: Says) -> Answer {
    let token = staff.get("/staff").await.field("form_token");
    staff.verifier.says(says);
    let fields = [("form_token", token.as_str()), ("place", place), ("code", code)];
    staff.post_by_script("/staff/scan", &fields).await
}

fn verdict(reason: Reason) -> Says {
    Says::Verdict(reason, Some("offline"))
}

#[tokio::test(start_paused = true)]
async fn a_verdict_has_the_attributes_of_the_contract_and_its_words() {
    let mut staff = Browser::of("staff").await;
    for (place, reason, attributes, word) in [
        (
            "staffed",
            Reason::Ok,
            "data-decision=\"admit\" data-reason=\"ok\"",
            "通过",
        ),
        (
            "sampling_desk",
            Reason::Ok,
            "data-decision=\"admit\" data-reason=\"ok\"",
            "已登记",
        ),
        (
            "staffed",
            Reason::StandingRed,
            "data-decision=\"refuse\" data-reason=\"standing_red\"",
            "红码",
        ),
        (
            "staffed",
            Reason::TooStale,
            "data-decision=\"cannot_check\" data-reason=\"too_stale\"",
            "无法核验",
        ),
    ] {
        let answer = scan(&mut staff, place, "CODE", verdict(reason)).await;
        assert_eq!(answer.status, StatusCode::OK);
        let expected = format!(" role=\"status\" {attributes} data-age-ms=\"500\" data-clear-after-ms=\"8000\"");
        assert_eq!(answer.verdict(), expected);
        assert!(answer.says(&format!("<p class=\"verdict-word\">{word}</p>")), "{word}");
        assert!(!answer.says("<html"), "a script gets the part only");
        let asked = staff.verifier.asked();
        assert_eq!((asked.len(), asked[0].place.as_str()), (1, place));
        assert!(asked[0].scan_id.len() == 36 && asked[0].scan == Some(Scan::Code("CODE".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn without_scripts_the_whole_page_answers_and_a_form_sent_twice_is_one_scan() {
    let mut staff = Browser::of("staff").await;
    let page = staff.get("/staff?place=sampling_desk").await;
    assert!(!page.has_verdict());
    let (token, scan_id) = (page.field("form_token"), page.field("scan_id"));
    let fields = [
        ("form_token", token.as_str()),
        ("place", "sampling_desk"),
        ("scan_id", scan_id.as_str()),
        ("code", " ＣＯＤＥ "),
    ];
    for _ in 0..2 {
        staff.verifier.says(verdict(Reason::Ok));
        let answer = staff.post("/staff/scan", &fields).await;
        assert!(answer.says("<html") && answer.verdict().contains("data-reason=\"ok\""));
        assert_ne!(answer.field("scan_id"), scan_id, "the next scan has another id");
    }
    for asked in staff.verifier.asked() {
        assert_eq!(asked.scan_id, scan_id);
        assert_eq!(asked.scan, Some(Scan::Code("CODE".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn every_failure_of_the_verifier_shows_cannot_check() {
    let mut staff = Browser::of("staff").await;
    for status in [
        Status::unavailable("gone"),
        Status::permission_denied("no"),
        Status::deadline_exceeded("late"),
        Status::internal("a bug"),
    ] {
        let answer = scan(&mut staff, "staffed", "CODE", Says::Fails(status.clone())).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.verdict(),
            " role=\"status\" data-decision=\"cannot_check\" data-reason=\"too_stale\" data-clear-after-ms=\"8000\"",
            "{status}"
        );
        assert!(answer.says("无法核验") && !answer.says("通过"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_does_not_answer_in_time_shows_cannot_check() {
    let mut staff = Browser::of("staff").await;
    let token = staff.get("/staff").await.field("form_token");
    staff.verifier.says(Says::Hangs);
    let fields = [("form_token", token.as_str()), ("place", "staffed"), ("code", "CODE")];
    let answer = staff.post_by_script("/staff/scan", &fields);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(2), answer).await;
    let answer = answer.expect("the page answers before its script gives up");
    assert!(answer.verdict().contains("data-decision=\"cannot_check\""));
}

#[tokio::test(start_paused = true)]
async fn an_id_number_instead_of_a_code_is_the_card_itself() {
    let mut staff = Browser::of("staff").await;
    for typed in [
        WANG,
        "11010519491231002x",
        " 110105 19491231 002X",
        "１１０１０５１９４９１２３１００２Ｘ",
    ] {
        scan(&mut staff, "staffed", typed, Says::Verdict(Reason::Ok, None)).await;
        assert_eq!(
            staff.verifier.asked()[0].scan,
            Some(Scan::IdCard(WANG.to_owned())),
            "{typed}"
        );
    }
    scan(&mut staff, "staffed", "110105194912310021", verdict(Reason::Unreadable)).await;
    let asked = staff.verifier.asked();
    assert!(
        matches!(asked[0].scan, Some(Scan::Code(_))),
        "a wrong number is no card"
    );
}

/// Scans a paper code, and returns the step that follows.
async fn paper(staff: &mut Browser) -> Answer {
    let step = scan(staff, "staffed", "PAPER", verdict(Reason::IdCheckRequired)).await;
    staff.verifier.asked();
    step
}

/// Sends a step of the comparison.
async fn step(staff: &mut Browser, shown: &Answer, field: (&str, &str)) -> Answer {
    let (token, sealed) = (shown.field("form_token"), shown.field("scan"));
    let fields = [("form_token", token.as_str()), ("scan", sealed.as_str()), field];
    staff.post_by_script("/staff/compare", &fields).await
}

#[tokio::test(start_paused = true)]
async fn r19_only_a_matching_card_and_a_matching_person_are_shown_as_valid() {
    let mut staff = Browser::of("staff").await;
    let number = paper(&mut staff).await;
    assert!(
        number
            .verdict()
            .contains("data-decision=\"admit_after_id_check\" data-reason=\"id_check_required\"")
    );
    assert!(
        number.verdict().contains("data-clear-after-ms=\"0\""),
        "it waits for staff"
    );
    assert!(!number.says("人证一致"), "the card comes first");
    staff.verifier.says(verdict(Reason::Ok));
    let person = step(&mut staff, &number, ("id_number", WANG)).await;
    assert!(person.verdict().contains("data-decision=\"admit_after_id_check\""));
    assert!(!person.says(">通过<") && person.says("人证一致") && person.says("人证不一致"));
    assert!(!person.says(WANG), "the number is sealed");
    staff.verifier.says(verdict(Reason::Ok));
    let admitted = step(&mut staff, &person, ("match", "yes")).await;
    assert!(
        admitted
            .verdict()
            .contains("data-decision=\"admit\" data-reason=\"ok\"")
    );
    for asked in staff.verifier.asked() {
        assert_eq!((asked.id_number.as_str(), asked.person_differs), (WANG, false));
        assert_eq!(asked.scan, Some(Scan::Code("PAPER".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn r19_a_person_who_does_not_match_is_refused_by_the_verifier() {
    let mut staff = Browser::of("staff").await;
    let number = paper(&mut staff).await;
    staff.verifier.says(verdict(Reason::Ok));
    let person = step(&mut staff, &number, ("id_number", WANG)).await;
    for shown in [&person, &number] {
        staff.verifier.asked();
        staff.verifier.says(verdict(Reason::IdMismatch));
        let refused = step(&mut staff, shown, ("match", "no")).await;
        assert!(
            refused
                .verdict()
                .contains("data-decision=\"refuse\" data-reason=\"id_mismatch\"")
        );
        let asked = staff.verifier.asked();
        assert!(asked[0].person_differs && asked[0].id_number.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn r19_the_person_cannot_be_confirmed_before_the_card() {
    let mut staff = Browser::of("staff").await;
    let number = paper(&mut staff).await;
    let answer = step(&mut staff, &number, ("match", "yes")).await;
    assert!(answer.verdict().contains("data-decision=\"admit_after_id_check\""));
    assert!(answer.says("请读取身份证，或输入身份证号码。"));
    let answer = step(&mut staff, &number, ("id_number", "110105194912310021")).await;
    assert!(
        answer.says("value=\"110105194912310021\"") && answer.says("aria-invalid"),
        "nothing typed is lost"
    );
    assert!(staff.verifier.asked().is_empty());
    staff.verifier.says(verdict(Reason::IdMismatch));
    let answer = step(&mut staff, &answer, ("id_number", WANG)).await;
    assert!(
        answer.verdict().contains("data-decision=\"refuse\""),
        "another person's card"
    );
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_scanned_into_the_field_of_the_number_is_the_next_scan() {
    let mut staff = Browser::of("staff").await;
    let number = paper(&mut staff).await;
    let next = "NEXT".repeat(20);
    staff.verifier.says(verdict(Reason::Expired));
    let answer = step(&mut staff, &number, ("id_number", &next)).await;
    assert!(answer.verdict().contains("data-reason=\"expired\""));
    let asked = staff.verifier.asked();
    assert!(asked[0].scan == Some(Scan::Code(next)) && asked[0].id_number.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_comparison_is_of_its_session_and_ends_after_five_minutes() {
    let mut staff = Browser::of("staff").await;
    let number = paper(&mut staff).await;
    let forged = [("form_token", number.field("form_token")), ("scan", "x".repeat(80))];
    let forged: Vec<_> = forged.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(
        staff.post("/staff/compare", &forged).await.status,
        StatusCode::FORBIDDEN
    );
    staff.clock.advance(std::time::Duration::from_secs(301));
    let late = step(&mut staff, &number, ("id_number", WANG)).await;
    assert_eq!(late.status, StatusCode::FORBIDDEN);
    assert!(staff.verifier.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn forms_without_token_code_or_place_of_the_device_reach_no_verifier() {
    let mut staff = Browser::of("staff").await;
    let token = staff.get("/staff").await.field("form_token");
    let without_token = [("form_token", ""), ("place", "staffed"), ("code", "CODE")];
    assert_eq!(
        staff.post("/staff/scan", &without_token).await.status,
        StatusCode::FORBIDDEN
    );
    let elsewhere = [("form_token", token.as_str()), ("place", "nowhere"), ("code", "CODE")];
    assert_eq!(
        staff.post("/staff/scan", &elsewhere).await.status,
        StatusCode::FORBIDDEN
    );
    let empty = [("form_token", token.as_str()), ("place", "staffed"), ("code", "　 ")];
    let answer = staff.post("/staff/scan", &empty).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.says("id=\"code-error\"") && !answer.has_verdict());
    assert!(staff.verifier.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_read_and_each_fault_names_the_accepted_formats() {
    let mut staff = Browser::of("staff").await;
    let page = staff.get("/staff").await;
    let fields = [
        ("form_token", page.field("form_token")),
        ("place", "staffed".to_owned()),
    ];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let symbol = draw("CODE", &SymbolOptions::SCREEN).expect("a symbol");
    let picture = symbol.to_png(None).expect("a picture");
    staff.verifier.says(verdict(Reason::Ok));
    let answer = staff.upload("/staff/image", &fields, &picture).await;
    assert!(answer.verdict().contains("data-reason=\"ok\""));
    assert_eq!(staff.verifier.asked()[0].scan, Some(Scan::Code("CODE".to_owned())));
    for (bytes, sentence) in [
        (&b"GIF89a"[..], "无法读取这种格式的图片。请选择 PNG 或 JPEG 图片。"),
        (b"hello", "这个文件不是图片，或者已经损坏。请选择 PNG 或 JPEG 图片。"),
        (b"", "请先选择一张 PNG 或 JPEG 图片。"),
    ] {
        let answer = staff.upload("/staff/image", &fields, bytes).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let (_, error) = answer.text.split_once("id=\"image-error\"").expect("an error");
        assert!(
            error
                .split("</div></div>")
                .next()
                .is_some_and(|error| error.contains(sentence)),
            "{sentence}"
        );
    }
    let large = vec![0; (16 << 20) + 1];
    let answer = staff.upload("/staff/image", &fields, &large).await;
    assert!(answer.says("id=\"image-error\"") && answer.says("图片太大"));
    let stale = [("form_token", ""), ("place", "staffed")];
    assert_eq!(
        staff.upload("/staff/image", &stale, &picture).await.status,
        StatusCode::FORBIDDEN
    );
    assert!(staff.verifier.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_twenty_scans_are_listed_without_names_for_this_session_only() {
    let mut staff = Browser::of("staff").await;
    for number in 0..21 {
        let reason = if number == 20 { Reason::Superseded } else { Reason::Ok };
        scan(&mut staff, "staffed", "CODE", verdict(reason)).await;
    }
    let listed = staff.poll("/staff/recent").await;
    assert_eq!(listed.text.matches("<tr data-recent=").count(), 20);
    assert_eq!(listed.text.matches("data-recent=\"refuse\"").count(), 1);
    assert!(listed.says("08:14:00") && listed.says("离线随申码") && listed.says("已换新码"));
    staff.post("/sign-in", &[("identity", "staff")]).await;
    let listed = staff.poll("/staff/recent").await;
    assert!(!listed.says("data-recent"), "another session opens nothing");
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_knowledge_is_polled_and_no_answer_is_an_error() {
    let mut staff = Browser::of("staff").await;
    let fresh = staff.poll("/staff/state?place=staffed").await;
    assert_eq!(fresh.status, StatusCode::OK);
    assert!(fresh.says("data-age-ms=\"500\" data-fresh=\"true\"") && fresh.says("数据 1 秒内更新"));
    let old = GetKnowledgeResponse {
        age_ms: Some(12_500),
        fresh: false,
    };
    staff.verifier.knows(Some(old));
    let old = staff.poll("/staff/state?place=staffed").await;
    assert!(old.says("data-fresh=\"false\"") && old.says("数据过旧，无法核验（13 秒前更新）"));
    staff.verifier.knows(None);
    let none = staff.poll("/staff/state?place=staffed").await;
    assert_eq!(none.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(staff.get("/staff").await.says("核验服务没有答复"));
    assert!(staff.verifier.asked().is_empty(), "a poll is no scan");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_ended_says_so_and_scans_nothing() {
    let mut staff = Browser::of("staff").await;
    let token = staff.get("/staff").await.field("form_token");
    staff.end_device("staff-1").await;
    assert_eq!(staff.poll("/staff/state").await.status, StatusCode::GONE);
    let page = staff.get("/staff").await;
    assert!(page.status == StatusCode::GONE && page.says("本设备已停用"));
    assert!(staff.get("/staff?lang=en").await.says("This device has been retired"));
    let fields = [("form_token", token.as_str()), ("place", "staffed"), ("code", "CODE")];
    let scanned = staff.post_by_script("/staff/scan", &fields).await;
    assert_eq!(scanned.status, StatusCode::GONE);
    assert!(staff.verifier.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_session_a_reader_signs_in_and_a_script_learns_that_it_ended() {
    let mut staff = Browser::of("staff").await;
    staff.forget();
    let page = staff.get("/staff").await;
    assert!(page.status == StatusCode::SEE_OTHER && page.location.starts_with("/sign-in"));
    assert_eq!(staff.poll("/staff/state").await.status, StatusCode::UNAUTHORIZED);
}
