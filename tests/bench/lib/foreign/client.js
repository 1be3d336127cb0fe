// Requests with node: client.js URL CA SECONDS h1|h2. HTTP/2: four at a time on one session, and an event stream on it.
"use strict";
const fs = require("fs");
const https = require("https");
const http2 = require("http2");

const [base, file, seconds, protocol] = process.argv.slice(2);
const ca = fs.readFileSync(file);
const until = Date.now() + seconds * 1000;
const tally = { requests: 0, errors: [] };
const fail = (error) => tally.errors.push(String(error));
const pause = (time) => new Promise((done) => setTimeout(done, time));
const body = Buffer.alloc(20000, "x");

function check(status, length) {
  if (status !== 200 || length !== 1024) fail(`status ${status}, ${length} bytes`);
}

const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca });
const over1 = (upload) =>
  new Promise((done) => {
    const request = https.request(base + (upload ? "/upload" : "/1k"), { agent, method: upload ? "POST" : "GET" });
    request.setTimeout(15000, () => request.destroy(new Error("no answer in 15 s")));
    request.on("error", (error) => (fail(error), done()));
    request.on("response", (response) => {
      let length = 0;
      response.on("data", (data) => (length += data.length));
      response.on("error", (error) => (fail(error), done()));
      response.on("end", () => (check(response.statusCode, length), done()));
    });
    request.end(upload ? body : undefined);
  });

const over2 = (session) => (upload) =>
  new Promise((done) => {
    const stream = session.request(upload ? { ":path": "/upload", ":method": "POST" } : { ":path": "/1k" });
    let [status, length] = [0, 0];
    stream.setTimeout(15000, () => stream.destroy(new Error("no answer in 15 s")));
    stream.on("response", (fields) => (status = fields[":status"]));
    stream.on("data", (data) => (length += data.length));
    stream.on("error", (error) => (fail(error), done()));
    stream.on("end", () => (check(status, length), done()));
    stream.end(upload ? body : undefined);
  });

function follow(session) {
  const stream = session.request({ ":path": "/events" });
  let [text, next] = ["", 0];
  stream.setEncoding("utf8");
  stream.on("data", (data) => {
    text += data;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2), next += 1) {
      if (text.slice(0, end) !== `data: ${next}`) fail(`${text.slice(0, end)} came for event ${next}`);
    }
  });
  stream.on("error", fail);
  stream.on("close", () => Date.now() < until && fail("the event stream ended"));
  return () => (next > 0 ? stream.close() : fail("no event came"));
}

async function main() {
  let [ask, leave] = [over1, () => agent.destroy()];
  if (protocol === "h2") {
    const session = http2.connect(base, { ca });
    session.on("goaway", (code) => fail(`GOAWAY ${code}`));
    session.on("error", fail);
    session.on("close", () => Date.now() < until && fail("the session was closed"));
    const unfollow = follow(session);
    ask = over2(session);
    leave = () => (unfollow(), session.close());
  }
  const one = async () => {
    while (Date.now() < until) {
      await ask(tally.requests++ % 5 === 4);
      await pause(5);
    }
  };
  await Promise.all(Array.from({ length: protocol === "h2" ? 4 : 1 }, one));
  leave();
  console.log(JSON.stringify(tally));
  process.exit(0);
}
main();
