/** What the proxy runs with, on the ops port: every option, the secret ones masked. */

import express, { type Router } from 'express';
import type { Config } from '../config.ts';
import { OPTIONS, type Option } from '../options.ts';

/** `GET /config` → 200, the values by the names of `createProxy`'s options; null is what is not set or has no limit. */
export function createConfigApi(config: Config): Router {
  const router = express.Router();
  router.get('/config', (_request, response) => {
    const shown = Object.entries(config).map(([name, value]) => [name, isSecret(name) ? masked(value) : open(value)]);
    response.json(Object.fromEntries(shown));
  });
  return router;
}

function isSecret(name: string): boolean {
  return Object.entries<Option>(OPTIONS).some(([known, { secret }]) => known === name && secret === true);
}

function open(value: unknown): unknown {
  return value === undefined || value === Infinity ? null : value;
}

/** Of URLs, where they lead: neither user nor password, wherever they stand. */
function masked(value: unknown): string | readonly (string | null)[] | null {
  if (Array.isArray(value)) return value.map(maskedUrl);
  return maskedUrl(value);
}

function maskedUrl(value: unknown): string | null {
  if (typeof value !== 'string') return null;
  // Several hosts are no URL to the WHATWG's parser.
  const [, scheme, user = '', rest = ''] = /^([a-z+]+:\/\/)([^/?#]*@)?(.*)$/is.exec(value) ?? [];
  return scheme === undefined ? '***' : scheme + (user === '' ? '' : '***@') + rest.replace(/\?.*$/s, '?***');
}
