// What happened: the list of events, and among them the reloads with what they changed.

import { byId, hide, keep, make, makeTime, say, sayTime } from "./dom.js";
import { clock, headOf, restOf } from "./words.js";

const MOST = 200;
const SHOWN = 20;
const RELOADS_SHOWN = 5;
const OF_RELOADS = /^(reload-|rolled-back|confirmed|upgrade|started|start-refused)/;
// a reload is told by its end
const BEGINNINGS = ["reload-started"];
const BAD = /(refused|died|hung|unfit|rolled-back|failed|-empty)$/;
const WARN = /(-down|-ejected|-dns|warning|-kept|cut|hurried|broken|dropped|limited|expires|not-issued|forgotten)$/;
const GOOD = /(-done|-serving|-up|-back|confirmed|upgraded|-over)$/;

let events = [];
let showAll = false;

/** The events that are known, oldest first. */
export function knownEvents() {
    return events;
}

/** Takes the list of events, and keeps those that came by themselves meanwhile. */
export function takeEvents(list) {
    const last = list.at(-1)?.at ?? "";
    const known = new Set(list.map(keyOf));
    events = [...list, ...events.filter((event) => event.at >= last && !known.has(keyOf(event)))];
    showEvents();
}

/** Adds an event. */
export function addEvent(event) {
    if (!events.slice(-20).some((other) => keyOf(other) === keyOf(event))) {
        events.push(event);
        events = events.slice(-MOST);
        showEvents();
    }
}

/** What the button below the list does. */
export function startEvents() {
    byId("event-more").addEventListener("click", () => {
        showAll = true;
        showEvents();
        byId("events").focus();
    });
}

/** Shows the lists. */
function showEvents() {
    const latest = [...events].reverse();
    const shown = showAll ? latest : latest.slice(0, SHOWN);
    say(byId("events-title"), events.length === 0 ? "Events: there are none" : "Events");
    keep(byId("event-list"), shown, keyOf, (event) => makeEvent(event, false), updateEvent);
    hide(byId("event-more"), shown.length === latest.length);
    say(byId("event-more"), `Show all ${latest.length}`);
    const reloads = latest.filter(({ event }) => OF_RELOADS.test(event) && !BEGINNINGS.includes(event));
    say(byId("reloads-title"), reloads.length === 0 ? "The last reloads: there are none" : "The last reloads");
    keep(byId("reload-list"), reloads.slice(0, RELOADS_SHOWN), keyOf, (event) => makeEvent(event, true), updateEvent);
}

function keyOf({ at, event, text }) {
    return `${at} ${event} ${text}`;
}

function makeEvent({ at, event, text }, open) {
    const time = makeTime();
    const word = make("strong", { class: "badge", "data-tone": toneOf(event) }, event);
    const item = make("li", {}, time, " ", word, " ", make("span", {}, headOf(text)));
    const rest = restOf(text);
    if (rest !== "") {
        const details = make("details", {}, make("summary", {}, "All of it"), make("pre", { tabindex: "0" }, rest));
        details.open = open;
        item.append(details);
    }
    item.time = time;
    item.at = at;
    return item;
}

function updateEvent(item) {
    sayTime(item.time, item.at, clock(item.at));
}

function toneOf(event) {
    return (
        [
            [BAD, "bad"],
            [WARN, "warn"],
            [GOOD, "good"],
        ].find(([words]) => words.test(event))?.[1] ?? "none"
    );
}
