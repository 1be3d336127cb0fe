// The last hour as charts, and as a table for those that cannot see them.

import { byId, make, say } from "./dom.js";
import { makeTable } from "./table.js";
import { clock, hour, rate, short, whole } from "./words.js";

const HOUR = 3600;
const HEIGHT = 150;
// one row of the table stands for so many seconds
const ROW = 300;

const CHARTS = [
    { title: "Requests per second", colour: "--accent", of: (point, seconds) => point.requests / seconds, text: rate },
    { title: "Errors per second", colour: "--bad", of: (point, seconds) => point.errors / seconds, text: rate },
    { title: "Client connections", colour: "--accent", of: (point) => point.connections, text: short },
    {
        title: "Bytes to clients per second",
        colour: "--accent",
        of: (point, seconds) => point.bytes_out / seconds,
        text: decimal,
    },
];

let points = [];
let interval = 10;
let charts;
let table;

/** Shows the points of the history, and those that came by themselves meanwhile. */
export function showHistory(history) {
    interval = history.interval_s || 10;
    const last = history.points.at(-1)?.at ?? 0;
    points = [...history.points, ...points.filter((point) => point.at > last)];
    draw();
}

/** Adds a point, and drops those that are older than an hour. */
export function addPoint(point) {
    if (point.at > (points.at(-1)?.at ?? 0)) {
        points.push(point);
        points = points.filter((one) => one.at > point.at - HOUR);
        draw();
    }
}

function decimal(value) {
    return value === undefined ? "–" : `${short(value)}${value < 1e4 ? " " : ""}B`;
}

function draw() {
    charts ??= CHARTS.map(makeChart);
    table ??= makeHourTable();
    const end = points.at(-1)?.at ?? Date.now() / 1000;
    charts.forEach((chart) => drawChart(chart, end));
    table.show(rowsOf(end));
}

function makeChart(chart) {
    const now = make("p", { class: "now" });
    const at = make("p", { class: "hint", "aria-hidden": "true" });
    const plot = make("div", { class: "plot", "aria-hidden": "true" });
    const figure = make("figure", {}, make("figcaption", {}, make("h3", {}, chart.title), now), plot, at);
    byId("charts").append(figure);
    const made = { ...chart, now, at, plot, width: 0 };
    new ResizeObserver(([entry]) => resize(made, Math.floor(entry.contentRect.width))).observe(plot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => made.drawn?.redraw());
    return made;
}

/** The plot is made when it has a width, and follows it. */
function resize(chart, width) {
    if (width === 0 || width === chart.width || !window.uPlot) {
        return;
    }
    chart.width = width;
    if (chart.drawn) {
        chart.drawn.setSize({ width, height: HEIGHT });
    } else {
        chart.drawn = new window.uPlot(optionsOf(chart), chart.data ?? [[], []], chart.plot);
    }
}

function optionsOf(chart) {
    const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = {
        stroke: colour("--soft"),
        grid: { stroke: colour("--line"), width: 1 },
        ticks: { show: false },
        font: "12px sans-serif",
    };
    return {
        width: chart.width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { sync: { key: "hour" }, drag: { x: false, y: false }, y: false },
        hooks: { setCursor: [(plot) => sayCursor(chart, plot)] },
        scales: {
            x: { time: true, range: () => [chart.end - HOUR, chart.end] },
            y: { range: (plot, low, high) => [0, high > 0 ? high * 1.1 : 1] },
        },
        axes: [
            { ...axis, values: (plot, moments) => moments.map(hour), space: 60, size: 26 },
            { ...axis, values: (plot, values) => values.map(chart.text), space: 32, size: 62 },
        ],
        series: [{}, { stroke: colour(chart.colour), width: 1.5, points: { show: false } }],
    };
}

function sayCursor(chart, plot) {
    const at = plot.cursor.idx;
    const value = at === null || at === undefined ? undefined : chart.data?.[1][at];
    const known = value !== undefined && value !== null;
    say(chart.at, known ? `${clock(chart.data[0][at] * 1000)}: ${chart.text(value)}` : "\u00a0");
}

function drawChart(chart, end) {
    chart.end = end;
    chart.data = dataOf(chart);
    chart.drawn?.setData(chart.data);
    const values = points.map((point) => chart.of(point, interval));
    if (values.length === 0) {
        say(chart.now, "no points yet");
        return;
    }
    const most = Math.max(...values);
    const when = hour(points[values.indexOf(most)].at);
    const peak = most > 0 ? `at most ${chart.text(most)} at ${when}` : "none in the hour";
    say(chart.now, `${chart.text(values.at(-1))} now, ${peak}`);
}

/** Moments and values, with nothing where points are missing: the line has a gap there. */
function dataOf(chart) {
    const [moments, values] = [[], []];
    let before;
    for (const point of points) {
        if (before && point.at - before > 1.5 * interval) {
            moments.push(before + interval);
            values.push(null);
        }
        moments.push(point.at);
        values.push(chart.of(point, interval));
        before = point.at;
    }
    return [moments, values];
}

function makeHourTable() {
    const columns = CHARTS.map((chart, at) => ({
        title: chart.title,
        number: true,
        text: (row) => chart.text(row.values[at]),
    }));
    const made = makeTable("The last hour in steps of five minutes", [
        { title: "Until", head: true, text: (row) => hour(row.end) },
        ...columns,
        {
            title: "Servers up",
            number: true,
            text: (row) => `${whole(row.last.servers_up)} of ${whole(row.last.servers)}`,
        },
    ]);
    const details = make("details", {}, make("summary", {}, "The last hour as a table"), made.element);
    byId("hour").append(details);
    return made;
}

/** A row for each five minutes, the latest first, with the mean of its points. */
function rowsOf(end) {
    const groups = new Map();
    for (const point of points) {
        const step = Math.ceil(point.at / ROW) * ROW;
        groups.set(step, [...(groups.get(step) ?? []), point]);
    }
    const mean = (chart, group) => group.reduce((sum, point) => sum + chart.of(point, interval), 0) / group.length;
    const row = ([step, group]) => ({
        key: String(step),
        end: Math.min(step, end),
        values: CHARTS.map((chart) => mean(chart, group)),
        last: group.at(-1),
    });
    return [...groups].reverse().map(row);
}
