//! The page at `/`.

use crate::harness::City;

#[tokio::test]
async fn the_first_page_is_chinese_or_english_on_request_and_has_links() {
    let city = City::new();
    for (path, language, word) in [
        ("/", "zh-CN", "最初的几条命令"),
        ("/?lang=zh", "zh-CN", "最初的几条命令"),
        ("/?x=1&lang=en", "en", "First commands"),
    ] {
        let page = city.get(path, &[]).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("content-language"), language);
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(html.contains(word), "{path}");
        assert!(html.contains(&format!("<html lang=\"{language}\">")), "{path}");
        for link in ["/docs/", "/openapi.json", "/health/ready", "/api/v1/keys"] {
            assert!(html.contains(&format!("href=\"{link}\"")), "{link}");
        }
        assert!(html.contains("citycode issue") && html.contains("citycode verify"));
    }
}

#[tokio::test]
async fn the_first_page_loads_its_own_style_sheet_and_nothing_else() {
    let city = City::new();
    for path in ["/", "/?lang=en"] {
        let page = city.get(path, &[]).await;
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        for forbidden in [
            "<script", "<style", "style=", "<img", "onclick", "http://", "https://", "<form",
        ] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        let sheets: Vec<_> = html.split("rel=\"stylesheet\" href=\"").skip(1).collect();
        assert_eq!(sheets.len(), 1);
        let sheet = city.get(sheets[0].split('"').next().unwrap(), &[]).await;
        assert_eq!(
            (sheet.status, sheet.header("content-type")),
            (200, "text/css; charset=utf-8")
        );
        let css = String::from_utf8(sheet.body.to_vec()).unwrap();
        assert!(!css.contains("url(") && !css.contains("@import"));
    }
}

#[tokio::test]
async fn the_first_page_supports_only_get() {
    let city = City::new();
    let answer = city.post("/", serde_json::json!({})).await;
    assert_eq!(answer.problem(), (405, "invalid_request".into()));
}
