// Keeps a page up to date: events of the stream, or a look now and then, fetch the page anew and
// exchange the sections that differ. Everything works without it, after a reload.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main) return;

  const served = new Map(); // what the server sent, to see what differs
  for (const section of sections(document)) served.set(section.id, section.innerHTML);
  followLog(document);
  localTimes(document);

  let ended = main.dataset.live === "ended";
  let after = main.dataset.after;
  let source = null;
  let planned = 0;
  let busy = false;
  let again = false;
  let pause = 300; // milliseconds; grows with the cost of a page
  let poll = 0;

  function soon() {
    if (!planned) planned = setTimeout(refresh, pause);
  }

  async function refresh() {
    clearTimeout(planned);
    planned = 0;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const start = performance.now();
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.redirected) return location.reload(); // signed out
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // the network is away: the next look may succeed
    } finally {
      busy = false;
      pause = Math.max(300, 5 * (performance.now() - start));
      if (again) {
        again = false;
        soon();
      }
    }
  }

  function show(page) {
    for (const fresh of sections(page)) {
      const old = document.getElementById(fresh.id);
      if (old && served.get(fresh.id) !== fresh.innerHTML) {
        served.set(fresh.id, fresh.innerHTML);
        exchange(old, fresh);
      }
    }
    const said = page.getElementById("announcement");
    const saying = document.getElementById("announcement");
    if (said && saying && said.textContent !== saying.textContent) saying.textContent = said.textContent;
    document.title = page.title;
    const live = page.querySelector("main[data-live]");
    main.dataset.poll = live.dataset.poll;
    if (live.dataset.live === "ended") end();
  }

  // Exchanges content but keeps what the reader has opened, scrolled to and focused.
  function exchange(old, fresh) {
    const opened = [...old.querySelectorAll("details[open][id]")].map((element) => element.id);
    const places = [...old.querySelectorAll("[data-keep]")].map((element) => [element.id, element.scrollTop, atEnd(element)]);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceChildren(...fresh.childNodes);
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, top, atItsEnd] of places) {
      const element = document.getElementById(id);
      if (element) element.scrollTop = element.dataset.keep === "end" && atItsEnd ? element.scrollHeight : top;
    }
    if (focused) (document.getElementById(focused) ?? main).focus({ preventScroll: true });
    localTimes(old);
    if (!places.length) followLog(old);
  }

  function listen() {
    if (source || ended || document.hidden || !main.dataset.stream) return;
    source = new EventSource(`${main.dataset.stream}?after=${after}`);
    for (const kind of ["state", "epoch", "log"]) {
      source.addEventListener(kind, (event) => {
        after = event.lastEventId || after;
        soon();
      });
    }
    source.addEventListener("end", () => {
      silence();
      soon();
    });
    source.addEventListener("error", () => {
      if (source && source.readyState === EventSource.CLOSED) {
        silence();
        look(main.dataset.fallback);
      }
    });
  }

  function silence() {
    source?.close();
    source = null;
  }

  function look(seconds) {
    clearTimeout(poll);
    if (!ended) {
      poll = setTimeout(async () => {
        await refresh();
        look(source || !main.dataset.stream ? main.dataset.poll : main.dataset.fallback);
      }, 1000 * seconds);
    }
  }

  function end() {
    ended = true;
    clearTimeout(poll);
    silence();
  }

  // A browser opens few connections to a server: a page that nobody sees must not hold one.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      silence();
    } else if (!ended) {
      soon();
      listen();
    }
  });
  window.addEventListener("pagehide", silence);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && !ended) {
      soon();
      listen();
    }
  });

  listen();
  look(main.dataset.poll);

  function sections(root) {
    return root.querySelectorAll("[data-section]");
  }

  function atEnd(element) {
    return element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
  }

  function followLog(root) {
    for (const element of root.querySelectorAll('[data-keep="end"]')) element.scrollTop = element.scrollHeight;
  }

  function localTimes(root) {
    const words = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
    for (const element of root.querySelectorAll("time[datetime]")) {
      element.title = element.textContent;
      element.textContent = new Date(element.dateTime).toLocaleString(navigator.language, words);
    }
  }
})();
