//! Tests of the crate's public interface, in one program.

mod codes;
mod cose_agreement;
mod fixture;
mod id_commitment;
mod keyring;
mod proof;
mod statement;
mod status_list;
mod strictness;
