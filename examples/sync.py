#!/usr/bin/env python3
"""sync.py DIRECTORY: one sync with the image, of the config.json and catalog.json in DIRECTORY, which it must be able to read.

Each stream's records are appended to a file there, as the connector wrote them; the states are kept in state.json.
IMAGE and DOCKER_OPTIONS (such as --network=host) come from the environment. The exit code is the connector's.
"""
import json, os, subprocess, sys, urllib.parse
from pathlib import Path

directory, image = Path(sys.argv[1]).resolve(), os.environ.get("IMAGE", "source-postgres:0.1.0")
kept, files = directory / "state.json", {}


def key(state):  # there is one state for each stream, or a GLOBAL one for all of them
    return json.dumps(state.get("stream", {}).get("stream_descriptor"), sort_keys=True)


states = {key(s): s for s in (json.loads(kept.read_text()) if kept.exists() else [])}
command = ["docker", "run", "--rm", *os.environ.get("DOCKER_OPTIONS", "").split(), f"--volume={directory}:/data:ro",
           image, "read", "--config=/data/config.json", "--catalog=/data/catalog.json"]
connector = subprocess.Popen(command + ["--state=/data/state.json"] * bool(states), stdout=subprocess.PIPE)
for line in connector.stdout:
    message = json.loads(line)
    if message["type"] == "RECORD":
        stream = f"{message['record'].get('namespace')}.{message['record']['stream']}"
        name = urllib.parse.quote(stream + ".jsonl", safe="")
        files[name] = files.get(name) or open(directory / name, "ab")
        files[name].write(line)
    elif message["type"] == "STATE":
        for file in files.values():  # a state may be kept once the records before it are on the disk
            file.flush(), os.fsync(file.fileno())
        states[key(message["state"])] = message["state"]
        kept.with_suffix(".new").write_text(json.dumps(list(states.values())))
        kept.with_suffix(".new").replace(kept)
sys.exit(connector.wait())
