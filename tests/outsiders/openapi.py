"""Third-party programs validate the description of the API and generate a client from it.

PyPI's `openapi-spec-validator` accepts `/openapi.json` of a real `citycode up`; every example in it conforms to its
own schema (`openapi-schema-validator`); `openapi-python-client` generates a client from it without a warning; and
that client registers a person, issues a code, verifies it from a picture and in a stream, imports, and gets a
refusal.
"""

import importlib
import json
import pathlib
import subprocess
import sys

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from _running import ELDER, citycode, fetch, running

OUT = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent


def validate(document):
    errors = [f"{list(error.absolute_path)}: {error.message[:200]}" for error in
              OpenAPIV31SpecValidator(document).iter_errors()]
    assert not errors, "\n".join(errors)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                assert response.get("description"), f"{method} {path} {status} has no description"
            assert "405" in operation["responses"], f"{method} {path} does not name 405"


def examples(value, place=()):
    """Yields every schema with an example, and its path in the document."""
    if isinstance(value, dict):
        if "example" in value and ("type" in value or "$ref" in value or "schema" in value):
            yield place, value.get("schema", value), value["example"]
        for name, inner in value.items():
            yield from examples(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from examples(inner, (*place, number))


def check_examples(document):
    found = 0
    for place, schema, example in examples(document):
        whole = {**schema, "components": document["components"]}
        errors = [error.message for error in OAS31Validator(whole).iter_errors(example)]
        assert not errors, f"{place}: {example!r}: {errors}"
        found += 1
    assert found > 40, f"only {found} examples"
    return found


def check_byte_schemas(value):
    if isinstance(value, dict):
        of_numbers = value.get("type") == "array" and value.get("items", {}).get("type") == "integer"
        assert not of_numbers, "bytes described as an array of numbers"
        for inner in value.values():
            check_byte_schemas(inner)
    elif isinstance(value, list):
        for inner in value:
            check_byte_schemas(inner)


def generate():
    command = [pathlib.Path(sys.executable).parent / "openapi-python-client", "generate", "--path", OUT / "openapi.json",
               "--output-path", OUT / "generated", "--meta", "none", "--config", HERE / "_openapi_client.yml",
               "--fail-on-warning"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(OUT))


def of_client(name):
    return importlib.import_module(f"generated.{name}")


def use(url):
    """Executes typical requests of a kiosk with the generated client only."""
    token = (OUT / "data/admin.token").read_text().strip()
    models, types = of_client("models"), of_client("types")
    client = of_client("client").AuthenticatedClient(base_url=url, token=token)

    def call(operation, **arguments):
        return of_client(f"api.{operation}").sync_detailed(client=client, **arguments)

    register = models.RegisterBody(id_number=ELDER, name="张小三", channel="kiosk")
    assert call("residents.register", body=register).status_code == 200
    issue = models.IssueBody(kind="offline", id_number=ELDER, channel="kiosk")
    key = "0d9a3d0e-6ad9-4f3c-9a3b-2f1f5f6f7a8b"
    code = call("codes.issue", body=issue, idempotency_key=key).parsed
    assert call("codes.issue", body=issue, idempotency_key=key).parsed == code, "repeating the command must return the same code"
    assert code.kind == "offline" and len(code.code_id) == 16 and code.expires_at > code.issued_at
    citycode(OUT, url, "reprint", "--kind", "offline", "--id-number", ELDER, "--channel", "pc", "--out", str(OUT / "code.png"))

    scan = models.VerifyBody(place="sampling_desk", code=code.token)
    verdict = call("checking.verify", body=scan).parsed
    assert (verdict.decision, verdict.reason, verdict.code_id) == ("admit", "ok", code.code_id)
    with open(OUT / "code.png", "rb") as picture:
        seen = call("checking.verify_image", place="sentinel", body=types.File(payload=picture))
    assert (seen.parsed.decision, seen.parsed.reason) == ("refuse", "kind_not_accepted_here")

    lines = "".join(json.dumps(one.to_dict()) + "\n" for one in [scan, models.VerifyBody(place="moon", code="x")])
    streamed = call("checking.verify_stream", body=types.File(payload=lines.encode()))
    first, second = [json.loads(line) for line in streamed.content.decode().splitlines()]
    assert first["decision"] == "admit" and second["problem"]["code"] == "unknown_place"

    rows = [models.ImportOptions(kind="sampling", channel="app"), models.ImportRow(line=2, id_number=ELDER, name="张小三")]
    lines = "".join(json.dumps(one.to_dict()) + "\n" for one in rows)
    imported = call("codes.import_", body=types.File(payload=lines.encode()))
    assert json.loads(imported.content)["outcome"] == "issued", imported.content

    refused = call("codes.issue", body=models.IssueBody(kind="offline", id_number="310101202001011234", channel="kiosk"))
    assert refused.status_code == 422 and refused.parsed.code == "invalid_id_number"
    keys = call("keys.list_keys").parsed
    assert keys.keys and keys.status_list_keys


def main():
    with running(OUT) as url:
        document = json.loads(fetch(f"{url}/openapi.json"))
        (OUT / "openapi.json").write_text(json.dumps(document))
        validate(document)
        check_byte_schemas(document)
        found = check_examples(document)
        generate()
        use(url)
    print(f"openapi-spec-validator accepts the description, and its {found} examples conform to it")
    print("openapi-python-client generates a client from it, and that client issues and verifies")


main()
