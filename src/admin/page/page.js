// The status page of Segue: what runs, live. It only shows what the HTTP API says (api.js), and draws each status over
// the one before: no element is made anew while what it stands for is there.

import { listen, read, readSession } from "./api.js";
import { startChanges } from "./change.js";
import { addPoint, showHistory } from "./charts.js";
import { byId, mark, say } from "./dom.js";
import { addEvent, knownEvents, startEvents, takeEvents } from "./events.js";
import { showPools } from "./pools.js";
import { showProblems } from "./problems.js";
import { take } from "./rates.js";
import { showService } from "./service.js";
import { clock, now } from "./words.js";

let session = { may_change: false };
let last;

function start() {
    startChanges();
    startEvents();
    document.addEventListener("visibilitychange", show);
    listen({
        begin: async () => {
            session = await readSession();
        },
        open: readPast,
        status: (status, id) => {
            last = { ...status, at: now() };
            take(status, Number(id));
            sayLive("live", `Live, ${session.may_change ? `as ${session.user}` : "to read only"}`);
            show();
        },
        point: addPoint,
        event: (event) => {
            addEvent(event);
            show();
        },
        lost: (why) => {
            const then = last ? ` All figures are those of ${clock(last.at)}.` : "";
            sayLive("lost", `Not connected: ${why}. Trying again.${then}`);
        },
    });
}

/** What happened before this connection, and in the gap after the one before. */
async function readPast() {
    try {
        const [history, { events }] = await Promise.all([read("history"), read("events")]);
        showHistory(history);
        takeEvents(events);
        show();
    } catch (error) {
        sayLive("lost", `The last hour cannot be read: ${error.message}.`);
    }
}

/** Shows the last status, unless the page is out of sight. What cannot be shown must not pass for what is. */
function show() {
    if (!last || document.hidden) {
        return;
    }
    try {
        draw();
    } catch (error) {
        sayLive("lost", `This page cannot show the status: ${error.message}. segue status does in a terminal.`);
        throw error;
    }
}

function draw() {
    const began = performance.now();
    const problems = showProblems(last, knownEvents());
    document.title = problems === 0 ? "Segue" : `(${problems}) Segue`;
    showPools(last, session);
    showService(last);
    performance.measure("segue-update", { start: began });
}

function sayLive(state, text) {
    mark(byId("live"), "state", state);
    say(byId("live"), text);
}

start();
