//! Tests of malformed requests and responses over a real server.

use citycode_wire::codec::WireCodec;
use citycode_wire::proto::audit::v1::{HistoryRequest, HistoryResponse};
use prost::bytes::Bytes;
use tonic::codec::Codec as _;
use tonic::{Code, Streaming};

/// One gRPC message with these bytes.
fn body(bytes: &'static [u8]) -> tonic::body::Body {
    let mut framed = vec![0];
    framed.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    framed.extend(bytes);
    tonic::body::Body::new(http_body_util::Full::new(Bytes::from(framed)))
}

/// A field whose length is beyond the end of the message.
const MALFORMED: &[u8] = b"\x0a\x7fabc";

#[tokio::test]
async fn a_malformed_request_is_the_callers_error_and_a_malformed_response_is_not() {
    let decoder = WireCodec::<HistoryResponse, HistoryRequest>::default().decoder();
    let mut request = Streaming::new_request(decoder, body(MALFORMED), None, None);
    let status = request.message().await.expect_err("it is malformed");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(!status.message().contains("abc"), "{status}");

    let decoder = WireCodec::<HistoryRequest, HistoryResponse>::default().decoder();
    let mut answer = Streaming::new_response(decoder, body(MALFORMED), http::StatusCode::OK, None, None);
    let status = answer.message().await.expect_err("it is malformed");
    assert_eq!(status.code(), Code::Internal);
}
