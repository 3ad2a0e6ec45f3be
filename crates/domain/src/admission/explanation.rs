//! A text for each reason, for the people at the gate, in Chinese and English.

use super::verdict::Reason;

/// One sentence in each language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// 中文.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// The text for a reason: its meaning and what the person can do.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one table: a line or two for each reason")]
pub const fn explain(reason: Reason) -> Explanation {
    let (zh, en) = match reason {
        Reason::Ok => ("核验通过。", "The check passed."),
        Reason::Unreadable => (
            "无法识别：未扫清，或不是本系统的码。请重新扫描。",
            "This is not one of our codes, or it could not be read. Scan again.",
        ),
        Reason::BadSignature => (
            "此码签名无效，不是本系统签发的。",
            "The signature does not hold: this code was not made by us.",
        ),
        Reason::ClockUntrusted => (
            "设备时间异常，暂时无法核验，请联系工作人员。",
            "This device's clock cannot be trusted, so it cannot check. Call the staff.",
        ),
        Reason::NotYetValid => ("此码尚未生效。", "This code is not valid yet."),
        Reason::Expired => ("此码已过有效期，请重新申领。", "This code has expired. Get a new one."),
        Reason::KindNotAcceptedHere => (
            "此处不能使用这种码，请出示其他码或证件，或走人工通道。",
            "This kind of code is not accepted here. Show another one, or go to the staff.",
        ),
        Reason::Superseded => (
            "此码已被新码取代，请出示最新的码。",
            "A newer code has replaced this one. Show the newest.",
        ),
        Reason::ReportedLost => (
            "此码已挂失，不能使用，请重新申领。",
            "This code was reported lost. Get a new one.",
        ),
        Reason::Revoked => (
            "此码已被注销，不能使用，请到服务窗口咨询。",
            "This code was revoked. Ask at the counter.",
        ),
        Reason::TooStale => (
            "暂时无法核验：设备数据未及时更新，请走人工通道。",
            "Cannot check: what this device knows is too old. Go to the staff.",
        ),
        Reason::UnknownCode => (
            "系统中没有此码的签发记录，不能使用。",
            "We have no record of having issued this code.",
        ),
        Reason::Suspended => (
            "此码已暂停使用，请到服务窗口咨询。",
            "This code is on hold. Ask at the counter.",
        ),
        Reason::StandingRed => (
            "持码人健康状态为红色，此处不能通行。",
            "The holder's standing is red: no passage here.",
        ),
        Reason::StandingYellow => (
            "持码人健康状态为黄色，此处不能通行。",
            "The holder's standing is yellow: no passage here.",
        ),
        Reason::MissingProof => (
            "请在手机上打开此码当场出示，截图和打印件无效。",
            "Show the code live on the phone: a screenshot or a copy does not count.",
        ),
        Reason::StaleProof => (
            "此码未及时刷新，请刷新后重新出示。",
            "The code was not refreshed in time. Refresh it and show it again.",
        ),
        Reason::IdCheckRequired => (
            "须与身份证一并出示，请核对身份证是否为本人。",
            "Check the ID card and the person together with this code.",
        ),
        Reason::IdMismatch => (
            "身份证与持码人不符，请出示持码人本人的身份证。",
            "The ID card is not that of the code's holder.",
        ),
        Reason::DoubleUse => (
            "此码刚刚在别处使用过，请走人工通道。",
            "This code was used elsewhere a moment ago. Go to the staff.",
        ),
    };
    Explanation { zh, en }
}
