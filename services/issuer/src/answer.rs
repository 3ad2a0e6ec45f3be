//! Issued codes in answers.

use citycode_domain::event::CodeIssued;
use citycode_domain::ids::CodeId;
use citycode_domain::policy::KindPolicy;
use citycode_vault::{HolderKey, PersonFile};
use citycode_wire::proto::issuer::v1::IssuedCode;

use citycode_service_kit::problem::{Code, Problem};

/// AEAD context of a sealed token, which binds it to its code, so that it cannot be moved to another.
pub(crate) fn token_context(code_id: CodeId) -> [u8; 13] {
    let mut context = *b"token01234567";
    context[5..].copy_from_slice(&code_id.0);
    context
}

/// Unseals the token of an event, for reprints and repeated commands.
pub(crate) fn unseal(issued: &CodeIssued, key: &HolderKey) -> Result<String, Problem> {
    let opened = key.open(&token_context(issued.code.code_id), &issued.sealed_token.0);
    let opened = opened.map_err(|_| Problem::new(Code::Unavailable, "the stored code cannot be opened"))?;
    String::from_utf8(opened.to_vec()).map_err(|_| Problem::internal())
}

/// The answer for a code. It contains the name, masked, only if a print was requested.
pub(crate) fn issued_code(
    issued: &CodeIssued,
    kind: &KindPolicy,
    token: String,
    status_base_uri: &str,
    print_for: Option<&PersonFile>,
) -> IssuedCode {
    let masked_name = print_for.map(|person| citycode_domain::name::mask(&person.name));
    citycode_wire::answer::issued_code(issued, &kind.name, token, status_base_uri, masked_name)
}
