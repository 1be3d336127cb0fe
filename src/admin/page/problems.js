// What is wrong, in words, the worst first: what an operator reads before anything else.

import { byId, keep, make, makeTime, mark, say, sayTime, whisper } from "./dom.js";
import { count, inMinute, sum } from "./rates.js";
import { countedStates, poolsOf, rankOf, reasonOf, serving, sinceOf, stateOf, workerOf } from "./servers.js";
import { ago, clock, headOf, lasting, now, plural, restOf, until, whole } from "./words.js";

const LEVELS = ["bad", "warn", "note"];
const LEVEL_WORDS = { bad: "Error", warn: "Warning", note: "Note" };
// servers of one pool that are told one by one
const MOST_SERVERS = 5;
// changes that screen readers are told at once
const MOST_NEWS = 4;
// a pool fails when so large a share of its exchanges ends with 5xx, and so many do
const FAILING_SHARE = 0.05;
const FAILING_COUNT = 10;
const RELOAD_ENDS =
    /^(reload-(done|serving|unchanged|refused)|rolled-back|confirmed|upgraded|upgrade-refused|started)$/;
const RELOAD_FAULTS = /(refused|rolled-back)$/;
const NOTE_OF_RELOAD = /^(reload|rolled back|start) /;
const WORKER_FAULTS = ["worker-died", "worker-hung", "worker-unfit"];
// a generation that serves has said something of itself after so long
const SILENT = 10_000;
const RECENT = 15 * 60 * 1000;

let known;

/**
 * Shows the problems, and tells screen readers which ones are new or gone. Returns how many there are, notes left out.
 */
export function showProblems(status, events) {
    const problems = problemsOf(status, events);
    problems.sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level));
    const serious = problems.filter((problem) => problem.level !== "note" && !problem.isSum).length;
    say(byId("problems-title"), serious === 0 ? "Nothing is wrong" : `What is wrong: ${plural(serious, "problem")}`);
    mark(byId("problems"), "tone", problems[0]?.level ?? "good");
    const shown = problems.filter((problem) => !problem.isFolded);
    keep(byId("problem-list"), shown, (problem) => problem.key, makeProblem, updateProblem);
    tell(problems);
    return serious;
}

function makeProblem() {
    const item = make("li");
    item.level = make("strong", { class: "badge" });
    item.what = make("span");
    item.time = makeTime();
    item.more = make("pre", { tabindex: "0" });
    item.detail = make("details", {}, make("summary", {}, "All of it"), item.more);
    item.append(item.level, " ", item.what, " ", item.time, item.detail);
    return item;
}

function updateProblem(item, { level, text, since, detail }) {
    mark(item.level, "tone", level);
    say(item.level, LEVEL_WORDS[level]);
    say(item.what, text);
    item.time.hidden = !since;
    if (since) {
        sayTime(item.time, since, `since ${clock(since)}, ${ago(since)}`);
    }
    item.detail.hidden = !detail;
    say(item.more, detail ?? "");
}

function tell(all) {
    const problems = all.filter((problem) => !problem.isSum);
    const before = known;
    known = new Map(problems.map((problem) => [problem.key, problem.text]));
    if (!before) {
        return;
    }
    const added = problems.filter((problem) => !before.has(problem.key)).map((problem) => problem.text);
    const gone = [...before].filter(([key]) => !known.has(key)).map(([, text]) => `No longer: ${text}`);
    const news = [...added, ...gone];
    if (news.length > 0) {
        const more = news.length > MOST_NEWS ? ` And ${plural(news.length - MOST_NEWS, "more change")}.` : "";
        whisper(news.slice(0, MOST_NEWS).join(" ") + more);
    }
}

function problemsOf(status, events) {
    const problems = [];
    const add = (level, key, text, more = {}) => problems.push({ level, key, text, ...more });
    ofService(status, add);
    ofReloads(status, events, add);
    poolsOf(status).forEach((pool) => ofPool(pool, add));
    poolsOf(status).forEach((pool) => ofServers(pool, add));
    (workerOf(status)?.certificates ?? []).forEach((certificate) => ofCertificate(certificate, add));
    const dropped = inMinute((counters) => count(counters, "records_dropped"));
    if (dropped > 0) {
        add("warn", "dropped", `The journal is behind: ${plural(dropped, "record")} given up in the last minute.`);
    }
    return problems;
}

function ofService(status, add) {
    const generation = serving(status);
    if (!generation) {
        add("bad", "not-serving", "No generation serves: nothing accepts connections.");
    } else if (!generation.worker && generation.since_ms > SILENT) {
        add("warn", "silent", `Generation ${generation.generation} has not said anything of itself yet.`);
    }
    if (generation && generation.confirm_within_ms !== null && generation.confirm_within_ms !== undefined) {
        const left = lasting(generation.confirm_within_ms);
        const what = `Generation ${generation.generation} goes back to the one before it in ${left}`;
        const text = `${what}, unless it is confirmed: segue reload --confirmed`;
        add("warn", "confirm", text);
    }
}

