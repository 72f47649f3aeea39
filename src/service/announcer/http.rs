//! Announces over HTTP and HTTPS: pooled keep-alive for each tracker, one address family at a
//! time, everything bounded.

use super::limits::{
    CONNECT_TIMEOUT, HTTP_HEAD_BYTES_MAX, HTTP_TIMEOUT, KEEP_ALIVE, REDIRECTS_MAX,
};
use super::names::Names;
use super::reply::{Failed, Reply, Taken};
use super::url::{Scheme, TrackerUrl};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{LOCATION, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ringseed_sched::announce::{Family, Outcome, Retry};
use ringseed_wire::limits::ANSWER_BYTES_MAX;
use ringseed_wire::tracker::AnnounceRequest;
use ringseed_wire::tracker_http::{self as codec, AnswerError, announce_target};
use rustls::pki_types::CertificateDer;
use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OnceCell;

/// What the client may do, for all its connections.
pub(super) struct HttpOptions {
    pub(super) user_agent: String,
    pub(super) connections_per_host: usize,
    /// Trusted beside the system's.
    pub(super) ca_certificates: Vec<CertificateDer<'static>>,
}

/// Clients for both families, made when first used: who has no HTTPS tracker pays for no TLS.
pub(super) struct HttpTrackers {
    options: HttpOptions,
    names: Arc<Names>,
    plain: [OnceCell<PlainClient>; 2],
    tls: [OnceCell<TlsClient>; 2],
}

type Connector = HttpConnector<FamilyNames>;
type PlainClient = Client<Connector, Empty<Bytes>>;
type TlsClient = Client<HttpsConnector<Connector>, Empty<Bytes>>;

impl HttpTrackers {
    pub(super) fn new(options: HttpOptions, names: Arc<Names>) -> HttpTrackers {
        HttpTrackers { options, names, plain: Default::default(), tls: Default::default() }
    }

    /// One announce, redirects and all, within [`HTTP_TIMEOUT`].
    pub(super) async fn announce(
        &self,
        url: &TrackerUrl,
        family: Family,
        request: &AnnounceRequest,
    ) -> Reply {
        let answer = tokio::time::timeout(HTTP_TIMEOUT, self.follow(url, family, request));
        match answer.await {
            Ok(reply) => reply,
            Err(_) => Err(Failed::silent(format!("no answer within {} s", HTTP_TIMEOUT.as_secs()))),
        }
    }

    async fn follow(&self, url: &TrackerUrl, family: Family, request: &AnnounceRequest) -> Reply {
        let mut at = url.clone();
        at.target = announce_target(&url.target, request);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.get(&at, family).await?;
            if !response.status().is_redirection() {
                return answer(response).await;
            }
            let next = redirect(response.headers(), &at)
                .ok_or_else(|| Failed::refused("a redirect leads nowhere"))?;
            if at.scheme == Scheme::Https && next.scheme != Scheme::Https {
                return Err(Failed::refused("a redirect leads from https to http"));
            }
            at = next;
        }
        Err(Failed::refused(format!("more than {REDIRECTS_MAX} redirects")))
    }

    async fn get(&self, url: &TrackerUrl, family: Family) -> Result<Response<Incoming>, Failed> {
        let addresses = self.names.of_family(&url.host, family).await;
        if addresses.map_err(|why| Failed::silent(why.as_ref()))?.is_empty() {
            return Err(Failed::absent(no_address(family)));
        }
        let request = Request::get(url.to_text())
            .header(USER_AGENT, &self.options.user_agent)
            .body(Empty::new())
            .map_err(|error| Failed::refused(format!("cannot be requested: {error}")))?;
        let sent = if url.scheme == Scheme::Https {
            let client = self.tls[family as usize]
                .get_or_try_init(async || self.tls_client(family))
                .await
                .map_err(|error| Failed::silent(format!("cannot set up TLS: {error}")))?;
            client.request(request).await
        } else {
            let client = self.plain[family as usize]
                .get_or_init(async || self.client().build(self.connector(family)))
                .await;
            client.request(request).await
        };
        sent.map_err(|error| unreached(&error, family))
    }

    fn connector(&self, family: Family) -> Connector {
        let names = FamilyNames { names: Arc::clone(&self.names), family };
        let mut connector = HttpConnector::new_with_resolver(names);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        connector
    }

    fn tls_client(&self, family: Family) -> Result<TlsClient, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        // Unreadable certificates of the system are as good as absent.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots.add_parsable_certificates(self.options.ca_certificates.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(self.connector(family));
        Ok(self.client().build(connector))
    }

    fn client(&self) -> hyper_util::client::legacy::Builder {
        let mut client = Client::builder(TokioExecutor::new());
        client
            .pool_idle_timeout(KEEP_ALIVE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(self.options.connections_per_host)
            .http1_max_buf_size(HTTP_HEAD_BYTES_MAX);
        client
    }
}

