// The pools: figures of each, and its servers as a table.

import { askToChange } from "./change.js";
import { byId, hide, keep, make, makeTime, mark, say, sayTime } from "./dom.js";
import { below, count, perSecond, quantiles, sum } from "./rates.js";
import {
    adminOf,
    countedStates,
    poolsOf,
    rankOf,
    reasonOf,
    setBy,
    sinceOf,
    stateOf,
    toneOf,
    upOf,
    weightOf,
} from "./servers.js";
import { makeTable } from "./table.js";
import { ago, clock, micros, now, rate, whole } from "./words.js";

// so many servers are shown without asking; a pool of more is closed, and has a filter
const MOST_OPEN = 20;
// a check is said to be old after so long
const OLD = 60_000;
const NO_FAULT = ["responded", "abandoned"];

/** Shows the pools of a status; `session` says whether this user may change servers. */
export function showPools(status, session) {
    const pools = poolsOf(status);
    say(byId("pools-title"), pools.length === 0 ? "Pools: there are none" : "Pools");
    keep(
        byId("pool-list"),
        pools,
        // the buttons of changes are there or not from the beginning
        (pool) => `${session.may_change} ${pool.name}`,
        (pool) => makePool(pool, session),
        updatePool,
    );
}

function makePool(pool, session) {
    const title = `Servers of ${pool.name}`;
    const element = make("section", { class: "pool", "aria-label": `Pool ${pool.name}` });
    element.up = make("span", { class: "up" });
    element.figures = ["Requests/s", "5xx/s", "Retries/s", "p50", "p99", "Connect p99", "Response p99"].map(makeFigure);
    element.table = makeTable(title, columnsOf(session));
    element.table.element.className = session.may_change ? "servers changes" : "servers";
    element.summary = make("summary");
    element.search = makeSearch(element, pool);
    element.details = make("details", {}, element.summary, element.search, element.table.element);
    element.details.open = pool.servers.length <= MOST_OPEN;
    element.details.addEventListener("toggle", () => showServers(element));
    const figures = make("dl", { class: "figures" }, ...element.figures.map((figure) => figure.parentElement));
    element.append(make("h3", {}, pool.name, " ", element.up), figures, element.details);
    return element;
}

/** A term with its figure; returns the element of the figure. */
function makeFigure(term) {
    const figure = make("dd");
    make("div", {}, make("dt", {}, term), figure);
    return figure;
}

function makeSearch(element, pool) {
    const field = make("input", { type: "search", "aria-label": `Filter servers of ${pool.name}` });
    const found = make("output");
    const label = make("label", {}, make("span", {}, "Filter by name, address, state or reason"), field);
    field.addEventListener("input", () => {
        const words = field.value.toLowerCase().split(/\s+/);
        const shown = element.table.filter((row) => words.every((word) => textOf(row.server).includes(word)));
        say(found, field.value === "" ? "" : `${whole(shown)} of ${whole(element.rows.length)}`);
    });
    return make("p", { class: "search" }, label, found);
}

/** What a server can be found by. */
function textOf(server) {
    const texts = [server.name, ...server.addresses, stateOf(server), reasonOf(server), server.check?.result ?? ""];
    return texts.join(" ").toLowerCase();
}

function updatePool(element, pool) {
    mark(element, "tone", pool.servers_up === 0 ? "bad" : "none");
    say(element.up, `${upOf(pool)}, ${pool.balance}`);
    sayFigures(element.figures, pool);
    say(element.summary, `Servers: ${countedStates(pool.servers) || "none"}`);
    hide(element.search, pool.servers.length <= MOST_OPEN);
    element.rows = pool.servers.map((server) => ({ key: server.name, pool, server }));
    showServers(element);
}

/** Updates the rows, if they are to be seen. */
function showServers(element) {
    if (element.details.open && element.rows) {
        element.table.show(element.rows);
    }
}

