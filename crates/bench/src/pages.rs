//! The web pages over HTTP on loopback, as `citycode up --demo` serves them, compared with a bare axum handler that
//! returns a constant page of the same size. Both get the same requests, with the same cookie, from the same client.
//!
//! The city has the eight residents of a demo. A page with data makes the same in-process gRPC calls as in a larger
//! city, whose answers come from the same in-memory register.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use citycode_runtime::up::{Environment, Settings, System};
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::entropy::OsEntropy;
use citycode_service_kit::serve::Listener;
use citycode_service_kit::shutdown::Signal;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};

use crate::Scale;
use crate::report::{Figure, Goal, Report};

/// Concurrent requests, like those of a portal in use.
const IN_FLIGHT: usize = 32;
/// Requests of one round for a page without data.
const REQUESTS: u64 = 4_000;
/// Requests of one round for a page with data: services let a person ask 1,200 times a minute, and there are eight.
const REQUESTS_WITH_DATA: u64 = 400;
const ROUNDS: usize = 5;
/// Requests one after another, whose times are sorted.
const TIMED: u64 = 1_000;
/// The sample residents of a demo.
const PEOPLE: usize = 8;

struct Measured {
    page: &'static str,
    path: &'static str,
    rate: &'static str,
    p99: &'static str,
    goal: f64,
    requests: u64,
}

const PAGES: [Measured; 2] = [
    Measured {
        page: "without data",
        path: "/sign-in",
        rate: "page_rate_without_data",
        p99: "page_p99_without_data",
        goal: 0.5,
        requests: REQUESTS,
    },
    Measured {
        page: "the overview of a resident",
        path: "/my",
        rate: "page_rate_my",
        p99: "page_p99_my",
        goal: 0.25,
        requests: REQUESTS_WITH_DATA,
    },
];

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(report, scale))
}

async fn measure(report: &mut Report, scale: Scale) -> Result<()> {
    let folder = crate::folder::temporary()?;
    let settings = Settings {
        listen: "127.0.0.1:0".parse()?,
        data: Some(folder.path().join("data")),
        marks: Some(folder.path().join("marks")),
        demo: true,
        ..Settings::default()
    };
    let environment = Environment {
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
    };
    let system = System::start(settings, environment).await?;
    let own = format!("http://{}", system.address);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(IN_FLIGHT)
        .build()?;
    let mut cookies = Vec::new();
    for person in 0..PEOPLE {
        cookies.push(sign_in(&client, &own, person).await?);
    }
    let timed = scale.of(TIMED);
    for measured in PAGES {
        let requests = scale.of(measured.requests);
        let page = client
            .get(format!("{own}{}", measured.path))
            .header(COOKIE, &cookies[0])
            .send()
            .await?;
        ensure!(page.status().is_success(), "{}: {}", measured.path, page.status());
        let text = page.text().await?;
        report.note(format!("{}: {} bytes of HTML", measured.page, text.len()));
        let (bare, stop) = bare(text)?;
        let (mut rates, mut limits) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            limits.push(rate(&client, &format!("{bare}/"), &cookies, requests).await?);
            rates.push(rate(&client, &format!("{own}{}", measured.path), &cookies, requests).await?);
        }
        let figure = Figure::new(measured.rate, median(&mut rates), "1/s").reference(median(&mut limits));
        report.push(figure.goal(Goal::RatioAtLeast(measured.goal)));
        let p99 = p99(&client, &format!("{own}{}", measured.path), &cookies, timed).await?;
        let milliseconds = p99.as_secs_f64() * 1_000.0;
        report.push(Figure::new(measured.p99, milliseconds, "ms").goal(Goal::AtMost(20.0)));
        drop(stop);
    }
    system.stop().await;
    Ok(())
}

/// Signs in as a sample resident.
async fn sign_in(client: &reqwest::Client, own: &str, person: usize) -> Result<String> {
    let answer = client
        .post(format!("{own}/sign-in"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(format!("person={person}&shared=no"))
        .send()
        .await?;
    ensure!(
        answer.headers().get(LOCATION).is_some_and(|to| to == "/my"),
        "the sign-in failed"
    );
    let cookie = answer.headers().get(SET_COOKIE).context("a session")?.to_str()?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

/// A server that returns this page, on the listener of the product.
fn bare(text: String) -> Result<(String, citycode_service_kit::shutdown::Trigger)> {
    let text: Arc<str> = text.into();
    let router = Router::new().route(
        "/",
        get(move || {
            let text = Arc::clone(&text);
            async move { Html(text.to_string()) }
        }),
    );
    let listener = Listener::bind("127.0.0.1:0".parse()?)?;
    let address = listener.address();
    let (stop, stopped) = Signal::channel();
    tokio::spawn(listener.serve(router, stopped));
    Ok((format!("http://{address}"), stop))
}

/// Pages per second.
async fn rate(client: &reqwest::Client, address: &str, cookies: &[String], requests: u64) -> Result<f64> {
    let begun = Instant::now();
    let requested = cookies.iter().cycle().take(usize::try_from(requests)?);
    stream::iter(requested)
        .map(|cookie| fetch(client, address, cookie))
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    Ok(requests as f64 / begun.elapsed().as_secs_f64())
}

/// The time that 99 of 100 requests stay below, one after another, client included.
async fn p99(client: &reqwest::Client, address: &str, cookies: &[String], requests: u64) -> Result<Duration> {
    let mut times = Vec::new();
    for cookie in cookies.iter().cycle().take(usize::try_from(requests)?) {
        let begun = Instant::now();
        fetch(client, address, cookie).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().context("a request")
}

async fn fetch(client: &reqwest::Client, address: &str, cookie: &str) -> Result<()> {
    let answer = client.get(address).header(COOKIE, cookie).send().await?;
    ensure!(answer.status().is_success(), "{address}: {}", answer.status());
    answer.bytes().await?;
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
