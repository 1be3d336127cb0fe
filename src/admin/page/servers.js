// The states of servers and pools in words, for their tables and for the list of problems.

import { clock, until, user } from "./words.js";

// by how much a server needs attention: what is sorted first
const STATES = ["down", "ejected", "waiting for DNS", "unknown", "maint", "drain", "removed", "up"];
const TONES = {
    up: "good",
    down: "bad",
    ejected: "warn",
    "waiting for DNS": "warn",
    maint: "note",
    drain: "note",
};

/** The generation that serves: the last one, where another is about to be parked. */
export function serving(status) {
    return status.generations.findLast((one) => one.state === "serving");
}

/** What its worker says of itself; for the moment before it says anything, what that of another generation does. */
export function workerOf(status) {
    return serving(status)?.worker ?? status.generations.findLast((one) => one.worker)?.worker;
}

/** The pools of that worker. */
export function poolsOf(status) {
    return workerOf(status)?.pools ?? [];
}

/** What an operator set of a server: its `state` or its `weight`. */
export function adminOf(server, field) {
    return (server.admin ?? []).find((one) => one.field === field);
}

/** The state of a server in one word; what an operator set comes before what checks found. */
export function stateOf(server) {
    if (server.removed) {
        return "removed";
    }
    return adminOf(server, "state")?.value ?? (server.state === "up" && server.ejected ? "ejected" : server.state);
}

/** Where a state stands among all: the smaller, the worse. */
export function rankOf(state) {
    const at = STATES.indexOf(state);
    return at < 0 ? STATES.indexOf("unknown") : at;
}

/** The tone that a state is shown in: `good`, `bad`, `warn`, `note` or none. */
export function toneOf(state) {
    return TONES[state] ?? "none";
}

/** Since when a server is in its state. */
export function sinceOf(server) {
    switch (stateOf(server)) {
        case "ejected":
            return server.ejected.since;
        case "maint":
        case "drain":
            return adminOf(server, "state").since;
        default:
            return server.since;
    }
}

/** Why it is in its state, in words; empty when it is up and takes requests. */
export function reasonOf(server) {
    const set = adminOf(server, "state");
    if (server.removed) {
        return "a reload took it out of the configuration; what is open goes on";
    }
    if (set) {
        const health = server.state === "up" ? "" : `; checks say: ${server.state}`;
        return setBy(set) + health;
    }
    if (server.state === "up" && server.ejected) {
        return `${server.ejected.reason}; tried again in ${until(server.ejected.until)}`;
    }
    if (server.state === "up") {
        return weightOf(server) > 0 ? "" : "takes nothing, since its weight is 0";
    }
    return server.history?.at(-1)?.reason ?? "";
}

/** What an operator set: which one, why and for how long. */
export function setBy({ uid, command, reason, until: end }) {
    const why = reason ? `: ${reason}` : "";
    const how = end ? `, until ${clock(end)}` : "";
    return `set by ${user(uid, command)}${why}${how}`;
}

/** The weight of a server: what an operator set, else that of the configuration. */
export function weightOf(server) {
    return Number(adminOf(server, "weight")?.value ?? server.weight);
}

/** Whether requests go to a server. */
export function takesRequests(server) {
    return stateOf(server) === "up" && weightOf(server) > 0;
}

/** "3 of 4 servers up". */
export function upOf(pool) {
    const servers = pool.servers.filter((server) => !server.removed);
    return `${pool.servers_up} of ${servers.length} ${servers.length === 1 ? "server" : "servers"} up`;
}

/** "12 down, 3 ejected". */
export function countedStates(servers) {
    const counts = new Map();
    servers.forEach((server) => counts.set(stateOf(server), (counts.get(stateOf(server)) ?? 0) + 1));
    const states = [...counts].sort(([one], [other]) => rankOf(one) - rankOf(other));
    return states.map(([state, count]) => `${count} ${state}`).join(", ");
}