function sayFigures(figures, { name, servers }) {
    const exchanges = ["pools", name, "exchanges"];
    const latency = (phase) => servers.map((server) => ["pools", name, "servers", server.name, "latency", phase]);
    const values = [
        rate(perSecond((counters) => sum(counters, exchanges))),
        rate(perSecond((counters) => count(counters, ...exchanges, "5xx"))),
        rate(perSecond((counters) => count(counters, "pools", name, "retries"))),
        ...quantiles(latency("whole"), [0.5, 0.99], micros),
        ...quantiles(latency("connect"), [0.99], micros),
        ...quantiles(latency("response"), [0.99], micros),
    ];
    figures.forEach((figure, at) => say(figure, values[at]));
    mark(figures[1], "tone", ["–", "0"].includes(values[1]) ? "none" : "bad");
}

function columnsOf(session) {
    const rateOf = (read) => (row) =>
        perSecond((counters) => read(below(counters, "pools", row.pool.name, "servers", row.server.name)));
    const requests = rateOf((tree) => sum(tree, ["exchanges"]));
    const errors = rateOf((tree) => count(tree, "exchanges", "5xx"));
    const failures = rateOf((tree) => sum(tree, ["attempts"], NO_FAULT));
    const number = (title, value, text) => ({
        title,
        number: true,
        sort: (row) => value(row) ?? -1,
        text: (row) => text(value(row)),
    });
    const columns = [
        { title: "Server", head: true, sort: (row) => row.server.name, build: buildName },
        { title: "State", sort: (row) => rankOf(stateOf(row.server)), build: buildState },
        number("Requests/s", requests, rate),
        number("5xx/s", errors, rate),
        number("Failed/s", failures, rate),
        number("Open", (row) => row.server.open_attempts, whole),
        { title: "Weight", number: true, sort: (row) => weightOf(row.server), build: buildWeight },
        { title: "Check", sort: (row) => row.server.check?.took_us ?? -1, build: buildCheck },
    ];
    return session.may_change ? [...columns, { title: "Change", build: buildButtons }] : columns;
}

function buildName(cell) {
    const name = make("span", { class: "name" });
    const more = make("span", { class: "hint" });
    cell.append(name, more);
    return ({ server }) => {
        say(name, server.name);
        const others = server.addresses.filter((address) => address !== server.name);
        say(more, [server.backup ? "backup" : "", ...others].filter(Boolean).join(", "));
    };
}

function buildState(cell) {
    const state = make("strong", { class: "badge" });
    const time = makeTime();
    const why = make("span", { class: "why" });
    cell.append(state, " ", time, why);
    return ({ server }) => {
        const word = stateOf(server);
        mark(state, "tone", toneOf(word));
        say(state, word);
        sayTime(time, sinceOf(server), `${ago(sinceOf(server))}, since ${clock(sinceOf(server))}`);
        const weight = adminOf(server, "weight");
        say(why, [reasonOf(server), weight ? `weight ${setBy(weight)}` : ""].filter(Boolean).join("; "));
    };
}

function buildWeight(cell) {
    const weight = make("span");
    const more = make("span", { class: "hint" });
    cell.append(weight, more);
    return ({ server }) => {
        const set = adminOf(server, "weight");
        say(weight, whole(weightOf(server)));
        say(more, set ? `instead of ${server.weight}` : "");
    };
}

function buildCheck(cell) {
    const result = make("span");
    const took = make("span", { class: "hint" });
    cell.append(result, took);
    return ({ server: { check } }) => {
        mark(result, "tone", check?.healthy === false ? "bad" : "none");
        say(result, check?.result ?? "none");
        const old = check && now() - Date.parse(check.at) > OLD;
        say(took, check ? `took ${micros(check.took_us)}${old ? `, ${ago(check.at)} ago` : ""}` : "");
    };
}

function buildButtons(cell, first) {
    const { name } = first.server;
    const group = make("div", { class: "buttons", role: "group", "aria-label": `Change ${name}` });
    let latest = first;
    for (const word of ["Drain", "Maint", "Ready", "Weight"]) {
        const button = make("button", { type: "button", "aria-label": `${word}: ${name}` }, word);
        button.addEventListener("click", () => askToChange(word.toLowerCase(), latest.pool, latest.server));
        group.append(button);
    }
    cell.append(group);
    return (row) => {
        latest = row;
        hide(group, row.server.removed);
    };
}
