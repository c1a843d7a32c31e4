// Opens each page in a frame of this one (same origin, so its document can be read) and reports what is wrong with it.
const open = page => new Promise(done => {
    const f = document.createElement('iframe'); f.width = 1000; f.height = 800; f.onload = () => done(f); f.src = page + '.html'; document.documentElement.append(f);
});

function look(doc, win) {
    const faults = [], all = selector => [...doc.querySelectorAll(selector)], short = x => x.outerHTML.slice(0, 200), blame = (what, xs) => xs.forEach(x => faults.push(what + ': ' + x));
    all('details').forEach(d => d.open = true); // what is folded has no size
    blame('broken picture', all('img').filter(i => !i.complete || !i.naturalWidth).map(short));
    blame('picture without alt text', all('img').filter(i => !i.alt.trim() || i.alt.startsWith('No description')).map(short));
    blame('formula without a size', all('math').filter(m => !m.getBoundingClientRect().width || !m.getBoundingClientRect().height).map(short));
    blame('formula with an unknown command', all('math').filter(m => m.textContent.includes('\\')).map(m => m.textContent));
    const prose = doc.body.cloneNode(true); prose.querySelectorAll('pre, code, math').forEach(x => x.remove());
    blame('formula left as text', prose.textContent.match(/\$[^$\n]*\$|\\(?:frac|sqrt|bar|text)\b/g) || []);
    blame('blank widget', all('[class*="widget"], script[type*="widget"]').map(short));
    blame('widget as text', doc.body.textContent.match(/(?:interactive|VBox|HBox)\(children=/g) || []);
    blame('broken player', all('video, audio').filter(v => v.error || !v.currentSrc).map(v => v.outerHTML.slice(0, 80)));
    blame('from the network', win.performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin) && !n.startsWith('data:')));
    return {images: all('img').length, formulas: all('math').length, links: all('a[href]').length, faults};
}

(async () => {
    const report = {}, docs = {}, links = [];
    for (const page of pages) {
        const frame = await open(page), doc = frame.contentDocument;
        report[page] = look(doc, frame.contentWindow); docs['/' + page + '.html'] = new Set([...doc.querySelectorAll('[id]')].map(x => x.id));
        links.push(...[...doc.querySelectorAll('a[href]')].map(a => [page, new URL(a.href)])); frame.remove();
    }
    for (const [page, url] of links.filter(([, url]) => url.origin == location.origin)) {
        const ids = docs[url.pathname], id = url.hash.slice(1);
        if (!ids || id && !ids.has(id) && !ids.has(decodeURIComponent(id))) report[page].faults.push('link to nowhere: ' + url.pathname + url.hash);
    }
    await fetch('/report', {method: 'POST', body: JSON.stringify(report)});
})();
