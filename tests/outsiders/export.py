"""Third-party programs read the exports of a real `citycode up`.

DuckDB and pandas (with pyarrow) read the Parquet and the CSV files. Their counts must be those of `citycode audit run` and
`citycode history`, both formats must have the same content, and no cell of CSV may be a formula. The export is killed at
several moments: its folder then has a manifest whose digests agree, or none, and the next run writes the same files.
"""

import csv
import hashlib
import json
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import duckdb
import pandas
from _running import BINARY, ELDER, citycode, eventually, running

OUT = pathlib.Path(sys.argv[1]).resolve()
TABLES = ["events", "verdicts", "daily"]
SCANS = 60
DEVICES = ["gate-1", "=HYPERLINK(A1)", "+gate", "-gate", "@gate"]
ALL_TIME = ["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z", "--purpose", "test of exports"]


def post(url, path, body):
    token = (OUT / "data/admin.token").read_text().strip()
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


def export(url, form, *more, folder=None):
    folder = folder or OUT / form
    return citycode(OUT, url, "export", *ALL_TIME, "--format", form, "--out", str(folder), *more)


def digests(manifest):
    return {file["name"]: file["sha256"] for file in manifest["files"]}


def check_manifest(folder):
    """Returns whether the folder has a manifest, whose digests must then be those of the files."""
    path = folder / "manifest.json"
    if not path.exists():
        return False
    for name, digest in digests(json.loads(path.read_text())).items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    return True


def live(url):
    """Registers a person, issues codes and scans them at devices with hostile names."""
    citycode(OUT, url, "register", "--id-number", ELDER, "--name", "张小三", "--channel", "kiosk")
    common = ["--kind", "offline", "--id-number", ELDER, "--channel", "kiosk"]
    code = citycode(OUT, url, "issue", *common)
    for number in range(SCANS):
        if number == SCANS // 2:
            citycode(OUT, url, "report-loss", *common)
        shown = "not a code" if number % 10 == 0 else code["token"]
        device = DEVICES[number % len(DEVICES)]
        post(url, "/api/v1/verify", {"place": "staffed", "code": shown, "device": device, "scan_id": f"={number}"})
    return code["code_id"]


def audited(url):
    """The result of an audit once all records are written."""

    def look():
        result = citycode(OUT, url, "audit", "run", *ALL_TIME)
        return result if result["scans"] == SCANS else None

    return eventually(f"{SCANS} recorded scans", look)


def compare(url, code_id):
    result = audited(url)
    for form in ["parquet", "csv"]:
        manifest = export(url, form)
        assert check_manifest(OUT / form)
        names = {path.name for path in (OUT / form).iterdir()}
        assert names == {f"{table}.{form}" for table in TABLES} | {"manifest.json"}
        rows = {file["name"]: file["rows"] for file in manifest["files"]}
        for table in TABLES:
            path = OUT / form / f"{table}.{form}"
            reader = "read_parquet" if form == "parquet" else "read_csv"
            [(counted,)] = duckdb.sql(f"select count(*) from {reader}('{path}')").fetchall()
            frame = pandas.read_parquet(path) if form == "parquet" else pandas.read_csv(path)
            assert counted == len(frame) == rows[f"{table}.{form}"], (form, table)
    verdicts = pandas.read_parquet(OUT / "parquet/verdicts.parquet")
    assert len(verdicts) == result["scans"]
    assert int(verdicts["agrees"].eq(True).sum()) == result["agree"]
    unread = verdicts["not_recomputable"].value_counts().to_dict()
    assert unread == result["not_recomputable"], (unread, result)
    assert set(DEVICES) == set(verdicts["device"])
    history = citycode(OUT, url, "history", "--code-id", code_id)
    entries = history["entries"] if isinstance(history, dict) else history
    events = pandas.read_parquet(OUT / "parquet/events.parquet")
    for entry in entries:
        position = entry["position"]
        same = events[(events["partition"] == position["partition"]) & (events["sequence"] == position["sequence"])]
        assert entry["event"] in set(same["event"]), entry
    code_numbers = set(events[events["event"] == "CodeIssued"]["code"])
    assert code_numbers >= set(verdicts["code"].dropna()), "events and verdicts are joined by code"
    return result


def check_same_content():
    """Both formats have the same rows; CSV has an apostrophe before what a spreadsheet would run."""
    for table in TABLES:
        columns = duckdb.sql(f"describe select * from '{OUT}/parquet/{table}.parquet'").fetchall()
        types = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind, *_ in columns) + "}"
        text = f"select * from read_csv('{OUT}/csv/{table}.csv', header=true, nullstr='', columns={types})"
        for name, kind, *_ in columns:
            if kind == "VARCHAR":
                text = f"select * replace (regexp_replace({name}, '^''([=+@＝-])', '\\1') as {name}) from ({text})"
        binary = f"select * from '{OUT}/parquet/{table}.parquet'"
        for one, other in [(text, binary), (binary, text)]:
            missing = duckdb.sql(f"({one}) except all ({other})").fetchall()
            assert not missing, (table, missing[:3])
        with open(OUT / f"csv/{table}.csv", newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝")) for cell in row), row


def check_counts(url):
    daily = pandas.read_parquet(OUT / "parquet/daily.parquet")
    shown = daily["count"].dropna()
    assert not ((shown > 0) & (shown < 10)).any(), shown
    assert daily["count"].isna().any(), "this city has small counts"
    export(url, "parquet", "--exact", folder=OUT / "exact")
    exact = pandas.read_parquet(OUT / "exact/daily.parquet")
    assert exact["count"].sum() == SCANS + len(pandas.read_parquet(OUT / "exact/events.parquet"))


def check_private(code_id):
    """No file of an export has the number, the name or the code's id."""
    for path in OUT.glob("*/*"):
        if path.parent.name in ("parquet", "csv", "exact"):
            content = path.read_bytes()
            for secret in [ELDER, "张小三", code_id]:
                assert secret.encode() not in content, path


def check_killed(url):
    wanted = digests(export(url, "csv", folder=OUT / "wanted"))
    folder = OUT / "killed"
    arguments = ["export", *ALL_TIME, "--format", "csv", "--out", str(folder), "--server", url]
    command = [BINARY, *arguments, "--token-file", str(OUT / "data/admin.token")]
    complete = 0
    for step in range(16):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(step * 0.02)  # the moment to kill at, not a condition
        process.kill()
        process.wait()
        complete += check_manifest(folder)
    for path in folder.glob("*"):
        assert complete or path.name.endswith(".partial"), path
    assert digests(export(url, "csv", folder=folder)) == wanted
    assert check_manifest(folder) and not list(folder.glob("*.partial"))


def main():
    with running(OUT) as url:
        code_id = live(url)
        compare(url, code_id)
        check_same_content()
        check_counts(url)
        check_private(code_id)
        check_killed(url)
    print("DuckDB and pandas read the Parquet and CSV files of an export; their counts are those of the audit")


main()
