"""The binary that is measured when none is named."""

import json
import os
import subprocess
import sys

from machine import tool

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))


def build_segue():
    """The release binary of this checkout, built when it is not up to date."""
    cargo = tool("cargo")
    build = [cargo, "build", "--release", "--bin", "segue"]
    subprocess.run(build, cwd=ROOT, check=True, stdout=sys.stderr, timeout=3600)
    metadata = subprocess.run([cargo, "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True,
                              capture_output=True, text=True, timeout=60).stdout
    return os.path.join(json.loads(metadata)["target_directory"], "release", "segue")
