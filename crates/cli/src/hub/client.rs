//! Requests to the hub. Redirects are followed here and not by the HTTP library, because what the hub says of a file stands in
//! the answer before the redirect to its storage, and so that the token goes to no other server.

use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::error::Error;
use super::id::HubId;
use super::patience::{Failed, Later};
use super::settings::Settings;
use super::url;

/// Most redirects in a row.
const REDIRECTS: usize = 10;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// What a file is, without its bytes; if the hub tells that before a redirect to its storage, that answer.
    Head,
    /// A file from this byte on.
    From(u64),
    /// A page of the hub's interface, of which this is called missing if it is.
    Page(&'a str),
}

/// Asks one hub for one model.
#[derive(Debug)]
pub struct Client<'a> {
    agent: Agent,
    settings: &'a Settings,
    id: &'a HubId,
}

impl<'a> Client<'a> {
    /// No connection is made yet.
    pub fn new(settings: &'a Settings, id: &'a HubId) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(settings.silence))
            .accept_encoding("identity")
            .user_agent(concat!("loract/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into(), settings, id }
    }

    /// The page of the hub's interface with the commit and the files of the revision.
    pub fn listing_url(&self) -> String {
        let HubId { repository, revision, .. } = self.id;
        format!("{}/api/models/{repository}/revision/{}", self.settings.endpoint, url::encoded(revision, ""))
    }

    /// Where a file is.
    pub fn file_url(&self, commit: &str, file: &str) -> String {
        let HubId { repository, .. } = self.id;
        format!("{}/{repository}/resolve/{commit}/{}", self.settings.endpoint, url::encoded(file, "/"))
    }

    /// One answer: 200 or 206, or 416 to [`Ask::From`], or to [`Ask::Head`] a redirect that tells all.
    ///
    /// # Errors
    /// [`Failed::ForNow`] if it may be better later.
    pub fn ask(&self, address: &str, ask: Ask<'_>) -> Result<Response<Body>, Failed> {
        let mut address = address.to_owned();
        for _ in 0..=REDIRECTS {
            let answer = self.send(&address, ask)?;
            let status = answer.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.judged(&address, ask, answer);
            }
            let location = text(answer.headers(), "location").unwrap_or_default();
            let next = url::redirected(&address, location);
            let next = next.ok_or_else(|| odd(&address, format!("a redirect to `{location}`")))?;
            let tells_all = ["x-linked-etag", "x-linked-size"].iter().all(|name| answer.headers().contains_key(*name));
            if ask == Ask::Head && tells_all {
                return Ok(answer);
            }
            address = next;
        }
        Err(odd(&address, format!("more than {REDIRECTS} redirects")).into())
    }

    fn send(&self, address: &str, ask: Ask<'_>) -> Result<Response<Body>, Failed> {
        let mut request = if ask == Ask::Head { self.agent.head(address) } else { self.agent.get(address) };
        if let Some(token) = &self.settings.token
            && url::server(address) == url::server(&self.settings.endpoint)
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Ask::From(first @ 1..) = ask {
            request = request.header("Range", format!("bytes={first}-"));
        }
        request.call().map_err(|error| match error {
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Protocol(_) => {
                Failed::ForNow(Later { url: address.to_owned(), reason: error.to_string(), wait: None })
            }
            error => odd(address, error.to_string()).into(),
        })
    }

    fn judged(&self, address: &str, ask: Ask<'_>, answer: Response<Body>) -> Result<Response<Body>, Failed> {
        let status = answer.status().as_u16();
        let (id, endpoint) = (self.id.to_string(), self.settings.endpoint.clone());
        match status {
            200 | 206 => Ok(answer),
            416 if matches!(ask, Ask::From(_)) => Ok(answer),
            401 | 403 => {
                let token = if self.settings.token.is_some() { "one was sent" } else { "none is set" };
                let repository = self.id.repository.clone();
                Err(Error::Locked { id, endpoint, repository, status, token }.into())
            }
            404 | 410 => {
                let what = match ask {
                    Ask::Page(what) => what.to_owned(),
                    Ask::Head | Ask::From(_) => format!("file at {address}"),
                };
                Err(Error::NotFound { id, endpoint, what }.into())
            }
            408 | 429 | 500..=599 => {
                let reason = format!("the server answered {}", answer.status());
                let wait = text(answer.headers(), "retry-after").and_then(|seconds| seconds.trim().parse().ok());
                Err(Failed::ForNow(Later { url: address.to_owned(), reason, wait: wait.map(Duration::from_secs) }))
            }
            _ => Err(odd(address, format!("the server answered {}", answer.status())).into()),
        }
    }
}

fn odd(url: &str, what: String) -> Error {
    Error::Answer { url: url.to_owned(), what }
}

/// A header, if it is there and is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
