// Rates and latencies from the counters of the last minute: a counter only ever grows, so two values make a rate.

const RATES = 10_000;
const LATENCY = 60_000;
const LONGER = "longer";

// statuses with their counters, the oldest first; at most a minute of them
let samples = [];
let process;
// the first and the last of the statuses that rates and latencies are taken from
let ofRates;
let ofLatency;

/**
 * Takes the counters of a status, and its time in milliseconds by the clock of its machine: a page that was held up gets
 * several at once. Those of another supervisor begin anew.
 */
export function take(status, at) {
    if (process !== status.supervisor.pid || at < samples.at(-1)?.at) {
        process = status.supervisor.pid;
        samples = [];
    }
    // two that are close make no rate
    if (samples.length > 0 && at - samples.at(-1).at < 1000) {
        samples.pop();
    }
    samples.push({ at, counters: status.counters });
    while (samples[0].at < at - LATENCY) {
        samples.shift();
    }
    ofRates = spanOf(RATES);
    ofLatency = spanOf(LATENCY);
}

/** What is below these names in a tree of counters. */
export function below(tree, ...names) {
    return names.reduce((found, name) => (found && Object.hasOwn(found, name) ? found[name] : undefined), tree);
}

/** A counter, 0 if it is not there. */
export function count(tree, ...names) {
    const found = below(tree, ...names);
    return typeof found === "number" ? found : 0;
}

/** The sum of all counters below these names, but for those that `without` names. */
export function sum(tree, names, without = []) {
    const counts = Object.entries(below(tree, ...names) ?? {});
    return counts.reduce((total, [name, more]) => total + (without.includes(name) ? 0 : more), 0);
}

/** How much `read(counters)` grew per second in the last ten seconds; undefined before it is known. */
export function perSecond(read) {
    const grown = ofRates && read(ofRates.now) - read(ofRates.before);
    return ofRates && grown >= 0 ? grown / ofRates.seconds : undefined;
}

/** How much `read(counters)` grew in the last minute, or since the page was opened if that is less. */
export function inMinute(read) {
    return ofLatency ? Math.max(0, read(ofLatency.now) - read(ofLatency.before)) : 0;
}

/**
 * The bounds, in words of `text`, that these shares of the durations of the last minute did not exceed. `histograms` are
 * the names of each, as those of the servers of a pool. A bucket that is empty is not there.
 */
export function quantiles(histograms, shares, text) {
    const grown = new Map();
    for (const names of histograms) {
        for (const [name, now] of Object.entries(below(ofLatency?.now, ...names) ?? {})) {
            const bound = name === LONGER ? Infinity : Number(name);
            if (name !== "sum_us") {
                grown.set(bound, (grown.get(bound) ?? 0) + now - count(ofLatency.before, ...names, name));
            }
        }
    }
    const buckets = [...grown].sort(([one], [other]) => one - other);
    const all = buckets.reduce((total, [, more]) => total + more, 0);
    return shares.map((share) => (all > 0 ? boundOf(buckets, share * all, text) : "–"));
}

function boundOf(buckets, rank, text) {
    let total = 0;
    let last = 0;
    for (const [bound, more] of buckets) {
        total += more;
        if (total >= rank && more > 0) {
            return bound === Infinity ? `> ${text(last)}` : `≤ ${text(bound)}`;
        }
        last = bound;
    }
    return "–";
}

function spanOf(millis) {
    const last = samples.at(-1);
    const first = samples.find((sample) => sample.at >= last.at - millis - 500);
    if (!first || first === last) {
        return undefined;
    }
    return { before: first.counters, now: last.counters, seconds: (last.at - first.at) / 1000 };
}
