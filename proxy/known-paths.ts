/** Where backends have their MCP endpoint, as their redirects have said: asked there at once from then on. Pure. */
import { BoundedMap } from './bounded.ts';
import { HEADER } from './contract.ts';
import type { Backend, RawHeaders } from './contract.ts';
import { headerValue } from './headers.ts';

export interface KnownPaths {
  /** Path and query to ask the backend at for `target`, the client's. */
  at(to: Backend, target: string): string;
  /** What it has answered to `sent`, where the client's was `target`. A redirect that was followed is no answer. */
  answered(
    to: Backend,
    target: string,
    sent: string,
    answer: { readonly status: number; readonly headers: RawHeaders },
  ): void;
}

/** The oldest go first. */
const MOST = 1000;

export function newKnownPaths(): KnownPaths {
  const known = new BoundedMap<string>(MOST);
  const keyOf = (to: Backend, path: string): string => `${to.id} ${to.origin} ${path}`;
  return {
    at(to, target) {
      if (known.size === 0) return target;
      const [path, query] = parted(target);
      return (known.get(keyOf(to, path)) ?? path) + query;
    },
    answered(to, target, sent, { status, headers }) {
      if (target === sent && known.size === 0) return;
      const [path, query] = parted(target);
      const [now, nowQuery] = parted(sent);
      const key = keyOf(to, path);
      if (status === 404 || (status >= 300 && status < 400)) known.delete(key);
      if (query !== nowQuery || known.get(key) === now || !isServed(status, headers)) return;
      known.delete(key);
      if (now === path || !(isSlash(path, now) || headerValue(headers, HEADER.session) !== undefined)) return;
      known.set(key, now);
    },
  };
}

/** Path, and query with its question mark. */
function parted(target: string): readonly [path: string, query: string] {
  const mark = target.indexOf('?');
  return mark === -1 ? [target, ''] : [target.slice(0, mark), target.slice(mark)];
}

/** Whether one is the other with a slash. */
function isSlash(one: string, other: string): boolean {
  return one === `${other}/` || other === `${one}/`;
}

/** An MCP endpoint's answer: where one client was sent to log in must not become the place for all. */
function isServed(status: number, headers: RawHeaders): boolean {
  if (status === 202 || status === 204) return true;
  return status === 200 && /^(application\/json|text\/event-stream)/i.test(headerValue(headers, 'content-type') ?? '');
}
