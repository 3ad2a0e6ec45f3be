//! HTTP client of a running system: the caller's token, time limits, and safe retries.
//!
//! A call is retried only if the connection failed, never after an answer, and always with the same `Idempotency-Key`
//! and the same bytes, so that it takes effect at most once. Only plain `http://` is supported; between machines a
//! proxy terminates TLS. [`crate::route`] decides which calls go through a proxy of the environment.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use citycode_service_kit::local_socket::{SocketAddress, require_private_folder};
use citycode_service_kit::problem::Code;
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::route::Route;
use citycode_runtime::local_token::LocalServer;
use citycode_terminal::failure::{Failure, root_cause};

/// The default address of `citycode up`.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Time limit for connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for the answer of one call; a server under load answers or refuses long before.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Longest answer and longest line of an answer. A print sheet of many codes has some megabytes; a server that sends more
/// is not one of citycode, and must not fill this machine's memory.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The pause before each retry of a call whose connection failed.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Advice on how to get an access token.
const TOKEN_ADVICE: &str = "give an access token with --token, CITYCODE_TOKEN or CITYCODE_TOKEN_FILE; the user who runs \
                            'citycode up' on this machine needs none";

/// A client of one server.
pub struct Client {
    http: reqwest::Client,
    server: Url,
    route: Route,
    /// Stays open because the client's socket path may go through its file descriptor.
    _socket: Option<SocketAddress>,
    token: Option<Zeroizing<String>>,
}

/// Why a call has no answer.
enum Lost {
    /// The connection failed without an answer.
    Connection(reqwest::Error),
    /// A failure that is not retried.
    Final(Failure),
}

impl Client {
    /// A client of the server at this URL, e.g. `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// A usage [`Failure`] if the URL is invalid or not `http://`.
    pub fn new(server: &str, token: Option<Zeroizing<String>>) -> Result<Self, Failure> {
        let server = server_url(server)?;
        let route = Route::to(&server);
        Self::build(server, route, None, token)
    }

    /// A client of a server that this user runs on this machine. All calls go over the server's Unix socket, because no
    /// other user can impersonate the server there and receive the local admin's token.
    ///
    /// # Errors
    /// A [`Failure`] if other users can replace the server's socket.
    pub fn of_local(server: &str, local: LocalServer) -> Result<Self, Failure> {
        let folder = local.socket.parent().unwrap_or(Path::new("/"));
        let trusted = require_private_folder(folder).map_err(|error| {
            let why = root_cause(&error);
            let fix = "make the data folder private (chmod go=) and start 'citycode up' again";
            Failure::local("the local server's socket cannot be trusted", why, fix)
        });
        trusted.and_then(|()| {
            let socket = SocketAddress::of(&local.socket)
                .map_err(|error| Failure::file("reach the socket", &local.socket, error))?;
            let server = server_url(server)?;
            Self::build(server, Route::LocalSocket, Some(socket), Some(local.token))
        })
    }

