//! An API server that knows a few objects, for tests of reads.

use std::convert::Infallible;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A client of a server that answers each path with the object that `find` returns for it, else with 404.
pub fn client(find: impl Fn(&str) -> Option<Value> + Send + Sync + 'static) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (code, body) = match find(request.uri().path()) {
            Some(object) => (200, object),
            None => (
                404,
                json!({"kind": "Status", "code": 404, "status": "Failure", "reason": "NotFound", "message": "no"}),
            ),
        };
        let answer = Response::builder()
            .status(code)
            .body(Body::from(body.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    Client::new(service, "default")
}
