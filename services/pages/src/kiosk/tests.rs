//! Tests of the kiosk's pages before any service is asked: cards, typed numbers, PINs, the visit and its end.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too: what cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use citycode_access_records::embedded::EmbeddedRecords;
use citycode_access_records::{Entry, Table};
use citycode_qr::{FontChoice, Fonts};
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::problem::Problem;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use zeroize::Zeroizing;

use super::reading::tests::{KEY, reading};
use super::settings::{Identification, KioskSettings};
use super::visit::{Act, Proof, Visit};
use crate::session::{Area, Device, Session, Who};
use crate::site::Site;
use crate::{PageCaller, PageTokens, Pages, PagesParts};

const NOW: i64 = 1_790_000_000;
/// Numbers of nobody, with the same last four digits.
const NUMBERS: [&str; 2] = ["990100194403080010", "990100195205190010"];

/// Gives no token, and counts who asks: a page needs a token for every call of a service.
#[derive(Default)]
struct NoTokens(AtomicUsize);

impl PageTokens for NoTokens {
    fn token(&self, _: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(Problem::internal())
    }
}

struct Kiosk {
    router: Router,
    site: Arc<Site>,
    clock: Arc<ManualClock>,
    tokens: Arc<NoTokens>,
    session: Session,
    _dir: tempfile::TempDir,
}

/// What a browser sees.
struct Seen {
    status: StatusCode,
    location: String,
    cookies: Vec<String>,
    body: String,
}

fn with_reader_and_pin() -> KioskSettings {
    let how = Identification {
        reader_key: Some(Zeroizing::new(KEY.to_vec())),
        attendant_pin: Some(Zeroizing::new("246810".to_owned())),
    };
    KioskSettings {
        identification: [("kiosk".to_owned(), how)].into(),
        ..KioskSettings::default()
    }
}

impl Kiosk {
    async fn new(kiosk: KioskSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(UnixSeconds(NOW)));
        let tokens = Arc::new(NoTokens::default());
        let records = Arc::new(EmbeddedRecords::open(&dir.path().join("access.redb")).unwrap());
        let pages = Pages::new(PagesParts {
            clients: Clients::in_process(tonic::service::Routes::default()),
            policy: Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI).unwrap()),
            tokens: Arc::clone(&tokens) as Arc<dyn PageTokens>,
            records,
            session_key: Zeroizing::new([7; 32]),
            clock: Arc::clone(&clock) as Arc<_>,
            entropy: Arc::new(SeededEntropy::new(1)),
            fonts: Arc::new(Fonts::load(&FontChoice::BuiltIn).unwrap()),
            kiosk,
            demo: Vec::new(),
            host_names: Vec::new(),
            secure: false,
        });
        let site = Arc::clone(&pages.start_links().0);
        let this = Self {
            session: session(&site, "kiosk-7").await,
            router: pages.into_router(),
            site,
            clock,
            tokens,
            _dir: dir,
        };
        assert_eq!(this.clock.now().0, NOW);
        this
    }

    async fn send(&self, method: Method, path: &str, cookies: &[&str], form: &str) -> Seen {
        let own = self.session.set_cookie(&self.site);
        let own = own.split(';').next().unwrap();
        let cookies: Vec<&str> = [own].into_iter().chain(cookies.iter().copied()).collect();
        let request = Request::builder().method(method).uri(path).header(COOKIE, cookies.join("; "));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(form.to_owned())).unwrap();
        let answer = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        Seen::of(answer).await
    }

    async fn get(&self, path: &str, cookies: &[&str]) -> Seen {
        self.send(Method::GET, path, cookies, "").await
    }

    async fn post(&self, path: &str, cookies: &[&str], field: &str, value: &str) -> Seen {
        let token = self.session.form_token(&self.site);
        let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.send(Method::POST, path, cookies, &format!("form_token={token}&{field}={value}")).await
    }

    async fn read_card(&self, typed: &str) -> Seen {
        self.post("/kiosk/person", &[], "card", typed).await
    }

    /// The visit in a cookie.
    async fn visit(&self, cookie: &str) -> Option<Visit> {
        let request = Request::builder().header(COOKIE, cookie).body(()).unwrap();
        Visit::of(&self.site, &request.into_parts().0, &self.session).await.unwrap()
    }
}

