"""metadata.yaml against what the connector registry asks of it."""

import importlib.resources
import json

import jsonschema
import yaml

from harness import ROOT

SCHEMA = importlib.resources.files("airbyte_connector_models") / "metadata/v0/ConnectorMetadataDefinitionV0.json"


def test_metadata_fits_the_registry():
    """The schema of the registry takes metadata.yaml, and does not take everything."""
    registry = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    metadata = yaml.safe_load((ROOT / "metadata.yaml").read_text())
    assert [error.message for error in registry.iter_errors(metadata)] == []
    assert any(tag.startswith("language:") for tag in metadata["data"]["tags"])
    assert (ROOT / metadata["data"]["icon"]).is_file()
    metadata["data"]["no such field"] = 1
    assert not registry.is_valid(metadata)
