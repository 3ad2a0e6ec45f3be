//! The differences between two policies as sentences in Chinese and English, for people who decide whether to adopt the
//! second one.

use std::collections::BTreeSet;

use citycode_domain::ids::CodeKind;
use citycode_domain::policy::{
    Acceptance, ChannelAct, ChannelPolicy, EligibilityRule, GuardianPolicy, KindPolicy, Label, PlacePolicy, Policy,
};

/// One difference: what the second policy has in another way than the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyChange {
    /// Where it is in the file, e.g. `places.sentinel.accepts.offline`.
    pub path: String,
    /// The difference in Chinese.
    pub zh: String,
    /// The difference in English.
    pub en: String,
}

/// A text in both languages.
struct Both {
    zh: String,
    en: String,
}

impl Both {
    fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            zh: zh.into(),
            en: en.into(),
        }
    }

    fn of(label: &Label) -> Self {
        Self::new(&*label.zh, &*label.en)
    }
}

/// The differences of `to` from `from`, in the order of a policy file. Kinds are compared by their number, which never
/// changes; places and channels by their name. Equal policies have none, however their files are written.
#[must_use]
pub fn changes(from: &Policy, to: &Policy) -> Vec<PolicyChange> {
    let mut found = Found {
        from,
        to,
        changes: Vec::new(),
    };
    found.of_the_whole();
    found.of_kinds();
    found.of_places();
    found.of_channels();
    found.changes
}

struct Found<'p> {
    from: &'p Policy,
    to: &'p Policy,
    changes: Vec<PolicyChange>,
}

/// A kind, a place or a channel, as sentences name it.
struct Named {
    /// Its path in the policy file, for example `places.staffed`.
    path: String,
    label: Both,
    /// The English word for what it is.
    noun: &'static str,
}

impl Named {
    fn new(path: String, label: &Label, noun: &'static str) -> Self {
        let label = Both::of(label);
        Self { path, label, noun }
    }

    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A sentence of which it is the subject, without its full stop.
    fn does(&self, zh: &str, en: &str) -> Both {
        let (label, noun) = (&self.label, self.noun);
        Both::new(
            format!("“{}”{zh}", label.zh),
            format!("The {noun} \"{}\" {en}", label.en),
        )
    }

    /// One of its properties.
    fn property(&self, zh: &str, en: &str) -> Both {
        let (label, noun) = (&self.label, self.noun);
        Both::new(
            format!("“{}”的{zh}", label.zh),
            format!("The {en} of the {noun} \"{}\"", label.en),
        )
    }
}

impl<'p> Found<'p> {
    fn add(&mut self, path: impl Into<String>, zh: String, en: String) {
        let path = path.into();
        self.changes.push(PolicyChange { path, zh, en });
    }

    /// Adds a change of a value, unless both are equal: `subject` is what has the value.
    fn value(&mut self, path: &str, subject: &Both, before: &Both, after: &Both) {
        if before.en != after.en || before.zh != after.zh {
            let zh = format!("{}由“{}”改为“{}”。", subject.zh, before.zh, after.zh);
            let en = format!("{} changes from \"{}\" to \"{}\".", subject.en, before.en, after.en);
            self.add(path, zh, en);
        }
    }

    fn text(&mut self, path: &str, subject: &Both, before: &str, after: &str) {
        self.value(path, subject, &Both::new(before, before), &Both::new(after, after));
    }

    /// Adds a change of a setting that is on or off: `on` and `off` are sentences without their full stop.
    fn switch(&mut self, path: &str, (before, after): (bool, bool), on: Both, off: Both) {
        if before != after {
            let now = if after { on } else { off };
            self.add(path, format!("{}。", now.zh), format!("{}.", now.en));
        }
    }