/// The names of [`Names`] as the connector asks for them: those of one family.
#[derive(Clone)]
struct FamilyNames {
    names: Arc<Names>,
    family: Family,
}

impl tower_service::Service<Name> for FamilyNames {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let FamilyNames { names, family } = self.clone();
        Box::pin(async move {
            let found = names.of_family(name.as_str(), family).await;
            let found = found.map_err(|why| std::io::Error::other(why.as_ref()))?;
            // The connector puts its port in the place of 0.
            let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::from((ip, 0))).collect();
            Ok(found.into_iter())
        })
    }
}

/// What people read when a host lacks a family.
pub(super) fn no_address(family: Family) -> &'static str {
    match family {
        Family::V4 => "it has no IPv4 address",
        Family::V6 => "it has no IPv6 address",
    }
}

/// Why nothing came back.
fn unreached(error: &hyper_util::client::legacy::Error, family: Family) -> Failed {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // The innermost says what happened; those around it say that something did.
        why = inner.to_string();
        let io = inner.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| no_way(io.kind(), family)) {
            return Failed::absent(why);
        }
        cause = inner.source();
    }
    Failed::silent(why)
}

/// Is an error of the network the plain absence of a family? A box without IPv6 is usual; one
/// without IPv4 has lost its network, and soon has it again.
pub(super) fn no_way(kind: ErrorKind, family: Family) -> bool {
    family == Family::V6
        && matches!(kind, ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable)
}

/// Where a redirect leads, if it leads to a tracker.
fn redirect(headers: &HeaderMap, from: &TrackerUrl) -> Option<TrackerUrl> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let url = if location.starts_with("//") {
        TrackerUrl::parse(&format!("{}:{location}", from.scheme))
    } else if location.starts_with('/') {
        TrackerUrl::parse(&format!("{}{location}", from.origin()))
    } else {
        TrackerUrl::parse(location)
    };
    url.ok().filter(|url| url.scheme != Scheme::Udp)
}

async fn answer(response: Response<Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let why = format!("its answer is longer than {ANSWER_BYTES_MAX} bytes");
            return Err(Failed::refused(why));
        }
        Err(error) => return Err(Failed::silent(format!("its answer breaks off: {error}"))),
    };
    match codec::parse_announce_answer(&body) {
        Ok(announced) if head.status == StatusCode::OK => Ok(Taken {
            interval_s: announced.interval_s,
            min_interval_s: announced.min_interval_s,
            peers: announced.peers,
            tracker_id: announced.tracker_id,
            warning: announced.warning,
        }),
        Err(AnswerError::Refused { reason, retry }) => {
            let outcome = Outcome::Refused(match retry {
                codec::Retry::Unsaid => Retry::Usual,
                codec::Retry::InMinutes(minutes) => {
                    Retry::After(Duration::from_secs(u64::from(minutes) * 60))
                }
                codec::Retry::Never => Retry::Never,
            });
            Err(Failed { outcome, ..Failed::refused(reason) })
        }
        _ if overloaded(head.status) => Err(Failed::silent(format!("it answers {}", head.status))),
        Err(error) if head.status == StatusCode::OK => Err(Failed::refused(error.to_string())),
        _ => Err(Failed::refused(format!("it answers {}", head.status))),
    }
}

/// Statuses that speak of the server and not of the torrent.
fn overloaded(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}
