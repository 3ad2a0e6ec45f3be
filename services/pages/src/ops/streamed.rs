//! Pages whose answer takes long: the page is sent up to the place of the answer, then the parts as they come, then the
//! rest. This works without JavaScript and needs no memory of jobs, so any portal may be restarted; a reader who leaves
//! ends the work.

use std::convert::Infallible;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::Problem;
use futures::stream;
use http::header::CONTENT_TYPE;
use tokio::sync::mpsc;

use super::access::TabLink;
use crate::frame::Frame;

/// Stands in the template where the parts are put.
const HERE: &str = "<!--parts-->";
/// Parts that wait for a slow reader.
const WAITING: usize = 4;

/// A page that is sent in parts.
#[derive(Template)]
#[template(path = "ops/streamed.html")]
pub(super) struct Streamed<'a> {
    pub(super) f: Frame<'a>,
    pub(super) tabs: Vec<TabLink>,
    pub(super) title: String,
    /// The file of a script that the parts need; empty if there is none.
    pub(super) script: &'static str,
    pub(super) back: &'static str,
}

/// Where the parts are sent.
pub(super) struct Parts(mpsc::Sender<String>);

impl Parts {
    /// Sends a part. Returns false if the reader left: the work should end then.
    pub(super) async fn send(&self, part: &impl Template) -> bool {
        let text = part.render().unwrap_or_else(|error| {
            tracing::error!(%error, "a part of a page could not be rendered");
            String::new()
        });
        self.0.send(text).await.is_ok()
    }
}

/// Sends the page with the parts that `work` makes. It runs outside of the time limit of the request.
pub(super) fn answer<W>(page: &Streamed<'_>, work: impl FnOnce(Parts) -> W) -> Response
where
    W: Future<Output = ()> + Send + 'static,
{
    let Ok(text) = page.render() else {
        return Problem::internal().into_response();
    };
    let (head, tail) = text.split_once(HERE).unwrap_or((&text, ""));
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(work(Parts(sender)));
    let parts = stream::unfold(receiver, |mut receiver| async move {
        let part = receiver.recv().await?;
        Some((part, receiver))
    });
    let head = stream::iter([head.to_owned()]);
    let whole = futures::StreamExt::chain(futures::StreamExt::chain(head, parts), stream::iter([tail.to_owned()]));
    let whole = futures::StreamExt::map(whole, |part| Ok::<_, Infallible>(Bytes::from(part)));
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], Body::from_stream(whole)).into_response()
}

/// A line of progress.
#[derive(Template)]
#[template(path = "ops/progress_part.html")]
pub(super) struct Progress {
    pub(super) text: String,
}

/// The answer that there is none.
#[derive(Template)]
#[template(path = "ops/problem_part.html")]
pub(super) struct Failed<'a> {
    pub(super) f: &'a Frame<'a>,
    pub(super) code: &'a str,
    pub(super) text: String,
}

impl<'a> Failed<'a> {
    pub(super) fn new(f: &'a Frame<'a>, problem: &'a Problem) -> Self {
        Self {
            f,
            code: problem.code().as_str(),
            text: super::asking::sentence(f, problem),
        }
    }
}
