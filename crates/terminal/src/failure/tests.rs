use super::*;

#[test]
fn every_code_of_the_contract_has_its_exit_code() {
    let table = [
        (
            3,
            "not_eligible channel_not_allowed relationship_unknown family_code_required on_hold invalid_id_number",
        ),
        (3, "invalid_name unknown_kind unknown_place idempotency_key_reused"),
        (4, "not_registered no_valid_code"),
        (5, "unavailable"),
        (6, "not_allowed rate_limited"),
        (2, "invalid_request"),
        (1, "internal unreadable_image"),
    ];
    for (exit, codes) in table {
        for code in codes.split(' ') {
            let failure = Failure::from_problem(json!({"code": code, "title": "T", "detail": "D", "status": 400}));
            assert_eq!(failure.exit(), exit, "{code}");
        }
    }
}

#[test]
fn an_unknown_code_exits_by_its_http_status() {
    for (status, exit) in [(403, 6), (429, 6), (404, 4), (503, 5), (409, 1), (500, 1)] {
        let failure = Failure::from_problem(json!({"code": "of_tomorrow", "status": status}));
        assert_eq!(failure.exit(), exit, "{status}");
        assert!(failure.line().ends_with("[of_tomorrow]"));
    }
}

#[test]
fn the_line_has_title_reason_fix_and_code() {
    let failure = Failure::from_problem(json!({
        "title": "Not registered", "detail": "Nobody is registered\nunder \u{1b}[31mthis number.",
        "fix": "Register the person first.", "code": "not_registered", "status": 404,
    }));
    assert_eq!(
        failure.line(),
        "citycode: not registered: nobody is registered under  [31mthis number, register the person first [not_registered]"
    );
}

#[test]
fn an_acronym_at_the_start_of_a_sentence_keeps_its_capitals() {
    assert_eq!(uncapitalised("JSON is broken."), "JSON is broken");
    assert_eq!(uncapitalised("A code"), "a code");
    assert_eq!(uncapitalised("姓名"), "姓名");
    assert_eq!(uncapitalised(""), "");
}

#[test]
fn the_problem_object_of_a_server_is_passed_on_unchanged() {
    let problem = json!({"code": "on_hold", "title": "T", "detail": "D", "status": 409, "more": [1]});
    assert_eq!(Failure::from_problem(problem.clone()).problem(), problem);
    let own = Failure::usage("no such thing", "see --help").problem();
    assert_eq!(
        (own["code"].as_str(), own["fix"].as_str()),
        (Some("invalid_request"), Some("see --help"))
    );
}

#[test]
fn a_multi_line_clap_error_becomes_one_line() {
    let failure = usage_failure(
        "error: the following required arguments were not provided:\n  --kind <KIND>\n  --channel <C>\n\nUsage: citycode issue --kind <KIND>\n\nFor more information, try '--help'.\n",
    );
    assert_eq!(failure.exit(), 2);
    assert_eq!(
        failure.line(),
        "citycode: wrong usage: the following required arguments were not provided: --kind <KIND> --channel <C>, see the command with --help for its flags and examples [invalid_request]"
    );
}

#[test]
fn the_requested_format_is_found_in_an_invalid_command_line() {
    let of = |line: &str| requested_format(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
    assert_eq!(of("citycode issue --output json"), Format::Json);
    assert_eq!(of("citycode --output=ndjson"), Format::Ndjson);
    assert_eq!(of("citycode --output"), Format::Table);
    assert_eq!(of("citycode x"), Format::Table);
}

#[test]
fn the_advice_depends_on_the_outcome_of_the_change() {
    let id = Uuid::from_bytes([7; 16]);
    let failure = |outcome: &str, code: &str| {
        let problem =
            json!({"code": code, "title": "T", "detail": "D", "status": 503, "fix": "Wait.", "outcome": outcome});
        Failure::from_problem(problem).of_command(Some(id))
    };
    let unknown = failure("unknown", "unavailable");
    let line = "citycode: T: D, it may have been done: run the same command again with \
                --command-id 07070707-0707-0707-0707-070707070707, which has no second effect [unavailable]";
    assert_eq!(unknown.line(), line);
    assert!(unknown.problem()["fix"].as_str().unwrap().contains("--command-id"));
    assert_eq!(unknown.problem()["outcome"], "unknown");
    let not_done = failure("not_done", "unavailable");
    assert_eq!(
        not_done.line(),
        "citycode: T: D, nothing was changed, wait [unavailable]"
    );
    let refused = failure("not_done", "on_hold");
    assert_eq!(refused.line(), "citycode: T: D, wait [on_hold]");
}

#[test]
fn an_inconclusive_refusal_after_a_lost_answer_leaves_the_outcome_unknown() {
    let refused = |code: &str, status: u16| {
        Failure::from_problem(json!({
            "code": code, "title": "T", "detail": "D", "status": status, "outcome": "not_done",
        }))
    };
    for (code, status) in [
        ("unavailable", 503),
        ("internal", 500),
        ("rate_limited", 429),
        ("not_allowed", 401),
    ] {
        let failure = refused(code, status);
        assert_eq!(failure.outcome(), Some(Outcome::NotDone));
        assert_eq!(
            failure.after_a_lost_answer().outcome(),
            Some(Outcome::Unknown),
            "{code}"
        );
    }
    // A rule decides on the state of the log, which includes the earlier attempt.
    let by_a_rule = refused("on_hold", 409).after_a_lost_answer();
    assert_eq!(by_a_rule.outcome(), Some(Outcome::NotDone));
}

#[test]
fn an_argument_without_a_flag_is_not_repeated() {
    let command = clap::Command::new("citycode").arg(clap::Arg::new("kind").long("kind"));
    let of = |argument: &str| {
        let error = command
            .clone()
            .try_get_matches_from(["citycode", argument])
            .unwrap_err();
        usage_failure(&without_value(&error)).line()
    };
    let line = of("11010519491231002X");
    assert!(
        line.contains("unexpected argument '…'") && !line.contains("1101"),
        "{line}"
    );
    assert!(of("--king").contains("'--king'"));
}
