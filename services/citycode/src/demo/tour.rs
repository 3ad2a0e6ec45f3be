//! The steps of the tour: ten questions that residents asked the city, then further verdicts at a gate.

use std::path::Path;

use serde_json::{Value, json};

use super::{Finding, Guide};
use citycode_terminal::failure::Failure;

const OK: &str = "admit / ok";
const DAY: i64 = 86_400;

struct Tour<'a> {
    guide: &'a Guide,
    findings: Vec<Finding>,
}

impl Tour<'_> {
    async fn scan(
        &mut self,
        question: &'static str,
        picture: &Path,
        place: &str,
        expected: &'static str,
    ) -> Result<(), Failure> {
        self.scan_with(question, picture, place, json!({}), expected).await
    }

    async fn scan_with(
        &mut self,
        question: &'static str,
        picture: &Path,
        place: &str,
        more: Value,
        expected: &'static str,
    ) -> Result<(), Failure> {
        let got = self.guide.scan(picture, place, more).await?;
        let name = picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.findings.push(Finding {
            question,
            scanned: format!("{name} at {place}"),
            expected,
            got,
        });
        Ok(())
    }
}

/// Walks the whole tour.
pub(super) async fn walk(guide: &Guide) -> Result<Vec<Finding>, Failure> {
    let mut tour = Tour {
        guide,
        findings: Vec::new(),
    };
    elder(&mut tour).await?;
    child(&mut tour).await?;
    gates(&mut tour).await?;
    Ok(tour.findings)
}

/// Questions 1 to 5 and 7 to 10: a person aged seventy with every kind except the family code.
async fn elder(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let guide = tour.guide;
    let person = guide.resident("张小三", 70).await?;
    let sampling = json!({ "kind": "sampling", "id_number": person, "channel": "app" });
    let offline = json!({ "kind": "offline", "id_number": person, "channel": "kiosk", "print": true });
    let live = guide
        .issue_to_phone("live", json!({ "kind": "live", "id_number": person, "channel": "app" }))
        .await?;
    let first = guide.issue("sampling-1", sampling.clone()).await?;
    let paper = guide.issue("offline-1", offline).await?;
    tour.scan(
        "1 sampling code after getting an offline code?",
        &first,
        "sampling_desk",
        OK,
    )
    .await?;
    let second = guide.issue("sampling-2", sampling).await?;
    tour.scan("2 renew the sampling code?", &second, "sampling_desk", OK)
        .await?;
    tour.scan("2 … and the offline code stays", &paper, "sampling_desk", OK)
        .await?;
    let by_card = guide
        .verdict(json!({ "place": "sampling_desk", "id_card": person }))
        .await?;
    tour.findings.push(Finding {
        question: "3 register by ID card?",
        scanned: "ID card at sampling_desk".into(),
        expected: OK,
        got: by_card,
    });
    tour.scan("3 … and the codes stay", &paper, "sampling_desk", OK).await?;
    let shown = guide.show("live-now", &live, 0)?;
    tour.scan("4 show the live code at sampling?", &shown, "sampling_desk", OK)
        .await?;
    tour.scan(
        "5 a sentinel scans the paper?",
        &paper,
        "sentinel",
        "refuse / kind_not_accepted_here",
    )
    .await?;
    tour.scan(
        "5 … at staff, without the ID card",
        &paper,
        "staffed",
        "admit_after_id_check / id_check_required",
    )
    .await?;
    tour.scan_with(
        "5 … at staff, with the ID card",
        &paper,
        "staffed",
        json!({ "id_number": person }),
        OK,
    )
    .await?;
    later_and_lost(tour, &person, &first, &second, &paper).await
}

/// Questions 7 to 10: the effects of time, renewal, loss and a new application.
async fn later_and_lost(
    tour: &mut Tour<'_>,
    person: &str,
    first: &Path,
    second: &Path,
    paper: &Path,
) -> Result<(), Failure> {
    let guide = tour.guide;
    let offline = json!({ "kind": "offline", "id_number": person, "channel": "pc", "print": true });
    let later = |days: i64| {
        let at = jiff::Timestamp::from_second(guide.clock.now().0 + days * DAY);
        json!({ "at": at.map(|at| at.to_string()).unwrap_or_default() })
    };
    tour.scan_with(
        "7 the sampling screenshot on day 29",
        second,
        "sampling_desk",
        later(29),
        OK,
    )
    .await?;
    tour.scan_with("7 … on day 31", second, "sampling_desk", later(31), "refuse / expired")
        .await?;
    tour.scan(
        "8 the screenshot from before renewing?",
        first,
        "sampling_desk",
        "refuse / superseded",
    )
    .await?;
    guide
        .post(
            "report-loss",
            json!({ "kind": "offline", "id_number": person, "channel": "kiosk" }),
        )
        .await?;
    tour.scan(
        "9 the paper after a loss report?",
        paper,
        "sampling_desk",
        "refuse / reported_lost",
    )
    .await?;
    applied_again(tour, person, &offline, &later).await
}

