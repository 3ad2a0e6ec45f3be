//! Writes one token of each form into a folder, for other programs to read (`tests/outsiders.py`). Run with
//! `cargo run -p citycode-token --example samples -- DIR`. All keys are well-known seeds.

use std::path::PathBuf;

use citycode_domain::event::{Event, SigningKeyAdded};
use citycode_domain::ids::{CodeId, CodeKind, ListId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_token::status_list::{Bits, INVALID, SUSPENDED, StatusList, StatusListClaims, VALID, sign_cwt, sign_jwt};
use citycode_token::{
    CodeClaimsToSign, DeviceSigner, Keyring, SigningKey, keys_cose_set, keys_jwks_json, present, sign_code,
};

const BASE_URI: &str = "https://s.example/";
/// 2022-08-31T00:00:00Z.
const ISSUED_AT: Timestamp = Timestamp(1_661_904_000);

fn claims(number: u8, device: Option<&DeviceSigner>) -> CodeClaimsToSign {
    let kind = CodeKind::new(number).expect("a kind");
    let expires_at = ISSUED_AT.plus_seconds(180 * 86_400);
    let list = ListId::new(3, kind, expires_at, 0).expect("in range");
    CodeClaimsToSign {
        code_id: CodeId([number; 8]),
        kind,
        issued_at: ISSUED_AT,
        expires_at,
        status: StatusRef { list, index: 1 },
        id_commitment: device.is_none().then_some([1, 2, 3]),
        device_key: device.map(DeviceSigner::device_key),
    }
}

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder as only argument"));
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes);
    let key = SigningKey::from_seed([7; 32]);
    let added = SigningKeyAdded {
        key_id: key.key_id(),
        public_key: key.public_key(),
        signs_from: ISSUED_AT,
    };
    let keyring = Keyring::new()
        .apply(&Event::SigningKeyAdded(added))
        .expect("a sound key");
    write("keys.json", keys_jwks_json(&keyring).as_bytes())?;
    write("keys.cbor", &keys_cose_set(&keyring))?;

    let device = DeviceSigner::from_seed([9; 32]);
    let paper = sign_code(&claims(4, None), BASE_URI, &key).expect("signs").text;
    let live = sign_code(&claims(1, Some(&device)), BASE_URI, &key)
        .expect("signs")
        .text;
    let shown = present(&live, &device, ISSUED_AT, Some("gate-1")).expect("presents");
    write("paper.txt", paper.as_bytes())?;
    write("live.txt", live.as_bytes())?;
    write("shown.txt", shown.as_bytes())?;

    let mut list = StatusList::filled(Bits::Two, 4_096, INVALID).expect("fits");
    list.set(0, VALID)
        .and_then(|()| list.set(1, SUSPENDED))
        .expect("inside");
    let uri = format!("{BASE_URI}{}", claims(4, None).status.list);
    let list_claims = StatusListClaims {
        uri: &uri,
        issued_at: ISSUED_AT,
        expires_at: Some(ISSUED_AT.plus_seconds(86_400)),
        ttl_seconds: Some(60),
        aggregation_uri: None,
    };
    write("list.cwt", &sign_cwt(&list.compress(), &list_claims, &key))?;
    write("list.jwt", sign_jwt(&list.compress(), &list_claims, &key).as_bytes())
}
