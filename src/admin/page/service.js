// What there is of the service itself: generations, listeners, certificates and the journal.

import { byId, hide, make, mark, say } from "./dom.js";
import { below, count, perSecond, quantiles, sum } from "./rates.js";
import { workerOf } from "./servers.js";
import { makeTable } from "./table.js";
import { bytes, clock, day, lasting, micros, plural, rate, short, whole } from "./words.js";

const TONES = {
    serving: "good",
    dying: "bad",
    good: "good",
    expires: "warn",
    expired: "bad",
    early: "bad",
    missing: "bad",
};

let tables;

/** Shows all of it. */
export function showService(status) {
    tables ??= makeTables();
    say(byId("line"), status.line);
    tables.generations.show(status.generations.map((one) => ({ key: String(one.generation), one })).reverse());
    tables.listeners.show(listenersOf(status));
    const certificates = workerOf(status)?.certificates ?? [];
    tables.certificates.show(certificates.map((one) => ({ key: one.hosts.join(" "), one })));
    hide(tables.certificates.element, certificates.length === 0);
    say(byId("certificates-title"), certificates.length === 0 ? "Certificates: there are none" : "Certificates");
    showJournal(status.counters);
    const { version, pid } = status.supervisor;
    say(byId("about"), `Segue ${version}, process ${pid}. Times are those of this browser's time zone.`);
}

function makeTables() {
    const place = (id, table) => {
        byId(id).append(table.element);
        return table;
    };
    return {
        generations: place("generation-table", makeTable("Generations", generationColumns())),
        listeners: place("listener-table", makeTable("Listeners", listenerColumns())),
        certificates: place("certificate-table", makeTable("Certificates", certificateColumns())),
    };
}

/** A column with a word in a tone and a line below it. */
function badgeColumn(title, word, more) {
    const build = (cell) => {
        const badge = make("strong", { class: "badge" });
        const why = make("span", { class: "why" });
        cell.append(badge, why);
        return ({ one }) => {
            mark(badge, "tone", TONES[word(one)] ?? "none");
            say(badge, word(one));
            say(why, more(one));
        };
    };
    return { title, build };
}

function generationColumns() {
    return [
        { title: "Generation", head: true, text: ({ one }) => String(one.generation) },
        badgeColumn("State", (one) => one.state, keepsOf),
        { title: "State for", number: true, text: ({ one }) => lasting(one.since_ms) },
        { title: "Age", number: true, text: ({ one }) => lasting(one.age_ms) },
        { title: "Connections", number: true, text: ({ one }) => whole(one.connections) },
        { title: "Memory", number: true, text: ({ one }) => bytes(one.memory) },
        { title: "Version", text: ({ one }) => one.version ?? "–" },
        { title: "Process", number: true, text: ({ one }) => String(one.pid) },
        {
            title: "Configuration",
            wide: true,
            text: ({ one }) => [one.summary, one.config_hash].filter(Boolean).join("; ") || "–",
        },
    ];
}

/** What keeps a generation that accepts no more, or what it waits for. */
function keepsOf({ confirm_within_ms: confirm, worker }) {
    const oldest = worker?.oldest ?? [];
    const kept = oldest.slice(0, 3).map(({ what, age_ms: age }) => `${what}, ${lasting(age)}`);
    const more = oldest.length > 3 ? [`and ${oldest.length - 3} more`] : [];
    const waits = Number.isFinite(confirm) ? [`goes back in ${lasting(confirm)} unless it is confirmed`] : [];
    return [...waits, ...kept, ...more].join("; ");
}

function listenersOf({ connections, counters }) {
    const counted = below(counters, "listeners") ?? {};
    const open = connections?.listeners ?? {};
    const names = Object.keys(open).length > 0 ? Object.keys(open) : Object.keys(counted);
    // of one listener alone, the connections stand in the sum
    return names.map((name) => ({
        key: name,
        name,
        open: below(open, name) ?? (names.length === 1 ? connections : undefined),
    }));
}

function listenerColumns() {
    const open = (title, key) => ({ title, number: true, text: (row) => whole(row.open?.[key]) });
    const grows = (title, read, text = rate) => ({
        title,
        number: true,
        text: (row) => text(perSecond((counters) => read(below(counters, "listeners", row.name)))),
    });
    const latency = (title, share) => ({
        title,
        number: true,
        text: (row) => quantiles([["listeners", row.name, "latency"]], [share], micros)[0],
    });
    const size = (value) => (value === undefined ? "–" : `${short(value)}${value < 1e4 ? " " : ""}B`);
    return [
        { title: "Listener", head: true, text: (row) => row.name },
        open("Open", "open"),
        open("Idle", "idle"),
        open("Exchanges", "exchanges"),
        open("Upgrades", "upgrades"),
        open("TCP", "tcp"),
        grows("Accepted/s", (tree) => count(tree, "connections", "accepted")),
        grows("Requests/s", (tree) => sum(tree, ["exchanges"])),
        grows("5xx/s", (tree) => count(tree, "exchanges", "5xx")),
        grows("Bytes in/s", (tree) => count(tree, "bytes_in"), size),
        grows("Bytes out/s", (tree) => count(tree, "bytes_out"), size),
        latency("p50", 0.5),
        latency("p99", 0.99),
    ];
}

function certificateColumns() {
    return [
        { title: "Hosts", head: true, text: ({ one }) => one.hosts.join(", ") },
        badgeColumn(
            "State",
            (one) => one.state,
            (one) => one.problem ?? orderOf(one),
        ),
        {
            title: "Expires",
            text: ({ one }) => (one.until ? `${day(one.until)}, in ${plural(one.days ?? 0, "day")}` : "–"),
        },
        { title: "Issuer", text: ({ one }) => one.issuer ?? "–" },
        { title: "Key", text: ({ one }) => one.key ?? "–" },
        { title: "File", wide: true, text: ({ one }) => one.file ?? "–" },
    ];
}

function orderOf({ acme }) {
    switch (acme?.order) {
        case "failed":
            return `not issued: ${acme.error ?? ""}`;
        case "ordering":
            return "ordered now";
        case "waiting":
            return acme.next ? `renewed on ${clock(acme.next)}` : "";
        default:
            return "";
    }
}

function showJournal(counters) {
    const dropped = count(counters, "records_dropped");
    const given =
        dropped === 0
            ? "No record was"
            : `The journal was behind, and ${plural(dropped, "record was", "records were")}`;
    const limited = Object.entries(below(counters, "records_limited") ?? {}).filter(([, left]) => left > 0);
    const left = limited.map(([reason, many]) => `${whole(many)} ${reason}`).join(", ");
    const bounded = left === "" ? "" : ` Left out by the bounds of [log]: ${left}.`;
    say(byId("journal-text"), `${given} given up since the service started.${bounded}`);
}
