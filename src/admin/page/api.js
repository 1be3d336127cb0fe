// The HTTP API of Segue, as far as this page uses it. Every path is relative to the page.

import { setClock } from "./words.js";

const TIMEOUT = 10_000;
// without a status for so long, the connection is taken for dead
const SILENCE = 10_000;
const AGAIN = 3_000;

let session = { may_change: false, token: "" };

/** What this user may do, and the token of changes. */
export async function readSession() {
    session = await read("session");
    return session;
}

/** The answer to a request for `v1/` and this name. */
export async function read(name) {
    const response = await fetch(urlOf(name), { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    setClock(response.headers.get("Date"));
    if (!response.ok) {
        throw new Error(`Segue answered ${response.status} to v1/${name}`);
    }
    return response.json();
}

/** Changes a server, and returns what it is now; an error has the words of Segue. */
export async function change(pool, server, body) {
    let response = await post(pool, server, body);
    if (response.status === 403) {
        // the session may have ended with the generation that it began in
        await readSession();
        response = await post(pool, server, body);
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
        throw new Error(answer.error ?? `Segue answered ${response.status}`);
    }
    return answer;
}

function post(pool, server, body) {
    const name = `pools/${encodeURIComponent(pool)}/servers/${encodeURIComponent(server)}`;
    return fetch(urlOf(name), {
        method: "POST",
        headers: { "Content-Type": "application/json", "Segue-Token": session.token },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(TIMEOUT),
    });
}

/**
 * Where `v1/` and this name are. The base of the document keeps a user and password that stood in the address, and a
 * browser makes no request to a URL with them; `location` is without.
 */
function urlOf(name) {
    return new URL(`v1/${name}`, location.href);
}

/**
 * Listens to `v1/live` for as long as the page is open. `hear` has a function for each kind of event, which gets its
 * data and its id; `hear.begin` is called before each connection, and there is none while its promise fails; `hear.open` when
 * there is one, and `hear.lost` with the reason when it is lost.
 */
export function listen(hear) {
    let source;
    let timer;
    const lose = (why) => {
        source?.close();
        hear.lost(why);
        clearTimeout(timer);
        timer = setTimeout(connect, AGAIN);
    };
    const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => lose("nothing came for ten seconds"), SILENCE);
    };
    const connect = async () => {
        try {
            await hear.begin();
        } catch (error) {
            return lose(error.message);
        }
        source = new EventSource(urlOf("live"));
        source.onopen = hear.open;
        source.onerror = () => lose("the connection broke");
        for (const kind of ["status", "point", "event"]) {
            source.addEventListener(kind, (event) => {
                wait();
                hear[kind](JSON.parse(event.data), event.lastEventId);
            });
        }
        return wait();
    };
    connect();
}