impl Seen {
    async fn of(answer: Response<Body>) -> Self {
        let text = |name| {
            let values = answer.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        Self {
            status: answer.status(),
            location: text(LOCATION).concat(),
            cookies: text(SET_COOKIE),
            body: String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap(),
        }
    }

    /// `NAME=VALUE` of the visit's cookie.
    fn visit(&self) -> &str {
        let visit = self.cookies.iter().find(|cookie| cookie.starts_with("citycode-kiosk-visit="));
        visit.expect("a visit begins").split(';').next().unwrap()
    }
}

async fn session(site: &Site, device: &str) -> Session {
    let who = Device {
        id: device.to_owned(),
        name: device.to_owned(),
        channel: "kiosk".to_owned(),
        places: Vec::new(),
    };
    let entry = Entry {
        value: b"{}",
        expires_at: NOW + 1_000_000,
    };
    site.records.create(Table::Device, device.as_bytes(), entry, NOW).await.unwrap();
    Session::begin(site, Area::Kiosk, Who::Device(who))
}

fn reading_now() -> String {
    reading(NUMBERS[0], "王秀英", NOW, KEY)
}

#[tokio::test]
async fn r31_before_authentication_any_two_numbers_give_the_same_bytes_and_no_service_is_asked() {
    let mut seen = Vec::new();
    for number in NUMBERS {
        let kiosk = Kiosk::new(with_reader_and_pin()).await;
        let typed = kiosk.post("/kiosk/person", &[], "id_number", number).await;
        let mut bytes = vec![format!("{} {} {}", typed.status, typed.location, typed.body)];
        let lengths: Vec<usize> = typed.cookies.iter().map(String::len).collect();
        assert_eq!(typed.location, "/kiosk/identify");
        for path in ["/kiosk/identify", "/kiosk/who", "/kiosk/relative", "/kiosk/codes", "/kiosk/confirm?act=issue&kind=offline", "/kiosk/done"] {
            let page = kiosk.get(path, &[typed.visit()]).await;
            bytes.push(format!("{} {} {}", page.status, page.location, page.body));
            assert!(path == "/kiosk/identify" || page.location == "/kiosk/identify", "{path}");
        }
        let wrong = kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "000000").await;
        bytes.push(format!("{} {}", wrong.status, wrong.body));
        assert_eq!(kiosk.tokens.0.load(Ordering::SeqCst), 0, "a service was asked");
        seen.push((bytes, lengths));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].0.iter().all(|page| !page.contains(&NUMBERS[0][14..])), "the number is not shown again");
}

#[tokio::test]
async fn a_reading_begins_one_visit_and_is_used_once() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let read = kiosk.read_card(&reading_now()).await;
    assert_eq!((read.status, read.location.as_str()), (StatusCode::SEE_OTHER, "/kiosk/who"));
    let visit = kiosk.visit(read.visit()).await.expect("a visit");
    assert_eq!((visit.proof, visit.name.as_deref()), (Proof::CardReader, Some("王秀英")));
    let twice = kiosk.read_card(&reading_now()).await;
    assert_eq!(kiosk.visit(twice.visit()).await.expect("a visit").id, visit.id, "the reader typed twice");

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
    assert_eq!((replayed.status, replayed.cookies.len()), (StatusCode::UNPROCESSABLE_ENTITY, 0));
}

#[tokio::test]
async fn finishing_ends_the_visit_also_for_a_copy_of_its_cookie() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let read = kiosk.read_card(&reading_now()).await;
    let english = ["citycode-view=en.large", read.visit()];
    assert_eq!(kiosk.get("/kiosk/who", &english).await.status, StatusCode::OK);
    let finished = kiosk.send(Method::POST, "/kiosk/finish", &english, &format!("form_token={}", kiosk.session.form_token(&kiosk.site))).await;
    assert_eq!(finished.location, "/kiosk?notice=finished");
    assert!(finished.cookies.iter().any(|cookie| cookie.starts_with("citycode-kiosk-visit=;")));
    assert!(finished.cookies.iter().any(|cookie| cookie.starts_with("citycode-view=zh.standard;")));
    assert!(kiosk.get(&finished.location, &[]).await.body.contains("请取走身份证和打印件"));
    assert_eq!(kiosk.get("/kiosk/who", &english).await.location, "/kiosk?notice=ended");
    let again = kiosk.read_card(&reading_now()).await;
    assert!(again.cookies.is_empty(), "a reading does not revive a visit that ended");
}

