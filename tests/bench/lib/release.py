"""The binary that is measured when none is named."""

import os
import subprocess

from machine import tool

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))


def build_segue():
    """The program of this checkout as packages have it, built when it is not up to date."""
    tool("cargo")
    build = [os.path.join(ROOT, "packaging", "build-release")]
    said = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True, timeout=3600).stdout
    return said.splitlines()[-1]


def lacks(binary):
    """Why a program of `build_segue` is slower than the packages' own; none when it is not."""
    try:
        with open(os.path.join(os.path.dirname(binary), "no-profile"), encoding="utf-8") as reason:
            return reason.read().strip()
    except OSError:
        return None
