// Changes of a server by an operator: the dialog that asks for them, and what came of them.

import { announce, byId, hide, say } from "./dom.js";
import { change as send } from "./api.js";
import { adminOf, stateOf, takesRequests } from "./servers.js";
import { plural } from "./words.js";

const TITLES = { drain: "Drain", maint: "Maint", ready: "Ready", weight: "Weight" };

let asked;

/** Opens the dialog for a change: `drain`, `maint`, `ready` or `weight`. */
export function askToChange(change, pool, server) {
    asked = { change, pool, server };
    const name = `${pool.name}/${server.name}`;
    say(byId("change-title"), `${TITLES[change]}: ${name}`);
    say(byId("change-what"), whatOf(change, server));
    say(byId("change-do"), TITLES[change]);
    say(byId("change-last"), `No other server of ${pool.name} is up: its exchanges will be answered 503.`);
    hide(byId("change-last"), !isLast(change, pool, server));
    hide(byId("change-weight-field"), change !== "weight");
    hide(byId("change-for-field"), change === "ready");
    hide(byId("change-error"), true);
    byId("change-form").reset();
    byId("change-weight").value = change === "weight" ? (adminOf(server, "weight")?.value ?? "") : "";
    byId("change").showModal();
    byId(change === "weight" ? "change-weight" : "change-reason").focus();
}

/** What the buttons of the dialog do. */
export function startChanges() {
    byId("change-form").addEventListener("submit", (event) => {
        event.preventDefault();
        submit();
    });
    byId("change-cancel").addEventListener("click", () => byId("change").close());
}

function whatOf(change, server) {
    const open = plural(server.open_attempts, "attempt");
    switch (change) {
        case "drain":
            return `It takes nothing new. What is open with it now goes on: ${open}.`;
        case "maint":
            return `It takes nothing new, and is not checked. What is open with it now goes on: ${open}.`;
        case "ready":
            return `Drain and maint are undone: it takes requests as its health says. It is ${stateOf(server)} now.`;
        default:
            return `Its share of the requests; the configuration says ${server.weight}. With 0 it takes nothing new.`;
    }
}

function isLast(change, pool, server) {
    const takesAway = change === "drain" || change === "maint";
    return (
        takesAway && takesRequests(server) && !pool.servers.some((other) => other !== server && takesRequests(other))
    );
}

async function submit() {
    const { change, pool, server } = asked;
    const [button, problem] = [byId("change-do"), byId("change-error")];
    hide(problem, true);
    button.disabled = true;
    try {
        const done = await send(pool.name, server.name, bodyOf(change));
        byId("change").close();
        announce(resultOf(change, done));
    } catch (error) {
        say(problem, error.message);
        hide(problem, false);
        announce(`Not done: ${error.message}`, true);
    } finally {
        button.disabled = false;
    }
}

function bodyOf(change) {
    const body = {};
    if (change === "weight") {
        const weight = byId("change-weight").value;
        body.weight = weight === "" ? null : Number(weight);
    } else {
        body.state = change;
    }
    const [reason, time] = [byId("change-reason").value.trim(), byId("change-for").value.trim()];
    if (reason !== "") {
        body.reason = reason;
    }
    if (time !== "" && change !== "ready") {
        body.for = time;
    }
    return body;
}

function resultOf(change, { pool, server, state, open, note }) {
    const what = change === "weight" ? "its weight is changed" : (state ?? "ready");
    return `${pool}/${server}: ${what}, ${plural(open ?? 0, "attempt")} open.${note ? ` ${note}` : ""}`;
}