    fn of_the_whole(&mut self) {
        let (from, to) = (self.from, self.to);
        self.text(
            "name",
            &Both::new("规则名称", "The policy's name"),
            &from.name,
            &to.name,
        );
        self.value(
            "label",
            &Both::new("规则的显示名称", "The policy's label"),
            &Both::of(&from.label),
            &Both::of(&to.label),
        );
        let telephone = Both::new("网页上的帮助电话", "The help telephone of the pages");
        let numbers = [from, to].map(|policy| policy.help_telephone.as_deref().unwrap_or("—"));
        self.text("help_telephone", &telephone, numbers[0], numbers[1]);
        let zone = Both::new("计算周岁所用的时区", "The time zone in which ages are counted");
        self.text("time_zone", &zone, &from.time_zone, &to.time_zone);
        let uri = Both::new("状态列表地址的开头", "The prefix of the addresses of status lists");
        self.text("status_base_uri", &uri, &from.status_base_uri, &to.status_base_uri);
        let [before, after]: [BTreeSet<&String>; 2] = [from, to].map(|policy| policy.groups.iter().collect());
        for group in after.difference(&before) {
            let (zh, en) = (
                format!("新增特殊人群“{group}”。"),
                format!("The special group \"{group}\" is new."),
            );
            self.add("groups", zh, en);
        }
        for group in before.difference(&after) {
            let (zh, en) = (
                format!("取消特殊人群“{group}”。"),
                format!("The special group \"{group}\" is removed."),
            );
            self.add("groups", zh, en);
        }
        let age = Both::new("亮码签名的最长时效", "The longest age of a phone's proof");
        let ages = [from, to].map(|policy| seconds(policy.proof.max_age_seconds));
        self.value("proof.max_age", &age, &ages[0], &ages[1]);
        let ahead = Both::new(
            "亮码签名最多可提前",
            "The most that a phone's proof may be ahead of the clock",
        );
        let aheads = [from, to].map(|policy| seconds(policy.proof.max_ahead_seconds));
        self.value("proof.max_ahead", &ahead, &aheads[0], &aheads[1]);
        let scans = Both::new("扫码记录的保存期限", "The retention of scan records");
        let kept = [from, to].map(|policy| days(policy.retention.scan_days));
        self.value("retention.scan_days", &scans, &kept[0], &kept[1]);
        let queries = Both::new("查询用途的保存期限", "The retention of the purposes of queries");
        let kept = [from, to].map(|policy| days(policy.retention.query_days));
        self.value("retention.query_days", &queries, &kept[0], &kept[1]);
    }

    fn of_kinds(&mut self) {
        let (from, to) = (self.from, self.to);
        let numbers: BTreeSet<u8> = from
            .kinds
            .iter()
            .chain(&to.kinds)
            .map(|kind| kind.kind.number())
            .collect();
        for number in numbers {
            let find = |policy: &'p Policy| policy.kinds.iter().find(|kind| kind.kind.number() == number);
            match (find(from), find(to)) {
                (Some(before), Some(after)) => self.of_kind(before, after),
                (None, Some(kind)) => {
                    let (zh, en) = (
                        format!("新增码种“{}”。", kind.label.zh),
                        format!("The kind \"{}\" is new.", kind.label.en),
                    );
                    self.add(format!("kinds.{}", kind.name), zh, en);
                }
                (Some(kind), None) => {
                    let zh = format!("取消码种“{}”：不再签发，也不再认可。", kind.label.zh);
                    let en = format!(
                        "The kind \"{}\" is removed: it is neither issued nor accepted.",
                        kind.label.en
                    );
                    self.add(format!("kinds.{}", kind.name), zh, en);
                }
                (None, None) => {}
            }
        }
    }

    /// What a reissue is called.
    fn reissue(&mut self, this: &Named, labels: [&Option<Label>; 2]) {
        let [before, after] = labels.map(|label| label.as_ref().map_or(Both::new("补领", "Replace"), Both::of));
        let subject = this.property("换码名称", "name of a reissue");
        self.value(&this.field("reissue_label"), &subject, &before, &after);
    }

