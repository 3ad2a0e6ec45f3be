//! Writes one picture of each kind for a realistic token, for other programs to read: `cargo run -p citycode-qr
//! --example samples -- DIR`, then `tests/outsiders.py`.

use std::path::PathBuf;

use citycode_qr::{
    Caption, FontChoice, Fonts, Label, LabelledValue, Section, SheetContent, SheetDate, SymbolOptions, draw,
    print_sheet,
};

/// A token's text: `CC1:` and the Base45 of `length` bytes from a fixed seed.
fn token(length: usize) -> String {
    let mut state = 0x2022_0831_u64;
    let bytes: Vec<u8> = (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    format!("CC1:{}", base45::encode(&bytes))
}

fn sheet(token: &str) -> SheetContent {
    SheetContent {
        token: token.to_owned(),
        issuer: Label::new(
            "上海市 · 一网通办",
            "Shanghai Municipality, Government Online-Offline Shanghai",
        ),
        kind: Label::new("离线随申码", "Offline Suishen Code"),
        name_label: Label::new("姓名", "Name"),
        masked_name: "张*三".to_owned(),
        expiry: LabelledValue {
            label: Label::new("有效期至", "Valid until"),
            value: Label::new("2023年2月27日 10:30", "27 February 2023, 10:30"),
        },
        issued: LabelledValue {
            label: Label::new("签发时间", "Issued"),
            value: Label::new("2022年8月31日 10:30", "31 August 2022, 10:30"),
        },
        serial_label: Label::new("编号", "Serial"),
        serial: String::from("7K3M9QXW2T8H"),
        present_with: Label::new("须与身份证一并出示", "Valid only together with the resident ID card"),
        sections: vec![
            Section {
                heading: Label::new("遗失怎么办", "If it is lost"),
                lines: vec![
                    Label::new(
                        "持本人身份证到任一“一网通办”自助终端，选择“挂失”；家属可以代办。",
                        "At any self-service terminal choose “Report loss” with your ID card; family may do it for you.",
                    ),
                    Label::new(
                        "挂失后本纸立即失效；补领的新码有效期重新计算为 180 天。",
                        "This sheet is then void at once; a new one is valid for 180 days again.",
                    ),
                ],
            },
            Section {
                heading: Label::new("使用说明", "How to use it"),
                lines: vec![
                    Label::new(
                        "数字哨兵不接受本纸，请到人工通道。",
                        "Digital sentinels do not take this sheet; go to the staffed lane.",
                    ),
                    Label::new(
                        "请勿折叠、涂改二维码，勿交他人使用。",
                        "Do not fold or mark the symbol; do not lend it.",
                    ),
                ],
            },
        ],
        footer: Label::new(
            "重新打印不会改变有效期。",
            "Printing it again does not change its validity.",
        ),
        date: SheetDate {
            year: 2022,
            month: 8,
            day: 31,
        },
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: samples DIR")?);
    std::fs::create_dir_all(&folder)?;
    let text = token(150);
    let fonts = Fonts::load(&FontChoice::Search)?;
    let caption = Caption {
        text: "有效期至 2022-09-30 10:30",
        ascii: "valid until 2022-09-30 10:30",
        fonts: &fonts,
    };
    let screen = draw(&text, &SymbolOptions::SCREEN)?;
    let paper = draw(&text, &SymbolOptions::PAPER)?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes);
    write("token.txt", text.as_bytes())?;
    write("screen.png", &screen.to_png(None)?)?;
    write("screen.svg", screen.to_svg(None).as_bytes())?;
    write("paper.png", &paper.to_png(None)?)?;
    write("captioned.png", &screen.to_png(Some(&caption))?)?;
    write("captioned.svg", screen.to_svg(Some(&caption)).as_bytes())?;
    let printed = print_sheet(&sheet(&text), &fonts)?;
    write("sheet.pdf", &printed.pdf)?;
    write(
        "sheet-english.pdf",
        &print_sheet(&sheet(&text), &Fonts::built_in())?.pdf,
    )?;
    for notice in printed.notices {
        eprintln!("{notice}");
    }
    Ok(())
}