#[tokio::test]
async fn a_visit_is_of_one_kiosk_and_ends_by_itself() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let read = kiosk.read_card(&reading_now()).await;
    let cookie = read.visit().to_owned();
    let request = Request::builder().header(COOKIE, &cookie).body(()).unwrap().into_parts().0;
    let other = session(&kiosk.site, "kiosk-8").await;
    assert!(Visit::of(&kiosk.site, &request, &other).await.unwrap().is_none(), "another kiosk cannot open it");
    assert!(!cookie.contains(NUMBERS[0]) && !cookie.contains("CARD1"));

    let lasts = |cookie: &str| cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse::<u64>().unwrap();
    let mut visit = kiosk.visit(&cookie).await.expect("a visit");
    for _ in 0..3 {
        let kept = visit.set_cookie(&kiosk.site, &kiosk.session);
        assert!(lasts(&kept) <= 600);
        kiosk.clock.advance(Duration::from_secs(599));
        visit = kiosk.visit(kept.split(';').next().unwrap()).await.expect("each step keeps it for ten minutes");
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
    assert_eq!(first, id(&visit, Act::Reissue, "offline", false), "a form sent twice is one command");
    assert_ne!(first, id(&other, Act::Reissue, "offline", false));
    assert_ne!(first, id(&visit, Act::Loss, "offline", false));
    assert_ne!(first, id(&visit, Act::Reissue, "sampling", false));
    visit.relative = Some(NUMBERS[1].to_owned());
    assert_ne!(first, id(&visit, Act::Reissue, "offline", true));
    assert_eq!(first, id(&visit, Act::Reissue, "offline", false));
}

#[tokio::test]
async fn an_attendants_pin_confirms_a_number_and_guesses_are_limited() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    let typed = kiosk.post("/kiosk/person", &[], "id_number", NUMBERS[0]).await;
    let confirmed = kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "２４６８１０").await;
    assert_eq!(confirmed.location, "/kiosk/who");
    assert_eq!(kiosk.visit(confirmed.visit()).await.expect("a visit").proof, Proof::Attendant);
    for _ in 0..20 {
        kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "000000").await;
    }
    let limited = kiosk.post("/kiosk/identify", &[typed.visit()], "pin", "246810").await;
    assert!(limited.cookies.is_empty(), "the right PIN after too many wrong ones is refused too");
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
        ("\"><script>alert(1)", "&#34;&#62;&#60;SCRIPT&#62;ALERT(1)", "最后一位是数字或 X"),
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
async fn a_typed_number_opens_nothing_where_only_cards_are_read() {
    let mut settings = with_reader_and_pin();
    settings.identification.get_mut("kiosk").unwrap().attendant_pin = None;
    let kiosk = Kiosk::new(settings).await;
    assert_eq!(kiosk.get("/kiosk/number", &[]).await.location, "/kiosk");
    for field in ["id_number", "card"] {
        let typed = kiosk.post("/kiosk/person", &[], field, NUMBERS[0]).await;
        assert_eq!((typed.status, typed.cookies.len()), (StatusCode::UNPROCESSABLE_ENTITY, 0));
    }
}

#[tokio::test]
async fn a_form_without_the_sessions_token_does_nothing() {
    let kiosk = Kiosk::new(with_reader_and_pin()).await;
    for path in ["/kiosk/person", "/kiosk/finish", "/kiosk/identify"] {
        let form = "form_token=0&card=x&id_number=1&pin=246810";
        assert_eq!(kiosk.send(Method::POST, path, &[], form).await.status, StatusCode::FORBIDDEN, "{path}");
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
    super::print_folder::write(&kiosk.site, folder.path(), job, b"%PDF".to_vec()).await.unwrap();
    super::print_folder::write(&kiosk.site, folder.path(), ("kiosk-8", "00"), b"%PDF".to_vec()).await.unwrap();
    let written = files();
    assert_eq!(written.len(), 3);
    for file in written.iter().filter(|file| file.file_name() != "other.pdf") {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let read = kiosk.read_card(&reading_now()).await;
    assert_eq!(read.location, "/kiosk/who");
    assert_eq!(files().len(), 2, "what an earlier visit left is deleted, and nothing of others");
    super::print_folder::write(&kiosk.site, folder.path(), job, b"%PDF".to_vec()).await.unwrap();
    kiosk.post("/kiosk/finish", &[read.visit()], "x", "").await;
    assert_eq!(files().len(), 2);
}