    fn of_kind(&mut self, before: &KindPolicy, after: &KindPolicy) {
        let this = Named::new(format!("kinds.{}", after.name), &after.label, "kind");
        self.text(
            &this.field("name"),
            &this.property("代号", "name"),
            &before.name,
            &after.name,
        );
        let labels = [before, after].map(|kind| Both::of(&kind.label));
        self.value(
            &this.field("label"),
            &this.property("显示名称", "label"),
            &labels[0],
            &labels[1],
        );
        self.reissue(&this, [&before.reissue_label, &after.reissue_label]);
        let validities = [before, after].map(|kind| seconds(kind.validity_seconds));
        self.value(
            &this.field("validity"),
            &this.property("有效期", "validity"),
            &validities[0],
            &validities[1],
        );
        self.switch(
            &this.field("device_bound"),
            (before.device_bound, after.device_bound),
            this.does("须由手机出示并附签名", "must be shown by a phone with its proof"),
            this.does("不再须由手机签名出示", "needs no phone's proof any more"),
        );
        self.switch(
            &this.field("on_paper"),
            (before.on_paper, after.on_paper),
            this.does("可打印在纸上", "is printed on paper"),
            this.does("不再打印在纸上", "is not printed on paper any more"),
        );
        let guardians = [guardian(before.guardian, self.from), guardian(after.guardian, self.to)];
        self.value(
            &this.field("guardian"),
            &this.property("代办规定", "rule for family members"),
            &guardians[0],
            &guardians[1],
        );
        let grounds = [before, after].map(|kind| eligibility(&kind.eligibility));
        self.value(
            &this.field("eligibility"),
            &this.property("申领条件", "eligibility"),
            &grounds[0],
            &grounds[1],
        );
    }

    fn of_places(&mut self) {
        let (from, to) = (self.from, self.to);
        for place in from.places.iter().filter(|place| to.place(&place.name).is_none()) {
            let zh = format!("取消核验场所“{}”。", place.label.zh);
            let en = format!("The place \"{}\" is removed.", place.label.en);
            self.add(format!("places.{}", place.name), zh, en);
        }
        for after in &to.places {
            match from.place(&after.name) {
                Some(before) => self.of_place(before, after),
                None => {
                    let zh = format!("新增核验场所“{}”。", after.label.zh);
                    let en = format!("The place \"{}\" is new.", after.label.en);
                    self.add(format!("places.{}", after.name), zh, en);
                }
            }
        }
    }

    fn of_place(&mut self, before: &PlacePolicy, after: &PlacePolicy) {
        let this = Named::new(format!("places.{}", after.name), &after.label, "place");
        let labels = [before, after].map(|place| Both::of(&place.label));
        self.value(
            &this.field("label"),
            &this.property("显示名称", "label"),
            &labels[0],
            &labels[1],
        );
        self.of_accepted_kinds(before, after);
        self.switch(
            &this.field("accepts.id_card"),
            (before.accepts_id_card, after.accepts_id_card),
            this.does("凭身份证放行", "admits by the ID card alone"),
            this.does("不再凭身份证放行", "does not admit by the ID card alone any more"),
        );
        self.switch(
            &this.field("standing_counts"),
            (before.standing_counts, after.standing_counts),
            this.does("拒绝黄码和红码", "refuses yellow and red standing"),
            this.does(
                "不再因黄码和红码拒绝",
                "does not refuse yellow and red standing any more",
            ),
        );
        let ages = [before, after].map(|place| milliseconds(place.max_knowledge_age_ms));
        let age = this.property("状态信息最长时效", "longest age of the knowledge");
        self.value(&this.field("max_knowledge_age"), &age, &ages[0], &ages[1]);
        self.switch(
            &this.field("registers"),
            (before.registers, after.registers),
            this.does("登记每次扫码", "registers every scan"),
            this.does("不再登记扫码", "does not register scans any more"),
        );
    }

