/** The status page on the ops port: `/`, what it consists of, and the same as JSON. */

import { readFileSync } from 'node:fs';
import express, { type Response, type Router } from 'express';
import { newLive } from './live.ts';
import { renderPage } from './page.ts';
import type { Status } from './snapshot.ts';

/** Nothing but what this port serves itself; no script, style or form from within the page's text. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ');

const HEADERS = {
  'Content-Security-Policy': POLICY,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
} as const;

const SCRIPT = asset('status.js');
const STYLE = asset('status.css');

export interface StatusPage {
  readonly router: Router;
  /** Sends those who watch home. */
  close(): void;
}

/**
 * - `GET /` → the page, which says all without its script too.
 * - `GET /status` → 200, a `Status` as JSON.
 * - `GET /events` → an event stream: each second `status`, and `notice` for what has happened since the last one.
 *   `?view=page`: the changing part of the page as HTML, as `page`, instead. 503 when too many watch.
 *
 * `look` never rejects.
 */
export function createStatusPage(look: () => Promise<Status>): StatusPage {
  const live = newLive(look);
  const router = express.Router();
  const send = (response: Response, type: string, body: string): void => {
    response.set(HEADERS).set('Content-Type', `${type}; charset=utf-8`).end(body);
  };
  router.get('/', async (_request, response) => send(response, 'text/html', renderPage(await look())));
  router.get('/status.js', (_request, response) => send(response, 'text/javascript', SCRIPT));
  router.get('/status.css', (_request, response) => send(response, 'text/css', STYLE));
  router.get('/status', async (_request, response) => {
    response.set(HEADERS).json(await look());
  });
  router.get('/events', ({ query }, response) => {
    response.set(HEADERS);
    if (live.show(response, query['view'] === 'page' ? 'page' : 'status')) return;
    response.status(503).set('Retry-After', '5').json({ error: 'too many watch already' });
  });
  return { router, close: () => live.close() };
}

function asset(name: string): string {
  return readFileSync(new URL(`assets/${name}`, import.meta.url), 'utf8');
}