    fn build(
        server: Url,
        route: Route,
        socket: Option<SocketAddress>,
        token: Option<Zeroizing<String>>,
    ) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("citycode/", env!("CARGO_PKG_VERSION")));
        let http = match &socket {
            Some(socket) => http.no_proxy().unix_socket(socket.path()),
            None => route.apply(http),
        };
        let http = http
            .build()
            .map_err(|error| Failure::local("cannot start", error, "try again"))?;
        Ok(Self {
            http,
            server,
            route,
            _socket: socket,
            token,
        })
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// The route of calls to the server.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The token that each call carries, if any.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.as_str())
    }

    /// Posts a JSON body and returns the JSON answer. With a command id the call is idempotent; a call without one must
    /// not change anything.
    ///
    /// # Errors
    /// [`Failure`]: the server's problem, or the reason for a missing answer.
    pub async fn post(&self, path: &str, body: &Value, command_id: Option<Uuid>) -> Result<Value, Failure> {
        self.refuse_without_token().await?;
        let bytes = Bytes::from(body.to_string());
        let mut pauses = RETRY_PAUSES.iter();
        // Whether an attempt was sent and its answer was lost.
        let mut may_be_done = false;
        loop {
            match self.post_once(path, bytes.clone(), command_id).await {
                Ok(answer) => return Ok(answer),
                Err(Lost::Final(failure)) if may_be_done => {
                    return Err(failure.after_a_lost_answer().of_command(command_id));
                }
                Err(Lost::Final(failure)) => return Err(failure.of_command(command_id)),
                Err(Lost::Connection(error)) => match pauses.next() {
                    Some(pause) => {
                        may_be_done |= !error.is_connect();
                        tokio::time::sleep(*pause).await;
                    }
                    None => return Err(self.unreachable(&error, command_id)),
                },
            }
        }
    }

    /// Gets a JSON answer.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.get_with_headers(path).await?.0)
    }

    /// As [`Self::get`], with the answer's `Date` header.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get_with_headers(&self, path: &str) -> Result<(Value, Option<String>), Failure> {
        let sent = self.request(Method::GET, path)?.timeout(CALL_LIMIT).send().await;
        let response = sent.map_err(|error| self.unreachable(&error, None))?;
        let date = header_text(response.headers(), DATE.as_str());
        let answer = self.answer(response).await.map_err(|lost| match lost {
            Lost::Connection(error) => self.unreachable(&error, None),
            Lost::Final(failure) => failure,
        })?;
        Ok((answer, date))
    }

    /// Gets only the HTTP status of a path, e.g. of a health check, and the `Date` of the answer.
    ///
    /// # Errors
    /// [`Failure`] if there was no answer.
    pub async fn status(&self, path: &str) -> Result<(StatusCode, Option<String>), Failure> {
        let sent = self.request(Method::GET, path)?.timeout(CALL_LIMIT).send().await;
        let response = sent.map_err(|error| self.unreachable(&error, None))?;
        Ok((response.status(), header_text(response.headers(), DATE.as_str())))
    }

    /// Starts a call whose body and answer are concurrent streams of JSON lines. It has no time limit: it ends when the
    /// body ends. It is not retried.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn stream(&self, path: &str, body: reqwest::Body) -> Result<Response, Failure> {
        self.send_for_lines(path, "application/x-ndjson", body).await
    }

    async fn send_for_lines(&self, path: &str, media_type: &str, body: reqwest::Body) -> Result<Response, Failure> {
        self.refuse_without_token().await?;
        let request = self
            .request(Method::POST, path)?
            .header(CONTENT_TYPE, media_type)
            .body(body);
        let response = request.send().await.map_err(|error| self.unreachable(&error, None))?;
        if response.status().is_success() {
            return Ok(response);
        }
        match self.answer(response).await {
            Err(Lost::Final(failure)) => Err(failure),
            Err(Lost::Connection(error)) => Err(self.unreachable(&error, None)),
            Ok(_) => Err(Failure::of_code(
                Code::Internal,
                "the server's answer is invalid",
                "it is not a stream",
                None,
            )),
        }
    }

    /// Posts a JSON body whose answer is a stream of JSON lines. It has no time limit and is not retried, so it must not
    /// change anything.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn post_for_lines(&self, path: &str, body: &Value) -> Result<Response, Failure> {
        self.send_for_lines(path, "application/json", body.to_string().into())
            .await
    }

    /// Every call with a body needs a token. Without one the body is not sent: it may contain ID numbers, and the
    /// server is not authenticated. The server is contacted first, because a connection error is the better
    /// explanation.
    async fn refuse_without_token(&self) -> Result<(), Failure> {
        if self.token.is_some() {
            return Ok(());
        }
        self.status("/api/v1/policy").await?;
        Err(Failure::of_code(
            Code::NotAllowed,
            "the server requires authentication",
            "there is no access token",
            Some(TOKEN_ADVICE),
        ))
    }

    async fn post_once(&self, path: &str, body: Bytes, command_id: Option<Uuid>) -> Result<Value, Lost> {
        let mut request = self
            .request(Method::POST, path)
            .map_err(Lost::Final)?
            .timeout(CALL_LIMIT)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(id) = command_id {
            request = request.header("Idempotency-Key", id.to_string());
        }
        let response = request.send().await.map_err(|error| {
            if error.is_timeout() && !error.is_connect() {
                Lost::Final(self.unreachable(&error, command_id))
            } else {
                Lost::Connection(error)
            }
        })?;
        self.answer(response).await
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder, Failure> {
        let url = self
            .server
            .join(path.trim_start_matches('/'))
            .map_err(|error| Failure::usage(error, "check the address given with --server"))?;
        let mut request = self.http.request(method, url).header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        Ok(request)
    }

    async fn answer(&self, response: Response) -> Result<Value, Lost> {
        let status = response.status();
        let body = self.body(response).await?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match value {
            Some(value) if status.is_success() => Ok(value),
            Some(Value::Object(problem)) if problem.contains_key("code") => Err(Lost::Final(self.refused(problem))),
            _ => Err(Lost::Final(self.not_citycode(status))),
        }
    }

    /// The whole body, if it is not too long.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Lost> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Lost::Connection)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Lost::Final(too_long()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// If there is no token, the advice is how to get one.
    fn refused(&self, mut problem: Map<String, Value>) -> Failure {
        let unauthenticated = problem.get("status").and_then(Value::as_u64) == Some(401);
        if unauthenticated && self.token.is_none() {
            problem.insert("fix".into(), TOKEN_ADVICE.into());
        }
        Failure::from_problem(Value::Object(problem))
    }

    fn not_citycode(&self, status: StatusCode) -> Failure {
        let code = match status.as_u16() {
            404 | 405 => Code::NotFound,
            401 | 403 => Code::NotAllowed,
            429 => Code::RateLimited,
            502..=504 => Code::Unavailable,
            _ => Code::Internal,
        };
        let fix = "check that --server names a citycode server of this version";
        Failure::of_code(
            code,
            format_args!("no answer of citycode from {}{}", self.server(), self.route),
            format_args!("HTTP status {status} without a reason"),
            Some(&self.route.advice().unwrap_or_else(|| fix.to_owned())),
        )
    }

    fn unreachable(&self, error: &reqwest::Error, command_id: Option<Uuid>) -> Failure {
        let what = format!("cannot reach the server at {}{}", self.server(), self.route);
        let fix = match command_id {
            _ if error.is_connect() && self.route.advice().is_some() => self.route.advice().unwrap_or_default(),
            _ if error.is_connect() => "start it with 'citycode up' or name another with --server".to_owned(),
            // The change may have been made: only the same id identifies the same change.
            Some(id) => format!("it may have been done: run the same command again with --command-id {id}"),
            None => "try again".to_owned(),
        };
        Failure::of_code(Code::Unavailable, what, root_cause(error), Some(&fix))
    }
}

/// The answer, or a line of it, has more than [`MAX_ANSWER_BYTES`].
#[must_use]
pub fn too_long() -> Failure {
    Failure::of_code(
        Code::Internal,
        "the server's answer is invalid",
        format_args!("it is longer than {MAX_ANSWER_BYTES} bytes"),
        Some("check that --server names a citycode server of this version"),
    )
}

/// Parses the base URL of a server.
fn server_url(server: &str) -> Result<Url, Failure> {
    let fix = "give one like http://127.0.0.1:8080 with --server or CITYCODE_SERVER";
    let mut server: Url = server
        .parse()
        .map_err(|error| Failure::usage(format_args!("the server's address is not a URL: {error}"), fix))?;
    if server.scheme() != "http" || server.host_str().is_none() {
        return Err(Failure::usage("this program supports plain http:// only", fix));
    }
    // With a trailing slash, relative paths are joined below a path prefix.
    if !server.path().ends_with('/') {
        let path = format!("{}/", server.path());
        server.set_path(&path);
    }
    Ok(server)
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
