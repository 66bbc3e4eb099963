/** The status page's script: takes over what the proxy says each second, and gives orders after asking. */

/** Milliseconds without a word until the page says that it is out of date. */
const SILENT_MS = 4_000;
/** Milliseconds until it is tried again where the browser has given up by itself. */
const AGAIN_MS = 3_000;

/** @template {Element} T @param {string} id @param {new () => T} type @returns {T} */
function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${id}`);
  return found;
}
const page = byId('page', HTMLElement);
const live = byId('live', HTMLElement);
const said = byId('said', HTMLElement);
const dialog = byId('ask', HTMLDialogElement);
document.documentElement.classList.add('scripted');

/**
 * Makes `old` like `fresh` with as few changes as may be, so that focus, scroll positions and selections stay.
 * @param {Element} old @param {Element} fresh
 */
function morph(old, fresh) {
  for (const { name } of Array.from(old.attributes)) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  /** @type {Map<string, Element>} */
  const keyed = new Map();
  for (const child of old.children) {
    const key = child.getAttribute('data-key');
    if (key !== null) keyed.set(key, child);
  }
  let at = old.firstChild;
  for (const next of Array.from(fresh.childNodes)) {
    const key = next instanceof Element ? next.getAttribute('data-key') : null;
    const same = key === null ? at : keyed.get(key);
    if (same && isLike(same, next)) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      if (same instanceof Element && next instanceof Element) morph(same, next);
      else if (same.nodeValue !== next.nodeValue) same.nodeValue = next.nodeValue;
    } else old.insertBefore(next, at);
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

/** @param {Node} one @param {Node} other */
function isLike(one, other) {
  if (one.nodeName !== other.nodeName) return false;
  const keys = [one, other].map((node) => (node instanceof Element ? node.getAttribute('data-key') : null));
  return keys[0] === keys[1];
}

/** @param {unknown} json @param {string} name @returns {string | undefined} */
function textIn(json, name) {
  /** @type {unknown} */
  const value = JSON.parse(String(json));
  const found = typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name) : [];
  return typeof found?.[1] === 'string' ? found[1] : undefined;
}

let heardAt = Date.now();
/** @param {boolean} isLive */
function showLive(isLive) {
  const words = isLive ? 'live' : 'no answer, trying again';
  if (live.textContent !== words) live.textContent = words;
  document.documentElement.classList.toggle('stale', !isLive);
}

/** @param {string} words To those who hear the page. */
function say(words) {
  said.textContent = words;
}

function listen() {
  const events = new EventSource('events?view=page');
  events.addEventListener('page', ({ data }) => {
    heardAt = Date.now();
    showLive(true);
    const fresh = document.createElement('main');
    fresh.id = 'page';
    fresh.innerHTML = String(JSON.parse(String(data)));
    morph(page, fresh);
  });
  events.addEventListener('notice', ({ data }) => say(textIn(data, 'text') ?? ''));
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  });
}

/** @typedef {{ order: 'drain' | 'undrain', backend: string, sessions: number }} Order */

/** @type {(isYes: boolean) => void} */
let answered = () => {};
/** A dialog may be open again before the event of its last closing. */
dialog.addEventListener('close', () => {
  if (!dialog.open) answered(dialog.returnValue === 'yes');
});

/** @param {Order} order @returns {Promise<boolean>} */
function confirmed({ order, backend, sessions }) {
  const drain = order === 'drain';
  const holds = sessions === 0 ? 'no session' : `${sessions} session${sessions === 1 ? '' : 's'}`;
  byId('ask-title', HTMLElement).textContent = drain ? `Drain ${backend}?` : `Undo the drain of ${backend}?`;
  byId('ask-text', HTMLElement).textContent = drain
    ? `It holds ${holds}. Each migrates to another backend when it is quiet, and new ones go elsewhere, until you undo it.`
    : 'New sessions go there again. Those that have left do not come back.';
  byId('ask-yes', HTMLElement).textContent = drain ? 'Drain' : 'Undo';
  answered(dialog.returnValue === 'yes');
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => (answered = resolve));
}

/** Where the ops port wants a token, the browser has asked for it and sends it by itself. @param {Order} order */
async function give(order) {
  fail('');
  if (!(await confirmed(order))) return;
  const answer = await fetch(`backends/${encodeURIComponent(order.backend)}/drain`, {
    method: order.order === 'drain' ? 'POST' : 'DELETE',
    headers: { 'Content-Type': 'application/json' },
  }).catch(() => undefined);
  if (answer?.ok) return say(order.order === 'drain' ? `${order.backend} is to drain` : 'The drain is undone');
  const why = answer && textIn(await answer.text().catch(() => '{}'), 'error');
  fail(why ?? 'the proxy does not answer');
}

/** @param {string} why Empty when there is nothing to tell. */
function fail(why) {
  const told = byId('told', HTMLElement);
  told.hidden = why === '';
  told.textContent = why === '' ? '' : `The order was not taken: ${why}`;
}

page.addEventListener('click', ({ target }) => {
  const button = target instanceof Element ? target.closest('button.order') : null;
  if (!(button instanceof HTMLButtonElement)) return;
  const { order, backend = '', sessions } = button.dataset;
  void give({ order: order === 'drain' ? 'drain' : 'undrain', backend, sessions: Number(sessions) });
});
setInterval(() => {
  if (Date.now() - heardAt > SILENT_MS) showLive(false);
}, 1_000);
listen();
