"""Holds what Freehold answers against what its OpenAPI documents say, with tools that others have made.

    openapi.py FOLDER

FOLDER has a file listeners.json: for each listener its name, url, host, token, and the values of path parameters by
path. The script reads each document from the listener itself and then

* validates it (openapi-spec-validator);
* asks every GET whose path it can fill (but for a check that goes round all tenants), with a token and without, and validates the answer's status, media type and
  body against the document;
* generates a client from it (openapi-python-client) and reads every list with that.

It prints a line `read LISTENER OPERATION ITEMS` for each list that the generated client has read, and one for each
thing that is wrong. It exits with 1 when anything is.
"""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import httpx
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

LEFT_OUT = ["/platform/v1/isolation"]

wrong = []


def report(text):
    wrong.append(text)
    print(f"wrong: {text}")


def resolved(document, value):
    """What a reference within the document leads to."""
    while isinstance(value, dict) and "$ref" in value:
        reference, value = value["$ref"], document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def check_body(document, schema, body, where):
    # References lead to the document's own components, from the root of the schema too.
    validator = OAS31Validator({**schema, "components": document["components"]}, format_checker=oas31_format_checker)
    try:
        for error in validator.iter_errors(body):
            report(f"{where}: {error.json_path}: {error.message[:300]}")
    except Exception as error:
        report(f"{where}: the schema cannot be used: {str(error)[:100]}")


def check_answer(document, operation, answer, where):
    responses = operation["responses"]
    if str(answer.status_code) not in responses:
        report(f"{where}: {answer.status_code} is not documented")
        return
    content = resolved(document, responses[str(answer.status_code)]).get("content", {})
    media_type = answer.headers.get("content-type", "").split(";")[0]
    if media_type not in content and (media_type or content):
        report(f"{where}: {answer.status_code} is {media_type!r}, documented are {sorted(content)}")
    elif media_type.endswith("json"):
        check_body(document, content[media_type]["schema"], answer.json(), f"{where} {answer.status_code}")


def is_list(document, operation):
    schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return "items" in resolved(document, schema).get("properties", {})


def check_document(document, where):
    try:
        for error in OpenAPIV31SpecValidator(document).iter_errors():
            report(f"{where}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    except Exception as error:
        # A reference that leads nowhere is raised, and quotes the whole document.
        report(f"{where}: the document is not valid: {str(error)[:100]}")


def check_media_types(document, where):
    """A problem is application/problem+json wherever it is mentioned, also in answers that are not asked for here."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation.get("responses", {}).items():
                for media_type, content in resolved(document, response).get("content", {}).items():
                    is_problem = content.get("schema", {}).get("$ref", "").endswith("/Problem")
                    if is_problem != (media_type == "application/problem+json"):
                        report(f"{where} {method} {path}: {status} is documented as {media_type}")


def generated_client(document, folder, name):
    source, package = folder / f"{name}.json", f"freehold_{name}"
    source.write_text(json.dumps(document))
    config = folder / f"{name}.config.json"
    # A JSON object is a line of lines of JSON.
    kinds = {"application/x-ndjson": "application/json"}
    config.write_text(json.dumps(
        {"post_hooks": [], "package_name_override": package, "content_type_overrides": kinds}))
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning",
         "--path", source, "--config", config, "--output-path", folder / package, "--overwrite"],
        capture_output=True, text=True,
    )
    if made.returncode != 0:
        report(f"{name}: no client can be generated: {made.stdout}{made.stderr}")
    return package


def read_list(package, operation, client, arguments):
    """Reads a list with the generated client; how many items came."""
    tag = re.sub(r"\W", "_", operation["tags"][0])
    module = importlib.import_module(f"{package}.api.{tag}.{operation['operationId']}")
    answer = module.sync_detailed(*arguments, client=client)
    if answer.status_code != 200:
        raise ValueError(f"answered {answer.status_code}: {answer.content[:300]}")
    return len(answer.parsed.items)


def check_listener(listener, folder):
    name, url = listener["name"], listener["url"]
    anonymous = {"Host": listener["host"]}
    known = {**anonymous, "Authorization": f"Bearer {listener['token']}"}
    document = httpx.get(f"{url}/openapi.json", headers=anonymous).json()
    check_document(document, name)
    check_media_types(document, name)
    package = generated_client(document, folder, name)
    client_class = getattr(importlib.import_module(f"{package}"), "AuthenticatedClient")
    client = client_class(base_url=url, token=listener["token"], headers=anonymous, timeout=60)
    for path, item in document["paths"].items():
        operation = item.get("get")
        parameters = re.findall(r"{(\w+)}", path)
        values = listener["parameters"].get(path, {})
        if operation is None or path in LEFT_OUT or any(parameter not in values for parameter in parameters):
            continue
        where = f"{name} GET {path}"
        for headers in [known, anonymous]:
            with httpx.stream("GET", url + path.format(**values), headers=headers, timeout=60) as answer:
                if "text/event-stream" not in answer.headers.get("content-type", ""):
                    answer.read()
                    check_answer(document, operation, answer, where)
        if is_list(document, operation):
            try:
                items = read_list(package, operation, client, [values[parameter] for parameter in parameters])
                print(f"read {name} {operation['operationId']} {items}")
            except Exception as error:
                report(f"{where}: the generated client cannot read it: {error!r}")


def main():
    folder = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    for listener in json.loads((folder / "listeners.json").read_text()):
        check_listener(listener, folder)
    sys.exit(1 if wrong else 0)


main()
