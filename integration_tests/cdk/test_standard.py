"""The CDK's suite for images, as it is: DockerConnectorTestSuite with --connector-image.

It runs `docker run` on the engine's usual network, so that the database is in a container there. What it runs is said by
acceptance-test-config.yml; the settings it names are written here, for the server of this session.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from airbyte_cdk.test.standard_tests.docker_base import DockerConnectorTestSuite

from harness import ROOT, Database


# The suite reads the list of scenarios before there are fixtures, so that the directory is made with the module.
DIRECTORY = tempfile.TemporaryDirectory(prefix="standard-tests-")
CONNECTOR = Path(DIRECTORY.name) / "source-postgres"
(CONNECTOR / "secrets").mkdir(parents=True)
for file in ("metadata.yaml", "acceptance-test-config.yml"):
    shutil.copy(ROOT / file, CONNECTOR)


@pytest.fixture(scope="module", autouse=True)
def settings(server):
    database = Database(server)
    plain = database.config(inside=True)
    for name, config in {
        "standard": plain,
        "xmin": database.config("Xmin", inside=True),
        "cdc": database.config("CDC", inside=True),
        "wrong_password": plain | {"password": "not the password"},
        "no_such_host": plain | {"host": "no-such-host.invalid"},
        "no_slot": plain | {"replication_method": {"method": "CDC", "replication_slot": "none", "publication": "pub"}},
        "incomplete": {"host": plain["host"], "port": plain["port"]},
    }.items():
        (CONNECTOR / "secrets" / f"{name}.json").write_text(json.dumps(config))
    yield
    database.drop()
    DIRECTORY.cleanup()


class TestImage(DockerConnectorTestSuite):
    """Inherits every test."""

    @classmethod
    def get_connector_root_dir(cls):
        return CONNECTOR

    # It compares with what is published in Airbyte's registry, which has no image of this name.
    test_docker_image_spec_backward_compatibility = None
