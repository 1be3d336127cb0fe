// Runs before the scripts of the page, and keeps what a test looks at: the event streams and the plots that it makes.

window.watched = { streams: [], breaks: 0, plots: [] };

window.EventSource = class extends EventSource {
    constructor(...all) {
        super(...all);
        window.watched.streams.push(this);
        this.addEventListener("error", () => (window.watched.breaks += 1));
    }
};

let uPlotMade;
Object.defineProperty(window, "uPlot", {
    configurable: true,
    get: () => uPlotMade,
    set: (made) => {
        uPlotMade = new Proxy(made, {
            construct(target, all) {
                const plot = new target(...all);
                window.watched.plots.push(plot);
                return plot;
            },
        });
    },
});
