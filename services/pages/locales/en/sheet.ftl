# Print sheets.
sheet-name = Name
sheet-valid-until = Valid until
sheet-issued = Issued
sheet-serial = Serial
sheet-present-with = Show it together with the resident ID card
sheet-loss = If it is lost
sheet-loss-where = Report it where it was issued; you or your family may, without this sheet.
sheet-loss-effect = Once reported or reissued, this sheet is void at once.
sheet-use = How to use it
sheet-use-text = Do not mark the symbol; do not lend it.
sheet-before = Valid until { $time } on
sheet-if-lost-call = If lost, report it: call { $number }, or use any kiosk.
sheet-if-lost = If it is lost, report it at any kiosk or online, without this sheet.
sheet-footer = Printing it again does not change its validity.
