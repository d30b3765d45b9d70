//! From a request to an answer: the token first, then what the route takes, then the route.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Scope};
use futures_core::Stream;
use gristmill::clock::SystemClock;
use gristmill::deployer::Deployer;
use gristmill::traits::Clock;
use tokio::sync::{Semaphore, oneshot};

use crate::RenderMetrics;
use crate::call::{Answer, Call};
use crate::limits::{Bucket, Limits};
use crate::problem::Problem;
use crate::routes::{Body, Found, Route, decode, find};
use crate::tokens::{self, Known, Tokens};

/// How long a client whose body is not read may take to go.
const DISCONNECT: Duration = Duration::from_secs(1);
/// Says how long the JSON before binary tensors is.
const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

/// What a browser may do with a page: load what the program has, and nothing else.
const PAGE_HEADERS: [(&str, &str); 2] = [
    (
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
];

/// What all requests share.
pub(crate) struct Site {
    pub(crate) deployer: Deployer,
    pub(crate) limits: Limits,
    pub(crate) metrics: Option<RenderMetrics>,
    /// What stands before the path of every route; empty on a server of its own.
    prefix: String,
    tokens: Tokens,
    clock: SystemClock,
    bodies: Semaphore,
    /// Held by inference requests.
    pub(crate) scorings: Arc<Semaphore>,
    /// For requests without a valid token, and for those with one: nobody can use up the other's.
    strangers: Bucket,
    known: Bucket,
}

impl Site {
    pub(crate) fn new(
        deployer: Deployer,
        tokens: Tokens,
        limits: Limits,
        metrics: Option<RenderMetrics>,
        prefix: String,
    ) -> Self {
        let bucket = || Bucket::full(limits.requests_per_second);
        Self {
            deployer,
            limits,
            metrics,
            prefix,
            tokens,
            clock: SystemClock::default(),
            bodies: Semaphore::new(limits.bodies),
            scorings: Arc::new(Semaphore::new(limits.scorings)),
            strangers: bucket(),
            known: bucket(),
        }
    }
}

/// Serves what comes to a socket, on this thread, until it is told to stop.
pub(crate) fn run(
    site: Arc<Site>,
    listener: TcpListener,
    tell: oneshot::Sender<std::io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let limits = site.limits;
    let serving = async move {
        let server = HttpServer::new(move || App::new().service(scope(&site)));
        let server = server
            .workers(1)
            .max_connections(limits.connections)
            .client_request_timeout(limits.head_time)
            .client_disconnect_timeout(DISCONNECT)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(listener)?
            .run();
        Ok(server)
    };
    actix_web::rt::System::new().block_on(async move {
        let server = match serving.await {
            Ok(server) => server,
            Err(error) => {
                // Who started it is gone if this cannot be told.
                let _ = tell.send(Err(error));
                return;
            }
        };
        let handle = server.handle();
        if tell.send(Ok(())).is_err() {
            return;
        }
        actix_web::rt::spawn(async move {
            // An error means that its owner is gone, which ends it as well.
            let _ = stopped.await;
            handle.stop(true).await;
        });
        if let Err(error) = server.await {
            tracing::error!(%error, "the admin API ended with an error");
        }
    });
}

/// The routes under the site's prefix, for a server of the host's own.
pub(crate) fn scope(site: &Arc<Site>) -> Scope {
    web::scope(&site.prefix).app_data(web::Data::from(Arc::clone(site))).default_service(web::to(answer))
}

/// The path of a request, without what stands before every route.
fn path_of<'r>(request: &'r HttpRequest, site: &Site) -> &'r str {
    let path = request.uri().path();
    path.strip_prefix(&site.prefix).unwrap_or(path)
}

async fn answer(request: HttpRequest, payload: web::Payload, site: web::Data<Site>) -> HttpResponse {
    let (site, mut payload) = (site.into_inner(), payload.into_inner());
    let answered = match let_in(&request, &site) {
        Ok((route, open, who)) => match call(&request, &mut payload, Arc::clone(&site), route, open, who).await {
            Ok(call) => (route.answer)(call).await,
            Err(problem) => Err(problem),
        },
        Err(problem) => Err(problem),
    };
    let response = match answered {
        Ok(answer) => good(answer),
        Err(problem) => problem.response(path_of(&request, &site)),
    };
    response.map_body(|_, body| Unread { body, _payload: payload }.boxed())
}

/// An answer that has what is left of the request's body until it is sent: whoever sends for ever is not read to an end
/// that never comes, but let go.
struct Unread {
    body: BoxBody,
    _payload: Payload,
}