    fn of_accepted_kinds(&mut self, before: &PlacePolicy, after: &PlacePolicy) {
        let label = Both::of(&after.label);
        let numbers: BTreeSet<u8> = before
            .accepts
            .iter()
            .chain(&after.accepts)
            .map(|(kind, _)| kind.number())
            .collect();
        for number in numbers {
            let of = |place: &PlacePolicy| place.accepts.iter().find(|(kind, _)| kind.number() == number).copied();
            let (old, new) = (of(before), of(after));
            let Some((kind, _)) = new.or(old) else { continue };
            let (old, new) = (old.map(|(_, how)| how), new.map(|(_, how)| how));
            if old != new {
                let name = kind_label(kind, self.to, self.from);
                let zh = format!(
                    "“{}”对“{}”由{}改为{}。",
                    label.zh,
                    name.zh,
                    accepted(old).zh,
                    accepted(new).zh
                );
                let en = format!(
                    "The place \"{}\" {} the kind \"{}\" ({} before).",
                    label.en,
                    accepted(new).en,
                    name.en,
                    accepted_before(old)
                );
                let kind = kind_name(kind, self.to, self.from);
                self.add(format!("places.{}.accepts.{kind}", after.name), zh, en);
            }
        }
    }

    fn of_channels(&mut self) {
        let (from, to) = (self.from, self.to);
        for channel in from
            .channels
            .iter()
            .filter(|channel| to.channel(&channel.name).is_none())
        {
            let zh = format!("取消渠道“{}”。", channel.label.zh);
            let en = format!("The channel \"{}\" is removed.", channel.label.en);
            self.add(format!("channels.{}", channel.name), zh, en);
        }
        for after in &to.channels {
            match from.channel(&after.name) {
                Some(before) => self.of_channel(before, after),
                None => {
                    let zh = format!("新增渠道“{}”。", after.label.zh);
                    let en = format!("The channel \"{}\" is new.", after.label.en);
                    self.add(format!("channels.{}", after.name), zh, en);
                }
            }
        }
    }

    fn of_channel(&mut self, before: &ChannelPolicy, after: &ChannelPolicy) {
        let this = Named::new(format!("channels.{}", after.name), &after.label, "channel");
        let labels = [before, after].map(|channel| Both::of(&channel.label));
        self.value(
            &this.field("label"),
            &this.property("显示名称", "label"),
            &labels[0],
            &labels[1],
        );
        self.reissue(&this, [&before.reissue_label, &after.reissue_label]);
        self.of_acts(before, after);
        self.switch(
            &this.field("attests"),
            (before.attests, after.attests),
            this.does(
                "可核实残疾人证和特殊人群",
                "attests disability certificates and special groups",
            ),
            this.does(
                "不再核实残疾人证和特殊人群",
                "does not attest disability certificates and special groups any more",
            ),
        );
        self.switch(
            &this.field("needs_assertion"),
            (before.needs_assertion, after.needs_assertion),
            this.does(
                "办理业务须经身份认证",
                "demands that an identity provider authenticates the person",
            ),
            this.does(
                "办理业务不再须经身份认证",
                "does not demand any more that an identity provider authenticates the person",
            ),
        );
    }

    fn of_acts(&mut self, before: &ChannelPolicy, after: &ChannelPolicy) {
        let this = Named::new(format!("channels.{}", after.name), &after.label, "channel");
        let numbers: BTreeSet<u8> = before
            .acts
            .iter()
            .chain(&after.acts)
            .map(|(kind, _)| kind.number())
            .collect();
        for number in numbers {
            for act in [
                ChannelAct::Issue,
                ChannelAct::Reissue,
                ChannelAct::ReportLoss,
                ChannelAct::Reprint,
            ] {
                let of = |channel: &ChannelPolicy| {
                    let mut acts = channel.acts.iter();
                    acts.find(|(kind, own)| kind.number() == number && *own == act)
                        .map(|(kind, _)| *kind)
                };
                let (old, new) = (of(before), of(after));
                let Some(kind) = new.or(old) else { continue };
                let (name, act) = (kind_label(kind, self.to, self.from), act_words(act));
                self.switch(
                    &this.field(&format!("acts.{}", kind_name(kind, self.to, self.from))),
                    (old.is_some(), new.is_some()),
                    this.does(
                        &format!("可{}“{}”", act.zh, name.zh),
                        &format!("{} the kind \"{}\"", act.en, name.en),
                    ),
                    this.does(
                        &format!("不再可{}“{}”", act.zh, name.zh),
                        &format!("no longer {} the kind \"{}\"", act.en, name.en),
                    ),
                );
            }
        }
    }
}

