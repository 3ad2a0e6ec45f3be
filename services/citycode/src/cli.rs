//! The commands, as clap parses them. Each command's flags are defined in the command's module.

use citycode_operator::{
    archive::ArchiveArgs, migrate::MigrateArgs, provision::ProvisionArgs, secrets::SecretsArgs, vault::VaultArgs,
    witness::WitnessArgs,
};
use citycode_runtime::up::UpArgs;
use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::client::DEFAULT_SERVER;
use crate::commands::{
    audit::{AuditArgs, ExplainArgs, WhatIfArgs},
    codes::CodesArgs,
    completions::CompletionsArgs,
    demo::DemoArgs,
    erase::EraseArgs,
    export::ExportArgs,
    history::HistoryArgs,
    import::ImportArgs,
    issue::IssueArgs,
    keys::KeysArgs,
    log::LogArgs,
    officer::{OfficerArgs, RevokeArgs},
    open::OpenArgs,
    policy::PolicyArgs,
    present::PresentArgs,
    register::RegisterArgs,
    relate::{RelateArgs, UnrelateArgs},
    rename::RenameArgs,
    report_loss::ReportLossArgs,
    reprint::ReprintArgs,
    standing::StandingArgs,
    tokens::TokensArgs,
    verify::VerifyArgs,
};
use citycode_terminal::output::Format;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or admitted
  1  failed
  2  wrong usage
  3  refused: a verdict that does not admit, or a change that a rule forbids
  4  not found: no such person is registered, or there is no valid code
  5  unavailable, or cannot check
  6  not allowed

Data goes to standard output, messages to standard error. NO_COLOR switches colours off.";

/// Issues, invalidates and checks the QR codes of a city, and operates the services that do so.
#[derive(Parser)]
#[command(name = "citycode", version, after_help = EXIT_CODES, arg_required_else_help = true, propagate_version = false)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Flags of every command.
#[derive(clap::Args)]
pub struct Connection {
    /// How data is printed.
    #[arg(
        long,
        global = true,
        value_enum,
        env = "CITYCODE_OUTPUT",
        default_value_t,
        hide_possible_values = false
    )]
    pub output: Format,
    /// The server's URL.
    #[arg(long, global = true, env = "CITYCODE_SERVER", value_name = "URL", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// The access token; default: the one in CITYCODE_TOKEN_FILE, or the local admin's on the machine that runs `up`.
    #[arg(
        long,
        global = true,
        env = "CITYCODE_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// A file that contains the access token.
    #[arg(long, global = true, env = "CITYCODE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<std::path::PathBuf>,
    /// The idempotency key of a change; a repetition with the same id has no second effect.
    #[arg(long, global = true, value_name = "UUID")]
    pub command_id: Option<uuid::Uuid>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the whole system in this process, on a store in one folder.
    Up(UpArgs),
    /// Show everything on a throw-away store: issue, write pictures, read them back, compare every verdict with the
    /// rules.
    Demo(DemoArgs),
    /// Move an event log to another engine, or archive it; every position and hash is preserved.
    Migrate(MigrateArgs),
    /// Create every key, credential and certificate that a city on NATS servers needs.
    Secrets(SecretsArgs),
    /// Create event log and vault on NATS servers for distributed services; existing ones are checked and left alone.
    Provision(ProvisionArgs),
    /// Operate the vault on NATS servers.
    Vault(VaultArgs),
    /// Follow a log in use and keep an independent, verified copy of it until stopped.
    Archive(ArchiveArgs),
    /// Restore a log from an archive to servers or a folder without one; every position and hash is preserved.
    Restore(MigrateArgs),
    /// Check the log, prove events to people without access, verify such proofs, and inspect positions of the log.
    Log(LogArgs),
    /// Cosign checkpoints of a log that only grew, as an independent witness.
    Witness(WitnessArgs),
    /// Open a page of a system on this machine in the browser, signed in.
    Open(OpenArgs),
    /// Register a resident.
    Register(RegisterArgs),
    /// Record a family relationship.
    Relate(RelateArgs),
    /// End a family relationship; the family codes that depend on it are revoked.
    Unrelate(UnrelateArgs),
    /// Issue a code; a valid earlier one is superseded in the same instant.
    Issue(IssueArgs),
    /// Print what the phone displays now: the code with a fresh proof.
    Present(PresentArgs),
    /// Get the same code again, byte for byte.
    Reprint(ReprintArgs),
    /// Report a code lost: it is dead at once.
    ReportLoss(ReportLossArgs),
    /// Officer: revoke a code permanently.
    Revoke(RevokeArgs),
    /// Officer: suspend a code until it is reinstated.
    Suspend(OfficerArgs),
    /// Officer: end the hold of a suspended code.
    Reinstate(OfficerArgs),
    /// Officer: correct a person's name; codes are unchanged, new prints show the new name.
    Rename(RenameArgs),
    /// Health authority: set a holder's standing.
    Standing(StandingArgs),
    /// List a holder's codes and their state.
    Codes(CodesArgs),
    /// Erase a person: revoke the codes, then destroy the personal data. Cannot be undone.
    Erase(EraseArgs),
    /// Check a scan at a place: one verdict.
    Verify(VerifyArgs),
    /// Register residents from a CSV file and issue a code to each.
    Import(ImportArgs),
    /// Show the history of a code from the event log.
    History(HistoryArgs),
    /// Explain a recorded verdict: recompute it from the log as it stood, and show what it rests on.
    Explain(ExplainArgs),
    /// Recompute the recorded verdicts of a period.
    Audit(AuditArgs),
    /// Show whom another policy would have decided on in another way.
    #[command(name = "what-if")]
    WhatIf(WhatIfArgs),
    /// Compare policies.
    Policy(PolicyArgs),
    /// Write the events, verdicts and daily counts of a period to files.
    Export(ExportArgs),
    /// Signing keys.
    Keys(KeysArgs),
    /// Access tokens of this machine's own authority, for trials; local admin only.
    Tokens(TokensArgs),
    /// Diagnose this setup.
    Doctor,
    /// Print a completion script, e.g. `citycode completions bash >
    /// ~/.local/share/bash-completion/completions/citycode`.
    Completions(CompletionsArgs),
    /// Print the version.
    Version,
}