/** The last reload, if it failed, and workers that ended by themselves not long ago. */
function ofReloads(status, events, add) {
    const last = events.findLast((one) => RELOAD_ENDS.test(one.event));
    const failed = last && RELOAD_FAULTS.test(last.event);
    if (failed) {
        add("bad", `reload ${last.at}`, headOf(last.text), { since: last.at, detail: restOf(last.text) });
    }
    // of a reload that failed, the note says in short what its event says
    const ofReload = NOTE_OF_RELOAD.test(status.note ?? "");
    if (status.note && !(failed && ofReload)) {
        add(ofReload ? "bad" : "warn", "note", headOf(status.note), { detail: restOf(status.note) });
    }
    for (const one of events) {
        if (WORKER_FAULTS.includes(one.event) && now() - Date.parse(one.at) < RECENT) {
            add("warn", `worker ${one.at}`, headOf(one.text), { since: one.at, detail: restOf(one.text) });
        }
    }
}

function ofPool(pool, add) {
    const key = `pool ${pool.name}`;
    if (pool.servers_up === 0) {
        add("bad", `${key} empty`, `Pool ${pool.name} has no server that is up: its exchanges are answered 503.`);
    }
    const path = ["pools", pool.name, "exchanges"];
    const failures = inMinute((counters) => count(counters, ...path, "5xx"));
    const exchanges = inMinute((counters) => sum(counters, path));
    if (failures >= FAILING_COUNT && failures >= exchanges * FAILING_SHARE) {
        const share = Math.round((100 * failures) / exchanges);
        const numbers = `${whole(failures)} of ${whole(exchanges)}`;
        const text = `Pool ${pool.name}: ${share} % of the exchanges of the last minute ended with 5xx, ${numbers}.`;
        add("warn", `${key} fails`, text);
    }
}

function ofServers(pool, add) {
    const bad = pool.servers.filter((server) => !["up", "removed"].includes(stateOf(server)));
    bad.sort(
        (one, other) => rankOf(stateOf(one)) - rankOf(stateOf(other)) || sinceOf(other).localeCompare(sinceOf(one)),
    );
    bad.forEach((server, at) => ofServer(pool, server, at >= MOST_SERVERS, add));
    if (bad.length > MOST_SERVERS) {
        const states = countedStates(bad.slice(MOST_SERVERS));
        const text = `Pool ${pool.name}, further servers: ${states}. Its table has all.`;
        add(levelOf(stateOf(bad[MOST_SERVERS])), `pool ${pool.name} more`, text, { isSum: true });
    }
}

function ofServer(pool, server, isFolded, add) {
    const state = stateOf(server);
    const name = `${pool.name}/${server.name}`;
    const reason = reasonOf(server);
    const is = state === "drain" ? "drains" : state === "maint" ? "is in maintenance" : `is ${state}`;
    const text = `Server ${name} ${state === "waiting for DNS" ? "waits for DNS" : is}${reason && `: ${reason}`}.`;
    // the moment of the next trial moves on, but it is the same problem
    add(levelOf(state), `server ${name} ${state}`, text, { since: sinceOf(server), isFolded });
}

function levelOf(state) {
    return { down: "bad", ejected: "warn", "waiting for DNS": "warn" }[state] ?? "note";
}

function ofCertificate(certificate, add) {
    const host = certificate.hosts[0] ?? "*";
    const news = newsOf(certificate, host);
    const { problem, acme } = certificate;
    if (news) {
        const level = certificate.state === "expires" ? "warn" : "bad";
        add(level, `certificate ${host}`, problem ? `${news}: ${headOf(problem)}` : `${news}.`, {
            detail: restOf(problem ?? ""),
        });
    } else if (problem) {
        add(
            "warn",
            `certificate ${host}`,
            `The files of the certificate of ${host} cannot be used: ${headOf(problem)}`,
        );
    }
    if (acme?.order === "failed") {
        const again = acme.next ? `, tried again in ${until(acme.next)}` : "";
        add("warn", `order ${host}`, `The certificate of ${host} was not issued${again}: ${acme.error ?? ""}`);
    }
}

function newsOf({ state, days }, host) {
    switch (state) {
        case "missing":
            return `Site ${host} has no certificate`;
        case "expired":
            return `The certificate of ${host} has expired`;
        case "early":
            return `The certificate of ${host} is not valid yet`;
        case "expires":
            return `The certificate of ${host} expires ${days === 0 ? "within a day" : `in ${plural(days, "day")}`}`;
        default:
            return undefined;
    }
}
