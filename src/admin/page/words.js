// Values in words: numbers, sizes, durations and moments.

const OF_PAGE = "page, user ";
const NOTHING = "–";
const UNITS = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
];
const grouped = new Intl.NumberFormat("en");
const ofDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const ofHour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const ofMonth = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const ofYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

// how far the clock of the server is ahead of this one, in milliseconds
let ahead = 0;
// moments of today in words, since they are asked for again with each status
let clocks = { date: "", texts: new Map(), until: 0 };

/** Takes the time of the server from the field Date of a response, which has whole seconds. */
export function setClock(date) {
    const offset = Date.parse(date) - Date.now();
    // a second of rounding and some of the network are no difference
    ahead = Math.abs(offset) > 3000 ? offset : 0;
}

/** The time of the server, in milliseconds since 1970. */
export function now() {
    return Date.now() + ahead;
}

/** "3 servers", "1 server". */
export function plural(count, noun, nouns = `${noun}s`) {
    return `${whole(count)} ${count === 1 ? noun : nouns}`;
}

/** A whole number. */
export function whole(value) {
    if (value === undefined || value === null) {
        return NOTHING;
    }
    const rounded = Math.round(value);
    return rounded < 1000 ? String(rounded) : grouped.format(rounded);
}

/** A number per second: two digits at least, so that little is not nothing. */
export function rate(value) {
    if (value === undefined) {
        return NOTHING;
    }
    return value > 0 && value < 9.95 ? value.toFixed(1) : short(value);
}

/** A number of five digits or more in thousands or millions. */
export function short(value) {
    if (value < 1e4) {
        return whole(value);
    }
    const [size, unit] = value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return `${(value / size).toFixed(1)} ${unit}`;
}

/** Bytes, in units of 1024. */
export function bytes(value) {
    if (value === undefined || value === null) {
        return NOTHING;
    }
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
    const size = value / 1024 ** power;
    return `${power > 0 && size < 99.95 ? size.toFixed(1) : Math.round(size)} ${units[power]}`;
}

/** Microseconds as a duration. */
export function micros(value) {
    if (value < 1000) {
        return `${Math.round(value)} µs`;
    }
    const [size, unit] = value < 1e6 ? [value / 1e3, "ms"] : [value / 1e6, "s"];
    return `${size < 9.95 ? Number(size.toFixed(1)) : Math.round(size)} ${unit}`;
}

/** Milliseconds as a duration in its two greatest units: "3 h 5 min". */
export function lasting(millis) {
    let seconds = Math.max(0, Math.round(millis / 1000));
    const at = Math.max(
        0,
        UNITS.findIndex(([, size]) => seconds >= size),
    );
    if (seconds === 0) {
        return "0 s";
    }
    const [unit, size] = UNITS[at];
    const most = `${Math.floor(seconds / size)} ${unit}`;
    seconds %= size;
    const [lesser, lesserSize] = UNITS[at + 1] ?? ["", Infinity];
    const rest = Math.floor(seconds / lesserSize);
    // seconds count below ten minutes alone
    return rest === 0 || (lesser === "s" && !/^\d min/.test(most)) ? most : `${most} ${rest} ${lesser}`;
}

/** How long ago a moment was, RFC 3339. */
export function ago(moment) {
    return lasting(now() - Date.parse(moment));
}

/** How long it is until a moment. */
export function until(moment) {
    return lasting(Date.parse(moment) - now());
}

/** The time of day of a moment in the zone of the browser, with the date unless that is today. */
export function clock(moment) {
    if (Date.now() > clocks.until) {
        const date = new Date(now()).toDateString();
        clocks = {
            date,
            texts: date === clocks.date && clocks.texts.size < 2000 ? clocks.texts : new Map(),
            until: Date.now() + 1000,
        };
    }
    const known = clocks.texts.get(moment);
    if (known === undefined) {
        clocks.texts.set(moment, clockOf(moment));
    }
    return known ?? clocks.texts.get(moment);
}

function clockOf(moment) {
    const date = new Date(moment);
    if (Number.isNaN(date.getTime())) {
        return NOTHING;
    }
    if (date.toDateString() === clocks.date) {
        return ofDay.format(date);
    }
    const isOfYear = date.getFullYear() === new Date(now()).getFullYear();
    return isOfYear ? `${ofMonth.format(date)}, ${ofHour.format(date)}` : day(moment);
}

/** The time of day without seconds, of seconds since 1970. */
export function hour(seconds) {
    return ofHour.format(new Date(seconds * 1000));
}

/** The date of a moment. */
export function day(moment) {
    const date = new Date(moment);
    return Number.isNaN(date.getTime()) ? NOTHING : ofYear.format(date);
}

/** The name of a user, as far as it is known here. What came by a page of a site has the name of that user. */
export function user(uid, command) {
    if (command?.startsWith(OF_PAGE)) {
        return command.slice(OF_PAGE.length);
    }
    return uid === 0 ? "root" : `uid ${uid}`;
}

/** The first line of a text. */
export function headOf(text) {
    return text.split("\n", 1)[0];
}

/** The lines after it, none if they are empty. */
export function restOf(text) {
    return text.slice(headOf(text).length).replace(/^\n+|\s+$/g, "");
}
