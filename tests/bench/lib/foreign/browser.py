"""A page in Chromium, by its driver: browser.py URL CA SECONDS. It has an event stream and a WebSocket, and asks."""

import hashlib
import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request


def main():
    url, ca, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    driver = subprocess.Popen(["chromedriver", "--port=9515"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with tempfile.TemporaryDirectory() as profile:
            page = Page(url + "/page", profile, key_of(ca))
            try:
                time.sleep(seconds)
                tally = page.script("return window.tally")
            finally:
                page.close()
    finally:
        driver.kill()
        driver.wait()
    for what in ("requests", "events", "messages"):
        if not tally[what]:
            tally["errors"].append(f"no {what}")
    print(json.dumps(tally))


def key_of(certificate):
    """What Chromium is told to trust: the hash of the key, as HPKP had it."""
    words = ["openssl", "x509", "-in", certificate, "-pubkey", "-noout"]
    pem = subprocess.run(words, check=True, capture_output=True, timeout=10).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=pem, check=True, capture_output=True,
                         timeout=10).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Page:
    """One session of WebDriver (W3C)."""

    def __init__(self, url, profile, key):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                 "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
                 f"--ignore-certificate-errors-spki-list={key}"]
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": flags}}
        until = time.monotonic() + 60
        while True:
            try:
                made = call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        self.path = f"/session/{made['sessionId']}"
        call("POST", f"{self.path}/url", {"url": url})

    def script(self, text):
        return call("POST", f"{self.path}/execute/sync", {"script": text, "args": []})

    def close(self):
        call("DELETE", self.path)


def call(method, path, body=None):
    request = urllib.request.Request("http://127.0.0.1:9515" + path, method=method,
                                     data=json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


main()
