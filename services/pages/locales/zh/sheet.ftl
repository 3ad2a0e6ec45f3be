# 打印件。
sheet-name = 姓名
sheet-valid-until = 有效期至
sheet-issued = 签发时间
sheet-serial = 编号
sheet-present-with = 须与身份证一并出示
sheet-loss = 遗失怎么办
sheet-loss-where = 请本人或家属到办理渠道挂失，无需出示本码。
sheet-loss-effect = 挂失或补领后，本码立即失效。
sheet-use = 使用说明
sheet-use-text = 请勿涂改二维码，勿交他人使用。
sheet-before = { $time } 前有效
sheet-if-lost-call = 遗失请挂失：拨打 { $number }，或在任一自助终端办理。
sheet-if-lost = 遗失请到任一自助终端或在网上挂失，无需出示本码。
sheet-footer = 重新打印不会改变有效期。
