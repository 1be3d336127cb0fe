// Runs before the scripts of the page, for pictures: puts an hour, which no test waits for, before the points that the
// service has. Its traffic is made up.

const askFor = window.fetch;

window.fetch = async (what, ...more) => {
    const answer = await askFor(what, ...more);
    if (!String(what).endsWith("v1/history")) {
        return answer;
    }
    const history = await answer.json();
    const first = history.points[0]?.at ?? Math.floor(Date.now() / 1000);
    const before = Array.from({ length: 359 - history.points.length }, (_, at) => pointOf(at, history.interval_s));
    before.reverse().forEach((point, at) => (point.at = first - (at + 1) * history.interval_s));
    before.reverse();
    const body = JSON.stringify({ ...history, points: [...before, ...history.points] });
    return new Response(body, { headers: answer.headers });
};

// the same each time, between 0 and 1
const noise = (at) => Math.abs(Math.sin(at * 12.9898) * 43758.5453) % 1;

function pointOf(at, seconds) {
    const wave = 25 + 7 * Math.sin(at / 45) + 3 * Math.sin(at / 11) + 5 * noise(at);
    const peak = 25 * Math.exp(-(((at - 215) / 14) ** 2));
    const requests = Math.round((wave + peak) * seconds);
    const errors = at > 208 && at < 226 ? Math.round(9 * noise(at + 0.5)) : 0;
    const connections = 12 + Math.round(peak / 6 + 2 * noise(at + 0.25));
    const traffic = { requests, errors, connections, bytes_in: requests * 80, bytes_out: requests * 2150 };
    return { at: 0, ...traffic, servers: 3, servers_up: 3 };
}