impl MessageBody for Unread {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

fn good(answer: Answer) -> HttpResponse {
    match answer {
        Answer::Json(value) => HttpResponse::Ok().content_type("application/json").body(value.to_string()),
        Answer::Bytes(bytes) => HttpResponse::Ok().content_type("application/octet-stream").body(bytes),
        Answer::Page { kind, bytes } => {
            let mut response = HttpResponse::Ok();
            PAGE_HEADERS.iter().for_each(|header| _ = response.insert_header(*header));
            response.content_type(kind).body(bytes)
        }
        Answer::Moved(to) => HttpResponse::TemporaryRedirect().insert_header(("Location", to)).finish(),
        Answer::Text(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text),
        Answer::Tensors { json, binary: None } => HttpResponse::Ok().content_type("application/json").body(json),
        Answer::Tensors { json, binary: Some(binary) } => {
            let mut response = HttpResponse::Ok();
            response.content_type("application/octet-stream");
            response.insert_header((HEADER_LENGTH, json.len()));
            response.body([json, binary].concat())
        }
    }
}

/// The route, and who may use it; nothing of the body is read.
fn let_in(request: &HttpRequest, site: &Site) -> Result<(&'static Route, Vec<String>, String), Problem> {
    let now = site.clock.monotonic();
    let rate = site.limits.requests_per_second;
    let found = find(request.method().as_str(), path_of(request, site));
    let header = request.headers().get("Authorization").map(|value| value.to_str().unwrap_or(""));
    let token = header.map(bearer);
    let known = match token {
        None => Known::Unknown,
        Some(token) => site.tokens.look(token, site.clock.wall()).map_err(|error| {
            tracing::error!(%error, "tokens cannot be checked");
            Problem::new("registry", "tokens cannot be checked; the log says why")
        })?,
    };
    let bucket = if matches!(known, Known::Valid { .. }) { &site.known } else { &site.strangers };
    if !bucket.take(rate, now) {
        return Err(Problem::new("too-many-requests", format!("the limit is {rate} requests a second; wait a second")));
    }
    let found = match found {
        Found::Route(route, open) if route.scope == tokens::Scope::Open => {
            return Ok((route, open, "anybody".to_owned()));
        }
        found => found,
    };
    let (who, scope) = match known {
        Known::Valid { name, scope } => (name, scope),
        Known::Expired => {
            return Err(Problem::new("expired-token", "the token has ended; make a new one with `grist token create`"));
        }
        Known::Unknown => {
            let advice = "send `Authorization: Bearer TOKEN`; `grist token create` makes one";
            return Err(Problem::new("unauthorized", advice));
        }
    };
    match found {
        Found::Route(route, _) if route.scope > scope => {
            let reason = format!("the token `{who}` allows {scope}; this needs {}", route.scope);
            Err(Problem::new("forbidden", reason))
        }
        Found::Route(route, open) => Ok((route, open, who)),
        Found::OtherMethods(known) => Err(Problem::other_methods(request.method().as_str(), &known)),
        Found::Nothing => Err(Problem::new("unknown-route", "docs/admin.md and /v1/openapi.json have all paths")),
    }
}

/// The token of an `Authorization` header; empty when it is of another scheme. The case of a scheme says nothing.
fn bearer(header: &str) -> &str {
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("Bearer") { token.trim() } else { "" }
}

async fn call(
    request: &HttpRequest,
    payload: &mut Payload,
    site: Arc<Site>,
    route: &Route,
    path: Vec<String>,
    who: String,
) -> Result<Call, Problem> {
    let header = |name: &str| match request.headers().get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => Err(Problem::new("bad-header", format!("{name} is not ASCII"))),
    };
    let query = query(request.uri().query().unwrap_or(""), route)?;
    let (content_type, if_match) = (header("Content-Type")?.unwrap_or_default(), header("If-Match")?);
    let (idempotency, header_length) = (header("Idempotency-Key")?, header(HEADER_LENGTH)?);
    let body = if route.takes != Body::None { body(request, payload, &site).await? } else { Bytes::new() };
    Ok(Call { site, who, path, query, content_type, if_match, idempotency, header_length, body })
}

fn query(text: &str, route: &Route) -> Result<BTreeMap<String, String>, Problem> {
    let mut query = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(known) = route.query.iter().find(|known| **known == name) else {
            let known = if route.query.is_empty() { "none".to_owned() } else { route.query.join(", ") };
            let reason = format!("there is no parameter `{}`; known are: {known}", name.escape_debug());
            return Err(Problem::new("bad-query", reason));
        };
        let value = decode(&value.replace('+', " "));
        let value = value.ok_or_else(|| Problem::new("bad-query", format!("`{known}` is not UTF-8")))?;
        query.insert((*known).to_owned(), value);
    }
    Ok(query)
}

async fn body(request: &HttpRequest, payload: &mut Payload, site: &Site) -> Result<Bytes, Problem> {
    let limits = &site.limits;
    let most = limits.body_bytes;
    let too_large = || Problem::new("body-too-large", format!("a body has {most} bytes at most"));
    let said = request.headers().get("Content-Length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > most as u64) {
        return Err(too_large());
    }
    // A body is bounded as it is sent; one that would be unpacked has no bound.
    if request.headers().get("Content-Encoding").is_some_and(|value| value != "identity") {
        return Err(Problem::new("content-encoding", "send the body as it is, without a Content-Encoding"));
    }
    let Ok(_reading) = site.bodies.try_acquire() else {
        let reason = format!("{} bodies are being read, the limit; wait a second", limits.bodies);
        return Err(Problem::new("busy", reason));
    };
    let reading = async {
        let mut body = Vec::new();
        while let Some(part) = std::future::poll_fn(|context| Pin::new(&mut *payload).poll_next(context)).await {
            let part = part.map_err(|error| Problem::new("bad-body", format!("the body cannot be read: {error}")))?;
            if body.len() + part.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
        }
        Ok(Bytes::from(body))
    };
    let read = tokio::time::timeout(limits.body_time, reading).await;
    read.unwrap_or_else(|_| {
        Err(Problem::new("too-slow", format!("a body has {} s to come", limits.body_time.as_secs())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: `bearer` in lower case was no token. Fix: the scheme is compared without its case (RFC 9110, 11.1).
    #[test]
    fn the_scheme_of_a_token_has_any_case() {
        for header in ["Bearer grist_1", "bearer grist_1", "BEARER  grist_1 "] {
            assert_eq!(bearer(header), "grist_1", "{header}");
        }
        for header in ["", "Bearer", "grist_1", "Basic grist_1", "Bearergrist_1"] {
            assert_eq!(bearer(header), "", "{header}");
        }
    }
}
