#!/usr/bin/env python3
"""Reads a database again and again with the image, and keeps each stream as JSON lines and the state in a file.

    sync.py DIRECTORY [SECONDS]

DIRECTORY has config.json and catalog.json, for every user to read. Records go to STREAM.jsonl there, states to state.json.
Between two syncs are SECONDS; without it there is one. IMAGE and DOCKER_OPTIONS (as --network=host) come from the environment.
"""
import json, os, subprocess, sys, time
from pathlib import Path

directory = Path(sys.argv[1]).resolve()
image = os.environ.get("IMAGE", "source-postgres:0.1.0")
options = os.environ.get("DOCKER_OPTIONS", "").split()


def sync():
    kept = directory / "state.json"
    states = {s.get("type") + json.dumps(s.get("stream", {}).get("stream_descriptor")): s
              for s in (json.loads(kept.read_text()) if kept.exists() else [])}
    command = ["docker", "run", "--rm", *options, f"--volume={directory}:/data:ro", image, "read",
               "--config=/data/config.json", "--catalog=/data/catalog.json"]
    process = subprocess.Popen(command + ["--state=/data/state.json"] * bool(states), stdout=subprocess.PIPE)
    files = {}
    for message in map(json.loads, process.stdout):
        if message["type"] == "RECORD":
            record = message["record"]
            files.setdefault(record["stream"], open(directory / f"{record['stream']}.jsonl", "a")) \
                .write(json.dumps(record["data"]) + "\n")
        elif message["type"] == "STATE":
            for file in files.values():  # a state is worth something once all that came before it is on the disk
                file.flush(), os.fsync(file.fileno())
            state = message["state"]
            states[state["type"] + json.dumps(state.get("stream", {}).get("stream_descriptor"))] = state
            (directory / "state.new").write_text(json.dumps(list(states.values())))
            (directory / "state.new").replace(kept)
    return process.wait()


while True:
    code = sync()  # what failed is tried again with the last state, and nothing is lost
    print("sync ended with exit code", code, file=sys.stderr)
    if len(sys.argv) < 3:
        sys.exit(code)
    time.sleep(float(sys.argv[2]))
