"""Runs the connector's image as CAT does: docker run, files under /data, one message per line."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Run:
    """What one run of the image gave."""

    code: int
    messages: list
    stderr: str

    def of(self, kind):
        key = {"CONNECTION_STATUS": "connectionStatus"}.get(kind, kind.lower())
        return [m[key] for m in self.messages if m["type"] == kind]

    def traces(self, kind):
        return [t for t in self.of("TRACE") if t["type"] == kind]

    def ok(self):
        assert self.code == 0, f"exit code {self.code}: {self.traces('ERROR')} {self.stderr}"
        return self


class Connector:
    """The image, with the commands of the protocol."""

    def __init__(self, image):
        self.image = image

    def run(self, command, *, environment=(), network="host", **files):
        with tempfile.TemporaryDirectory(prefix="acceptance-") as name:
            directory = Path(name)
            directory.chmod(0o755)
            arguments = [command]
            for option, content in files.items():
                (directory / f"{option}.json").write_text(json.dumps(content))
                arguments += [f"--{option}", f"/data/{option}.json"]
            options = [word for variable in environment for word in ("--env", variable)]
            done = subprocess.run(
                ["docker", "run", "--rm", f"--network={network}", f"--volume={directory}:/data:ro", *options, self.image,
                 *arguments],
                capture_output=True, timeout=300,
            )
        # splitlines is what the suites cut the output with: it also breaks at characters that JSON leaves as they are.
        lines = done.stdout.decode("utf-8").splitlines()
        return Run(done.returncode, [json.loads(line) for line in lines], done.stderr.decode())

    def inspect(self):
        done = subprocess.run(["docker", "image", "inspect", self.image], capture_output=True, check=True)
        return json.loads(done.stdout)[0]["Config"]


def configured(catalog, mode=None, destination_mode="append", cursors=None):
    """A configured catalog of a discovered one: each stream in its first mode, or in the given one, where it has it."""
    streams = []
    for stream in catalog["streams"]:
        modes = stream["supported_sync_modes"]
        if mode and mode not in modes:
            continue
        one = {"stream": stream, "sync_mode": mode or modes[0], "destination_sync_mode": destination_mode}
        if cursors and stream["name"] in cursors:
            one["cursor_field"] = [cursors[stream["name"]]]
        streams.append(one)
    return {"streams": streams}
