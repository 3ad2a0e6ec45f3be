//! Generates the protobuf types and gRPC stubs from `proto/`, with protox, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Every file of the interface, below `proto/`.
const FILES: [&str; 11] = [
    "citycode/model/v1/model.proto",
    "citycode/events/v1/events.proto",
    "citycode/events/v2/events.proto",
    "citycode/events/v2/foreign.proto",
    "citycode/events/v2/people.proto",
    "citycode/events/v2/recovery.proto",
    "citycode/events/v3/audit.proto",
    "citycode/issuer/v1/issuer.proto",
    "citycode/revocation/v1/revocation.proto",
    "citycode/verifier/v1/verifier.proto",
    "citycode/audit/v1/audit.proto",
];

/// Messages that contain personal data or a token; `src/redacted.rs` implements their `Debug`. A test compares
/// this list with the fields whose comment says "personal".
const REDACTED: [&str; 23] = [
    ".citycode.model.v1.Authentication",
    ".citycode.issuer.v1.RegisterRequest",
    ".citycode.issuer.v1.RelateRequest",
    ".citycode.issuer.v1.UnrelateRequest",
    ".citycode.issuer.v1.IssueRequest",
    ".citycode.issuer.v1.IssuedCode",
    ".citycode.issuer.v1.ReprintRequest",
    ".citycode.issuer.v1.ListCodesRequest",
    ".citycode.issuer.v1.ListCodesResponse",
    ".citycode.issuer.v1.ListQueriesAboutRequest",
    ".citycode.issuer.v1.EraseRequest",
    ".citycode.issuer.v1.RenameRequest",
    ".citycode.issuer.v1.ImportRow",
    ".citycode.revocation.v1.ReportLossRequest",
    ".citycode.revocation.v1.RevokeRequest",
    ".citycode.revocation.v1.RevokeCodeRequest",
    ".citycode.revocation.v1.SuspendRequest",
    ".citycode.revocation.v1.ReinstateRequest",
    ".citycode.revocation.v1.SetStandingRequest",
    ".citycode.verifier.v1.VerifyRequest",
    ".citycode.verifier.v1.VerifyRequest.scan",
    ".citycode.audit.v1.HolderKind",
    ".citycode.audit.v1.ShownCode",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", root.display());

    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;
    fs::write(out.join("citycode.binpb"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        // Replay slices the payload instead of copying each id out of it.
        .bytes(".citycode.events.v1")
        .bytes(".citycode.events.v2")
        .bytes(".citycode.events.v3")
        .skip_debug(REDACTED)
        .codec_path("crate::codec::WireCodec")
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
