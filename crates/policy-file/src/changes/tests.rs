use super::*;
use crate::{CAMPUS, SHANGHAI, parse};

fn compared(edits: &[(&str, &str)]) -> Vec<PolicyChange> {
    let mut text = SHANGHAI.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    changes(
        &parse(SHANGHAI).expect("a policy"),
        &parse(&text).expect("another policy"),
    )
}

#[test]
fn equal_policies_have_no_differences_however_they_are_written() {
    assert_eq!(compared(&[("# 政策名称", "# 另一条注释")]), []);
    assert_eq!(compared(&[("max_age = \"60s\"", "max_age = \"1min\"")]), []);
    let groups = "[\"low_vision\", \"veteran\", \"care_home_resident\"]";
    let reordered = "[\"veteran\", \"care_home_resident\", \"low_vision\"]";
    assert_eq!(compared(&[(groups, reordered)]), []);
}

#[test]
fn each_difference_is_one_sentence_in_each_language() {
    let found = compared(&[
        ("validity = \"180d\"", "validity = \"90d\""),
        ("offline = \"after_id_check\", id_card", "id_card"),
        (
            "[\"under:18\", \"from:60\", \"disability\", \"group\"]",
            "[\"from:65\", \"disability\"]",
        ),
        ("[proof]", "[retention]\nquery_days = 90\n[proof]"),
        ("max_knowledge_age = \"60s\"", "max_knowledge_age = \"500ms\""),
        ("registers = true\n", ""),
        (
            "# needs_assertion = true\n[channels.app.acts]",
            "needs_assertion = true\n[channels.app.acts]",
        ),
        (
            "sampling = [\"issue\", \"reissue\", \"loss\", \"reprint\"]",
            "sampling = [\"issue\", \"reissue\", \"loss\"]",
        ),
    ]);
    let lines: Vec<_> = found
        .iter()
        .map(|change| format!("{} | {} | {}", change.path, change.zh, change.en))
        .collect();
    assert_eq!(
        lines,
        [
            "retention.query_days | 查询用途的保存期限由“由系统配置决定”改为“90天”。 | The retention of the purposes of queries changes from \"as configured\" to \"90 days\".",
            "kinds.offline.validity | “离线随申码”的有效期由“180天”改为“90天”。 | The validity of the kind \"offline code\" changes from \"180 days\" to \"90 days\".",
            "kinds.offline.eligibility | “离线随申码”的申领条件由“未满18周岁、60周岁及以上、持残疾人证、其他特殊人群”改为“65周岁及以上、持残疾人证”。 | The eligibility of the kind \"offline code\" changes from \"under 18, 60 or older, a disability certificate, a special group\" to \"65 or older, a disability certificate\".",
            "places.staffed.accepts.offline | “人工核验点”对“离线随申码”由核对身份证后放行改为拒绝。 | The place \"staffed checkpoint\" refuses the kind \"offline code\" (admitted after an ID check before).",
            "places.sampling_desk.max_knowledge_age | “核酸采样登记处”的状态信息最长时效由“1分钟”改为“500毫秒”。 | The longest age of the knowledge of the place \"sampling desk\" changes from \"1 minute\" to \"500 ms\".",
            "places.sampling_desk.registers | “核酸采样登记处”不再登记扫码。 | The place \"sampling desk\" does not register scans any more.",
            "channels.app.acts.sampling | “随申办”不再可重新打印“核酸码”。 | The channel \"city app\" no longer reprints the kind \"sampling code\".",
            "channels.app.needs_assertion | “随申办”办理业务须经身份认证。 | The channel \"city app\" demands that an identity provider authenticates the person.",
        ]
    );
}

#[test]
fn every_part_of_another_citys_policy_is_compared_in_both_directions() {
    let (shanghai, campus) = (parse(SHANGHAI).expect("a policy"), parse(CAMPUS).expect("a policy"));
    for (from, to) in [(&shanghai, &campus), (&campus, &shanghai)] {
        let found = changes(from, to);
        for part in ["name", "label", "kinds.", "places.", "channels."] {
            assert!(found.iter().any(|change| change.path.starts_with(part)), "{part}");
        }
        for change in &found {
            assert!(change.zh.ends_with('。') && change.en.ends_with('.'), "{change:?}");
        }
    }
}