/// Question 10: every new application supersedes the earlier print and has its full validity period.
async fn applied_again(
    tour: &mut Tour<'_>,
    person: &str,
    offline: &Value,
    later: &dyn Fn(i64) -> Value,
) -> Result<(), Failure> {
    let guide = tour.guide;
    let third = guide.issue("offline-2", offline.clone()).await?;
    let fourth = guide.issue("offline-3", offline.clone()).await?;
    tour.scan(
        "10 last month's print after applying again?",
        &third,
        "sampling_desk",
        "refuse / superseded",
    )
    .await?;
    tour.scan("10 … the new one", &fourth, "sampling_desk", OK).await?;
    tour.scan_with("10 … after 179 days", &fourth, "sampling_desk", later(179), OK)
        .await?;
    tour.scan_with(
        "10 … after 181 days",
        &fourth,
        "sampling_desk",
        later(181),
        "refuse / expired",
    )
    .await?;
    let again = guide
        .post(
            "reprint",
            json!({ "kind": "offline", "id_number": person, "channel": "pc" }),
        )
        .await?;
    let again = guide.paint("offline-reprint", &again)?;
    let same =
        crate::commands::verify::read_image(&again).await? == crate::commands::verify::read_image(&fourth).await?;
    let got = if same { "the same code" } else { "another code" }.to_owned();
    tour.findings.push(Finding {
        question: "a reprint is the very same code",
        scanned: "offline-reprint.png".into(),
        expected: "the same code",
        got,
    });
    Ok(())
}

/// Question 6: a child whose parent shows a family code.
async fn child(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let guide = tour.guide;
    let parent = guide.resident("李梅", 38).await?;
    let child = guide.resident("李小雨", 8).await?;
    guide
        .post("relate", json!({ "guardian": parent, "dependent": child }))
        .await?;
    let family = json!({ "kind": "family", "id_number": child, "guardian": parent, "channel": "app" });
    let phone = guide.issue_to_phone("family", family).await?;
    let sampling = json!({ "kind": "sampling", "id_number": child, "guardian": parent, "channel": "app" });
    let screenshot = guide.issue("child-sampling", sampling).await?;
    let paper = json!({ "kind": "offline", "id_number": child, "guardian": parent, "channel": "kiosk", "print": true });
    let paper = guide.issue("child-offline", paper).await?;
    let shown = guide.show("family-now", &phone, 0)?;
    tour.scan("6 the family's family code at sampling?", &shown, "sampling_desk", OK)
        .await?;
    tour.scan("6 … the child's sampling code stays", &screenshot, "sampling_desk", OK)
        .await?;
    tour.scan("6 … the child's paper stays", &paper, "sampling_desk", OK)
        .await?;
    guide
        .post("unrelate", json!({ "guardian": parent, "dependent": child }))
        .await?;
    let shown = guide.show("family-after", &phone, 0)?;
    tour.scan(
        "the family code after the relationship ended",
        &shown,
        "sentinel",
        "refuse / revoked",
    )
    .await?;
    Ok(())
}

/// Verdicts after acts of officers, the health authority and erasure.
async fn gates(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let guide = tour.guide;
    let person = guide.resident("王建国", 65).await?;
    let other = guide.resident("赵云", 30).await?;
    let phone = guide
        .issue_to_phone(
            "gate-live",
            json!({ "kind": "live", "id_number": person, "channel": "app" }),
        )
        .await?;
    let fresh = guide.show("gate-fresh", &phone, 0)?;
    tour.scan("a live code at the sentinel", &fresh, "sentinel", OK).await?;
    let old = guide.show("gate-screenshot", &phone, 90)?;
    tour.scan("a screenshot of it, 90 s old", &old, "sentinel", "refuse / stale_proof")
        .await?;
    let paper = json!({ "kind": "offline", "id_number": person, "channel": "kiosk", "print": true });
    let paper = guide.issue("gate-offline", paper).await?;
    tour.scan_with(
        "paper with another's ID card",
        &paper,
        "staffed",
        json!({ "id_number": other }),
        "refuse / id_mismatch",
    )
    .await?;
    let reason = |kind: &str| json!({ "kind": kind, "id_number": person, "reason": "核实身份" });
    guide.post("suspend", reason("offline")).await?;
    tour.scan("a code on hold", &paper, "sampling_desk", "refuse / suspended")
        .await?;
    guide.post("reinstate", reason("offline")).await?;
    tour.scan("… reinstated", &paper, "sampling_desk", OK).await?;
    standings(tour, &person, &phone).await?;
    guide.post("revoke", reason("offline")).await?;
    tour.scan("a revoked code", &paper, "sampling_desk", "refuse / revoked")
        .await?;
    let nonsense = guide
        .verdict(json!({ "place": "sentinel", "code": "https://example.com/" }))
        .await?;
    tour.findings.push(Finding {
        question: "a QR of something else",
        scanned: "a web address at sentinel".into(),
        expected: "refuse / unreadable",
        got: nonsense,
    });
    guide.post("erase", json!({ "id_number": person })).await?;
    let shown = guide.show("gate-erased", &phone, 0)?;
    tour.scan(
        "a live code after its holder was erased",
        &shown,
        "sentinel",
        "refuse / revoked",
    )
    .await?;
    Ok(())
}

/// The standing set by the health authority, at a gate and at the sampling desk (R21).
async fn standings(tour: &mut Tour<'_>, person: &str, phone: &(crate::phone::Phone, String)) -> Result<(), Failure> {
    let guide = tour.guide;
    for (standing, question, expected) in [
        ("red", "a red standing at a gate", "refuse / standing_red"),
        ("yellow", "a yellow standing at a gate", "refuse / standing_yellow"),
        ("green", "a green standing at a gate", OK),
    ] {
        guide
            .post(
                "standing",
                json!({ "id_number": person, "standing": standing, "reason": "核酸结果" }),
            )
            .await?;
        let shown = guide.show(&format!("gate-{standing}"), phone, 0)?;
        tour.scan(question, &shown, "sentinel", expected).await?;
        tour.scan("… and at the sampling desk", &shown, "sampling_desk", OK)
            .await?;
    }
    Ok(())
}
