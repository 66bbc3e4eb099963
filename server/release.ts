/** Says in each answer which release this task runs, so that new sessions go to the newest. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { HEADER } from '../proxy/contract.ts';
import { inRange } from './range.ts';

const HIGHEST = 999_999_999;

/**
 * Goes before everything else: proxies read it in the answers to health checks and to `initialize`, and show it to no
 * client. Says nothing where there is no release to speak of. Throws RangeError for what is no whole number from 0 to
 * 999,999,999.
 */
export function sayRelease(release: number | undefined) {
  if (release !== undefined) inRange('release', release, { of: 'a whole number', from: 0, to: HIGHEST, whole: true });
  return (_request: IncomingMessage, response: ServerResponse, next: () => void): void => {
    if (release !== undefined) response.setHeader(HEADER.affinityRelease, release);
    next();
  };
}
