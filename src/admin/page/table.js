// A table whose rows are updated in place. Narrow pages show each row as a card (tables.css), which would take its roles
// from a table; so they are written out.

import { arrange, keep, make, say } from "./dom.js";

// rows out of sight are updated in turns, one of so many with each call
const TURNS = 5;

/**
 * A table with these columns: `title`; `text(row)`, or `build(cell, row)`, which fills a cell and returns what updates
 * it with a later row; `number` when it has figures, `head` when it names its row, `wide` when a card gives it a line
 * of its own; and `sort(row)`, what rows are sorted by, if they can be.
 *
 * Returns its `element`, `show(rows)`, which takes rows with a `key` each, and `filter(test)`, which hides all rows but
 * some and returns how many those are.
 */
export function makeTable(title, columns) {
    const body = make("tbody", { role: "rowgroup" });
    const heads = columns.map(makeHead);
    const table = {
        columns,
        heads,
        body,
        rows: [],
        test: () => true,
        order: undefined,
        turn: 0,
        element: make(
            "table",
            { role: "table", "aria-label": title },
            make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
            body,
        ),
        show: (rows) => show(table, rows),
        filter: (test) => filter(table, test),
    };
    columns.forEach((column, at) => {
        heads[at].querySelector("button")?.addEventListener("click", () => sortBy(table, column));
    });
    // of tables.css; a browser without this event updates all rows
    body.addEventListener("contentvisibilityautostatechange", ({ target, skipped }) => {
        target.skipped = skipped;
        if (!skipped && target.row) {
            target.updates.forEach((update) => update(target.row));
        }
    });
    return table;
}

function makeHead(column) {
    const head = make("th", { role: "columnheader", scope: "col" });
    head.classList.toggle("number", Boolean(column.number));
    if (column.sort) {
        head.append(make("button", { type: "button" }, column.title));
    } else {
        say(head, column.title);
    }
    return head;
}

function show(table, rows) {
    table.rows = rows;
    table.turn = (table.turn + 1) % TURNS;
    let at = 0;
    const keyOf = (row) => row.key;
    const build = (row) => makeRow(table.columns, row);
    const take = (element, row) => {
        element.row = row;
        at += 1;
        if (!element.skipped || at % TURNS === table.turn) {
            element.updates.forEach((update) => update(row));
        }
    };
    keep(table.body, rows, keyOf, build, take, (body, elements) => place(table, elements));
    filter(table, table.test);
}

function makeRow(columns, first) {
    const element = make("tr", { role: "row" });
    element.updates = columns.map((column) => {
        const cell = column.head ? make("th", { role: "rowheader", scope: "row" }) : make("td", { role: "cell" });
        cell.dataset.label = column.title;
        cell.classList.toggle("number", Boolean(column.number));
        cell.classList.toggle("wide", Boolean(column.wide));
        element.append(cell);
        return column.build ? column.build(cell, first) : (row) => say(cell, column.text(row));
    });
    return element;
}

/** Sorts by a column: upwards first, then downwards, then as the configuration has it. */
function sortBy(table, column) {
    if (table.order?.column !== column) {
        table.order = { column, factor: 1 };
    } else {
        table.order = table.order.factor === 1 ? { column, factor: -1 } : undefined;
    }
    table.columns.forEach((other, at) => {
        const direction = table.order?.factor === 1 ? "ascending" : "descending";
        if (other === table.order?.column) {
            table.heads[at].setAttribute("aria-sort", direction);
        } else {
            table.heads[at].removeAttribute("aria-sort");
        }
    });
    place(table, [...(table.body.kept?.values() ?? [])]);
}

/** Sorts the rows, but not while one of them has the focus: moved, it would lose it. */
function place({ body, order }, elements) {
    if (!order) {
        arrange(body, elements);
    } else if (body.contains(document.activeElement)) {
        body.append(...elements.filter((element) => !element.parentNode));
    } else {
        const keyed = elements.map((element) => [order.column.sort(element.row), element]);
        keyed.sort(([one], [other]) => order.factor * compare(one, other));
        arrange(
            body,
            keyed.map(([, element]) => element),
        );
    }
}

function compare(one, other) {
    if (typeof one === "string") {
        return one.localeCompare(other, "en", { numeric: true });
    }
    return one - other;
}

function filter(table, test) {
    table.test = test;
    let shown = 0;
    for (const element of table.body.kept?.values() ?? []) {
        const fits = test(element.row);
        shown += fits ? 1 : 0;
        if (element.hidden === fits) {
            element.hidden = !fits;
        }
    }
    return shown;
}
