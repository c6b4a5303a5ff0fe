"""The assertions of Airbyte's connector acceptance tests (CAT) about spec, check, discover and read, run on the image.

CAT itself is in no package index and needs a registry's images. Each test has the name of CAT's, and asserts what CAT's
does; where CAT only warns, or leaves a test empty, there is none.
"""

import json
import re
from datetime import datetime

import pytest
import yaml
from connector import configured
from fixtures import config, connector, discovered, method, source  # noqa: F401
from jsonschema import Draft7Validator, validators

from harness import ROOT

SECRET_NAMES = {
    "client_token", "access_token", "api_token", "token", "secret", "client_secret", "password", "key", "service_account",
    "service_account_info", "tenant_id", "certificate", "jwt", "credentials", "app_id", "appid", "refresh_token",
}
FORBIDDEN = {
    "not", "anyOf", "patternProperties", "prefixItems", "allOf", "if", "then", "else", "dependentSchemas",
    "dependentRequired",
}


def objects(value, path=()):
    """Every JSON object in value with the path to it."""
    if isinstance(value, dict):
        yield path, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(inner, (*path, key))


def schemas(specification):
    """Every object that is a schema, not a map of names to schemas."""
    return [(path, o) for path, o in objects(specification) if not path or path[-1] not in ("properties", "examples")]


def properties(specification):
    """Every property of every object: its name and its schema."""
    return [(name, schema) for _, o in schemas(specification) for name, schema in o.get("properties", {}).items()]


@pytest.fixture(scope="module")
def run_of_spec(connector):
    return connector.run("spec", network="none").ok()


@pytest.fixture(scope="module")
def specification(run_of_spec):
    return run_of_spec.of("SPEC")[0]["connectionSpecification"]


class TestSpec:
    def test_spec_is_the_only_message(self, run_of_spec):
        assert [m["type"] for m in run_of_spec.messages if m["type"] != "LOG"] == ["SPEC"]

    def test_config_match_spec(self, specification, config):
        Draft7Validator.check_schema(specification)
        Draft7Validator(specification).validate(config)

    def test_match_expected(self, run_of_spec):
        assert run_of_spec.of("SPEC")[0] == json.loads((ROOT / "spec.json").read_text())

    def test_enum_usage(self, specification):
        for path, schema in schemas(specification):
            values = [json.dumps(v) for v in schema.get("enum", [])]
            assert len(values) == len(set(values)), path

    def test_oneof_usage(self, specification):
        found = [(path, o) for path, o in schemas(specification) if "oneOf" in o]
        assert found
        for path, schema in found:
            assert schema["type"] == "object", path
            variants = [variant["properties"] for variant in schema["oneOf"]]
            shared = set.intersection(*(set(v) for v in variants))
            constant = [name for name in shared if all("const" in v[name] for v in variants)]
            assert len(constant) == 1, path
            for variant in variants:
                one = variant[constant[0]]
                assert one.get("default", one["const"]) == one["const"], path
                assert one.get("enum", [one["const"]]) == [one["const"]], path

    def test_secret_is_properly_marked(self, specification):
        for name, schema in properties(specification):
            if name in SECRET_NAMES:
                kinds = schema.get("type")
                secret = bool({"string", "number"} & set([kinds] if isinstance(kinds, str) else kinds))
                assert bool(schema.get("airbyte_secret")) == (secret and "const" not in schema), name
        for name in ("ssh_key", "ssh_key_passphrase", "tunnel_user_password", "client_key", "client_key_password"):
            for schema in (s for n, s in properties(specification) if n == name):
                assert schema["airbyte_secret"], name

    def test_property_type_is_not_array(self, specification):
        for name, schema in properties(specification):
            kinds = schema.get("type")
            assert isinstance(kinds, str) or kinds is None or (len(kinds) == 2 and "null" in kinds), name

    def test_object_not_empty(self, specification):
        for path, schema in schemas(specification):
            if schema.get("type") == "object":
                assert schema.get("properties") or schema.get("oneOf"), path

    def test_array_type(self, specification):
        for name, schema in properties(specification):
            if schema.get("type") == "array":
                items = schema["items"]
                assert items.get("type") in ("object", "string", "number", "integer") or "enum" in items, name

    def test_forbidden_complex_types(self, specification):
        for path, schema in schemas(specification):
            assert not FORBIDDEN & set(schema), path

    def test_duplicate_order(self, specification):
        for path, schema in schemas(specification):
            groups = {}
            for inner in schema.get("properties", {}).values():
                if "order" in inner:
                    groups.setdefault(inner.get("group"), []).append(inner["order"])
            for orders in groups.values():
                assert len(orders) == len(set(orders)), path

    def test_nested_group(self, specification):
        top = specification["properties"].values()
        for name, schema in properties(specification):
            assert "group" not in schema or any(schema is t for t in top), name

    def test_display_type(self, specification):
        for path, schema in schemas(specification):
            if "display_type" in schema:
                assert schema["display_type"] in ("dropdown", "radio"), path
                assert "oneOf" in schema, path

    def test_defined_refs_exist_in_json_spec_file(self, specification):
        assert not [path for path, o in objects(specification) if "$ref" in o]

    def test_additional_properties_is_true(self, specification):
        assert all(o.get("additionalProperties", True) is True for _, o in objects(specification))

    def test_image_labels(self, connector):
        metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())["data"]
        labels = connector.inspect()["Labels"]
        assert labels["io.airbyte.name"] == metadata["dockerRepository"]
        assert labels["io.airbyte.version"] == metadata["dockerImageTag"]

    def test_image_environment_variables(self, connector):
        image = connector.inspect()
        environment = dict(variable.split("=", 1) for variable in image["Env"])
        assert environment["AIRBYTE_ENTRYPOINT"] == " ".join(image["Entrypoint"])