/// The shell that `completions` takes.
pub(crate) type CompletionShell = Shell;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent_and_commands_have_help_and_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let name = sub.get_name().to_owned();
            assert!(sub.get_about().is_some(), "{name} has no help");
            let plain = ["doctor", "version", "completions", "keys"].contains(&name.as_str());
            assert!(plain || sub.get_after_help().is_some(), "{name} has no example");
        }
    }

    #[test]
    fn the_commands_of_the_contract_parse() {
        let lines = [
            "up --data d --listen 127.0.0.1:0 --policy p.toml",
            "demo",
            "register --id-number N --name S --disability --group G --channel C",
            "relate --guardian N --dependent M",
            "unrelate --guardian N --dependent M --channel C --assertion @F",
            "relate --guardian N --dependent M --channel C --guardian-assertion @F --dependent-assertion -",
            "issue --kind K --id-number N --channel C --guardian M --phone F --command-id 00000000-0000-0000-0000-000000000000 --out a.png",
            "present --token T --phone F --at 2022-08-31T00:00:00Z --out a.png",
            "reprint --kind K --id-number N --channel C --guardian M --out a.pdf",
            "report-loss --kind K --id-number N --channel C --guardian M --assertion @F",
            "revoke --kind K --id-number N --reason S --guardian M",
            "suspend --kind K --id-number N --reason S",
            "reinstate --kind K --id-number N --reason S",
            "rename --id-number N --name S --reason S",
            "standing --id-number N --set yellow --reason S",
            "codes --id-number N",
            "codes --id-number N --channel C --assertion -",
            "erase --id-number N --yes",
            "verify --place P --code T --id-number N --device S --scan-id S --at 2022-08-31T00:00:00Z",
            "verify --place P --image F",
            "verify --place P --id-card N",
            "verify --place P -",
            "export --from 2022-08-01T00:00:00Z --to 2022-09-01T00:00:00Z --format parquet --out D --exact --purpose S",
            "import F.csv --kind K --channel C --reissue --out D",
            "history --kind K --id-number N",
            "history --code-id I",
            "keys list",
            "keys rotate",
            "keys compromise KID",
            "tokens issue --role verifier:sentinel:gate-7 --role officer --for 8h --subject gate-7",
            "tokens list",
            "tokens revoke 0123456789abcdef",
            "log check --from 07/1523",
            "log prove --code-id I --event died --out F --purpose P",
            "witness --log http://127.0.0.1:1/log --key F --listen 127.0.0.1:0",
            "completions bash",
            "version",
            "doctor",
            "codes --id-number N --output json --server http://127.0.0.1:1 --token T",
        ];
        for line in lines {
            let parsed = Cli::try_parse_from(format!("citycode {line}").split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().unwrap());
        }
        for line in [
            "verify --place P",
            "verify --place P --code T --image F",
            "history",
            "standing --id-number N --set blue --reason S",
        ] {
            assert!(
                Cli::try_parse_from(format!("citycode {line}").split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