fn kind_label(kind: CodeKind, to: &Policy, from: &Policy) -> Both {
    let known = to.kind(kind).or_else(|| from.kind(kind));
    let number = || Both::new(kind.number().to_string(), kind.number().to_string());
    known.map_or_else(number, |kind| Both::of(&kind.label))
}

fn kind_name(kind: CodeKind, to: &Policy, from: &Policy) -> String {
    let known = to.kind(kind).or_else(|| from.kind(kind));
    known.map_or_else(|| kind.number().to_string(), |kind| kind.name.clone())
}

fn accepted(how: Option<Acceptance>) -> Both {
    match how {
        None => Both::new("拒绝", "refuses"),
        Some(Acceptance::Admit) => Both::new("放行", "admits"),
        Some(Acceptance::AfterIdCheck) => Both::new("核对身份证后放行", "admits after an ID check"),
    }
}

fn accepted_before(how: Option<Acceptance>) -> &'static str {
    match how {
        None => "refused",
        Some(Acceptance::Admit) => "admitted",
        Some(Acceptance::AfterIdCheck) => "admitted after an ID check",
    }
}

fn act_words(act: ChannelAct) -> Both {
    match act {
        ChannelAct::Issue => Both::new("申领", "issues"),
        ChannelAct::Reissue => Both::new("补领", "reissues"),
        ChannelAct::ReportLoss => Both::new("挂失", "reports the loss of"),
        ChannelAct::Reprint => Both::new("重新打印", "reprints"),
    }
}

fn guardian(how: GuardianPolicy, policy: &Policy) -> Both {
    match how {
        GuardianPolicy::HolderOnly => Both::new("仅限本人", "only the holder acts"),
        GuardianPolicy::PerGuardian => Both::new("每位代办亲属一张", "one code for each family member"),
        GuardianPolicy::WithRelationship => Both::new(
            "本人或已登记关系的亲属",
            "the holder, or a family member whose relationship is recorded",
        ),
        GuardianPolicy::WithValidCode(kind) => {
            let label = kind_label(kind, policy, policy);
            Both::new(
                format!("本人或持有有效“{}”的亲属", label.zh),
                format!("the holder, or a family member with a valid {}", label.en),
            )
        }
    }
}

fn eligibility(rules: &[EligibilityRule]) -> Both {
    if rules.is_empty() {
        return Both::new("所有已登记的人", "every registered person");
    }
    let words = rules.iter().map(|rule| match rule {
        EligibilityRule::Under(age) => Both::new(format!("未满{age}周岁"), format!("under {age}")),
        EligibilityRule::From(age) => Both::new(format!("{age}周岁及以上"), format!("{age} or older")),
        EligibilityRule::Disability => Both::new("持残疾人证", "a disability certificate"),
        EligibilityRule::Group => Both::new("其他特殊人群", "a special group"),
    });
    let (zh, en): (Vec<_>, Vec<_>) = words.map(|words| (words.zh, words.en)).unzip();
    Both::new(zh.join("、"), en.join(", "))
}

fn days(days: Option<u16>) -> Both {
    match days {
        None => Both::new("由系统配置决定", "as configured"),
        Some(days) => seconds(i64::from(days) * 86_400),
    }
}

fn milliseconds(milliseconds: u64) -> Both {
    match i64::try_from(milliseconds) {
        Ok(whole) if whole % 1_000 == 0 => seconds(whole / 1_000),
        _ => Both::new(format!("{milliseconds}毫秒"), format!("{milliseconds} ms")),
    }
}

/// A duration in its largest unit that has no remainder.
fn seconds(seconds: i64) -> Both {
    let units = [
        (86_400, "天", "day"),
        (3_600, "小时", "hour"),
        (60, "分钟", "minute"),
        (1, "秒", "second"),
    ];
    let divides = |unit: &&(i64, &str, &str)| seconds != 0 && seconds % unit.0 == 0;
    let (size, zh, en) = *units.iter().find(divides).unwrap_or(&units[3]);
    let number = seconds / size;
    let plural = if number == 1 { "" } else { "s" };
    Both::new(format!("{number}{zh}"), format!("{number} {en}{plural}"))
}

#[cfg(test)]
mod tests;
