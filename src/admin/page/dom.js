// Elements of the page, made and updated in place. Every text goes in by textContent: whatever it says, it stays text.

/** The element of index.html with this id. */
export function byId(id) {
    return document.getElementById(id);
}

/** A new element with these attributes and children; a child that is a string is text. */
export function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
}

/**
 * Makes `text` the text of an element, and touches the document only when it is another one than before. The element
 * keeps its text node, which costs much less than a new one.
 */
export function say(element, text) {
    if (element.said === text) {
        return;
    }
    if (element.said === undefined || !element.firstChild) {
        element.textContent = text;
    } else {
        element.firstChild.data = text;
    }
    element.said = text;
}

/** The same for an attribute of data. */
export function mark(element, name, value) {
    element.marks ??= {};
    if (element.marks[name] !== value) {
        element.marks[name] = value;
        element.dataset[name] = value;
    }
}

/** The same for whether an element is hidden. */
export function hide(element, hidden) {
    if (element.hidden !== hidden) {
        element.hidden = hidden;
    }
}

/**
 * Keeps the children of an element equal to `items`, each known by `keyOf`: `build(item)` makes the element of a new
 * one, and `update(element, item)` is called for all. What stays is not touched, so it keeps its focus and selection.
 * `place` puts them in, in their order unless it knows a better one.
 */
export function keep(parent, items, keyOf, build, update, place = arrange) {
    parent.kept ??= new Map();
    const before = parent.kept;
    parent.kept = new Map();
    for (const item of items) {
        let key = keyOf(item);
        while (parent.kept.has(key)) {
            key += "'";
        }
        const element = before.get(key) ?? build(item);
        before.delete(key);
        parent.kept.set(key, element);
        update(element, item);
    }
    before.forEach((element) => element.remove());
    place(parent, [...parent.kept.values()]);
}

/** Puts the children of an element in this order, and moves only those that are elsewhere. */
export function arrange(parent, elements) {
    let next = parent.firstElementChild;
    for (const element of elements) {
        if (element === next) {
            next = next.nextElementSibling;
        } else {
            parent.insertBefore(element, next);
        }
    }
}

/** A moment as an element: the time for people, and the date for machines. */
export function makeTime() {
    return make("time");
}

/** Shows a moment, RFC 3339, in the words of `text`. */
export function sayTime(element, moment, text) {
    if (element.dateTime !== moment) {
        element.dateTime = moment;
        element.title = moment;
    }
    say(element, text);
}

/** Tells screen readers, and shows for some seconds, what came of a change. */
export function announce(text, failed = false) {
    const element = byId("said");
    element.textContent = text;
    mark(element, "failed", String(failed));
    clearTimeout(element.timer);
    element.timer = setTimeout(() => (element.textContent = ""), 15000);
}

/** Tells screen readers alone. */
export function whisper(text) {
    byId("heard").textContent = text;
}
