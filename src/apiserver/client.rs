//! The client of the API server: its name in audit logs and its metrics.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Name and version in the user agent, by which an audit log distinguishes the operator's requests from others.
pub const NAME: &str = concat!("peon-operator/", env!("CARGO_PKG_VERSION"));

/// A client for the cluster that the process runs in, else for that of the current kubeconfig.
///
/// # Errors
/// When there is neither, or it cannot be used.
pub async fn connect(metrics: &Metrics) -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(NAME)));
    // The controller retries: it knows what a repeated write means and reports what it waits for.
    config.default_retry = false;
    // A connection whose other end died is silent for ever. Watches end by themselves after 290 s.
    config.read_timeout = Some(Duration::from_secs(300));
    let layer = Count {
        metrics: metrics.clone(),
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

#[derive(Clone)]
struct Count {
    metrics: Metrics,
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().as_str().to_owned();
        let resource = resource(request.uri().path()).to_owned();
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |r| r.status().as_u16());
            metrics.api_request(&method, &resource, code);
            answer
        })
    }
}

/// The plural of the resource in a path, without names, so that the label has few values.
fn resource(path: &str) -> &str {
    let mut parts = path.trim_matches('/').split('/');
    let after = match parts.next() {
        Some("api") => parts.nth(1),
        Some("apis") => parts.nth(2),
        _ => None,
    };
    match after {
        Some("namespaces") => {
            let _name = parts.next();
            parts.next().unwrap_or("namespaces")
        }
        Some(resource) => resource,
        None => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn paths_become_resources() {
        assert_eq!(resource("/api/v1/namespaces/a/pods/b/log"), "pods");
        assert_eq!(resource("/apis/peon.dev/v1alpha1/peontasks"), "peontasks");
        assert_eq!(
            resource("/apis/peon.dev/v1alpha1/namespaces/x/peontasks/y/status"),
            "peontasks"
        );
        assert_eq!(resource("/api/v1/namespaces/a"), "namespaces");
        assert_eq!(resource("/version"), "other");
    }
}