class TestConnection:
    @pytest.mark.parametrize("mode", ["cloud", "oss"])
    def test_check_succeeds(self, connector, config, mode):
        run = connector.run("check", environment=[f"DEPLOYMENT_MODE={mode}"], config=config).ok()
        assert [s["status"] for s in run.of("CONNECTION_STATUS")] == ["SUCCEEDED"]

    @pytest.mark.parametrize("change", [{"password": "wrong one"}, {"port": 1}, {"database": "none"}, {"ssl_mode": 5}])
    def test_check_fails(self, connector, config, change):
        run = connector.run("check", config=config | change).ok()
        (status,) = run.of("CONNECTION_STATUS")
        assert status["status"] == "FAILED"
        assert status["message"]

    def test_check_exception(self, connector):
        """A file that is no configuration: one TRACE with a message, and no zero."""
        run = connector.run("check")
        assert run.code != 0
        (trace,) = run.of("TRACE")
        assert trace["error"]["message"]


class TestDiscovery:
    def test_discover(self, discovered):
        names = [stream["name"] for stream in discovered["streams"]]
        assert names
        assert len(names) == len(set(names))

    def test_streams_have_valid_json_schemas(self, discovered):
        for stream in discovered["streams"]:
            Draft7Validator.check_schema(stream["json_schema"])

    def test_defined_cursors_exist_in_schema(self, discovered):
        for stream in discovered["streams"]:
            assert set(stream.get("default_cursor_field", [])) <= set(stream["json_schema"]["properties"])

    def test_defined_refs_and_keywords_exist_in_schema(self, discovered):
        for stream in discovered["streams"]:
            assert not [o for _, o in objects(stream["json_schema"]) if {"$ref", "allOf", "not"} & set(o)]

    def test_primary_keys_exist_in_schema(self, discovered):
        for stream in discovered["streams"]:
            fields = stream["json_schema"]["properties"]
            assert all(part in fields for key in stream.get("source_defined_primary_key", []) for part in key)

    def test_streams_has_sync_modes(self, discovered):
        assert all(stream["supported_sync_modes"] for stream in discovered["streams"])

    def test_additional_properties_is_true(self, discovered):
        assert all(o.get("additionalProperties", True) is True for _, o in objects(discovered))

    def test_primary_keys_data_type(self, discovered):
        for stream in discovered["streams"]:
            for key in stream.get("source_defined_primary_key", []):
                kinds = stream["json_schema"]["properties"][key[0]]["type"]
                assert not {"object", "array"} & set([kinds] if isinstance(kinds, str) else kinds)


StrictIntegers = validators.extend(Draft7Validator, type_checker=Draft7Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
))
DATE_TIME = re.compile(r"^\d{4}-\d?\d-\d?\d(\s|T)\d?\d:\d?\d:\d?\d(.\d+)?.*$")


def date_times(schema):
    return [name for name, inner in schema["properties"].items() if inner.get("format") == "date-time"]


@pytest.fixture(scope="module")
def read(connector, config, discovered):
    return connector.run("read", config=config, catalog=configured(discovered)).ok()


class TestBasicRead:
    def test_read(self, read, discovered):
        """Records in every stream, each of which fits its schema and has a key."""
        records = {}
        for record in read.of("RECORD"):
            records.setdefault(record["stream"], []).append(record["data"])
        for stream in discovered["streams"]:
            found, schema = records.get(stream["name"]), stream["json_schema"]
            assert found, stream["name"]
            validator, keys = StrictIntegers(schema), stream.get("source_defined_primary_key", [])
            for data in found:
                for error in validator.iter_errors(data):
                    # A NULL is no violation: CAT's own catalogs say of every type that it may be null.
                    assert error.instance is None, f"{stream['name']}: {error.message}"
                assert set(data) & set(schema["properties"])
                values = [data[key[0]] for key in keys]
                assert not keys or any(value is not None for value in values)
                assert not any(isinstance(value, (dict, list)) for value in values)
                for name in date_times(schema):
                    if data[name] is not None:
                        assert DATE_TIME.match(data[name])
                        datetime.fromisoformat(data[name])

    def test_stream_statuses(self, read, discovered):
        for stream in discovered["streams"]:
            seen = [
                t["stream_status"]["status"] for t in read.traces("STREAM_STATUS")
                if t["stream_status"]["stream_descriptor"]["name"] == stream["name"]
            ]
            assert (seen[0], seen[-1]) == ("STARTED", "COMPLETE"), stream["name"]
            assert seen[1:-1]
            assert set(seen[1:-1]) == {"RUNNING"}

    def test_state_messages(self, read, discovered, method):
        states = read.of("STATE")
        assert all(state["sourceStats"]["recordCount"] >= 0 for state in states)
        if method == "CDC":  # CAT has validate_state_messages: false for it
            assert {state["type"] for state in states} == {"GLOBAL"}
            return
        assert len(states) >= len(discovered["streams"])
        assert {state["type"] for state in states} == {"STREAM"}
        assert all(state["stream"]["stream_descriptor"]["name"] for state in states)

    def test_airbyte_trace_message_on_failure(self, connector, config):
        name = "__AIRBYTE__stream_that_does_not_exist"
        stream = {"name": name, "json_schema": {"type": "object", "properties": {"f1": {"type": "string"}}},
                  "supported_sync_modes": ["full_refresh"]}
        catalog = {"streams": [{"stream": stream, "sync_mode": "INVALID", "destination_sync_mode": "INVALID"}]}
        run = connector.run("read", config=config, catalog=catalog)
        assert run.traces("ERROR")
        assert run.code != 0
